"""Advantages weighted against the hardest groups of prompts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics


@dataclasses.dataclass(frozen=True)
class DifficultyGame:
  """Stage: more weight on bins of difficulty with a larger loss.

      A_i <- A_i min(q_b / mean over rows of q, cap)
      q <- (1 - floor) softmax(rate S) + floor / bins
      S_b <- (1 - memory) S_b + memory (1 - mean reward of bin b)

  A prompt's bin is that of its task's running success rate; S_b starts at
  the first loss of the bin, and is moved before q is taken. With the entropy
  of q as its price, the adversary's optimum is
  log(sum_b exp(rate S_b)) / rate.

  Attributes:
    rate: eta; 0 weighs all bins alike. floor: gamma, a uniform share.
    memory: beta. cap: the largest weight. edges: of the bins, in reward.
    window: visits over which a task's success rate is averaged.

  Source: Prompt-GDRO, arXiv 2601.19280, section 4, and its code. The loss of
    a bin is the failure rate here, theirs the policy loss, which group
    normalisation centres at 0; there is no hysteresis between bins.
  """

  rate: float = 0.65
  floor: float = 0.01
  memory: float = 0.12
  cap: float = 15.0
  edges: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
  window: int = 100

  def init(self, spec):
    bins = len(self.edges) + 1
    return {
      'rate': jnp.zeros(spec.tasks),
      'visits': jnp.zeros(spec.tasks),
      'loss': jnp.zeros(bins),
      'seen': jnp.zeros(bins, bool),
    }

  def probabilities(self, state):
    """f32[bins]: the adversary's mixture q."""
    bins = state['loss'].shape[0]
    game = jax.nn.softmax(self.rate * state['loss'])
    return (1 - self.floor) * game + self.floor / bins

  def update(self, credit, rollouts, state):
    rewards, valid, task = credit.rewards, rollouts.valid, rollouts.task
    mean = numerics.group_mean(rewards, rollouts.group, valid)
    one = grouping.representatives(rollouts.group, valid)
    state = state | self._visit(state, task, mean, one)
    place = jnp.searchsorted(jnp.asarray(self.edges), state['rate'][task])
    state = state | self._charge(state, place, 1 - rewards, valid)
    weight = self.probabilities(state)[place]
    average = numerics.masked_mean(weight, valid)
    weight = numerics.safe_divide(weight, average, default=1.0)
    weight = jnp.minimum(weight, self.cap)[:, None]
    return credit.replace(advantages=credit.advantages * weight), state

  def _visit(self, state, task, mean, one):
    """The running success rates after this iteration's groups."""
    zeros = jnp.zeros_like(state['rate'])
    count = zeros.at[task].add(one * 1.0)
    total = zeros.at[task].add(jnp.where(one, mean, 0))
    visits = jnp.minimum(state['visits'] + count, self.window)
    share = numerics.safe_divide(count, visits)
    share = jnp.minimum(share, 1.0)
    rate = numerics.safe_divide(total, count)
    rate = (1 - share) * state['rate'] + share * rate
    return {'rate': rate, 'visits': visits}

  def _charge(self, state, place, loss, valid):
    """The bins' losses after this iteration's rows."""
    zeros = jnp.zeros_like(state['loss'])
    count = zeros.at[place].add(valid * 1.0)
    total = zeros.at[place].add(jnp.where(valid, loss, 0))
    mean = numerics.safe_divide(total, count)
    moved = (1 - self.memory) * state['loss'] + self.memory * mean
    moved = jnp.where(state['seen'], moved, mean)
    drawn = count > 0
    return {
      'loss': jnp.where(drawn, moved, state['loss']),
      'seen': state['seen'] | drawn,
    }
