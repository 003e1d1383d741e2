"""Advantages weighted against the hardest groups of prompts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.selection.difficulty import PassBins


@dataclasses.dataclass(frozen=True)
class DifficultyGame:
  """Stage: more weight on bins of difficulty with a larger loss.

      A_i <- A_i min(q_b / mean over rows of q, cap)
      q   = (1 - floor) softmax(rate S) + floor / K     over the K bins present
      S_b <- (1 - memory) S_b + memory (1 - mean reward of bin b)

  Bins are those of the tasks before this iteration, and q is that of the
  scores before it; both move afterwards. S_b is 0 until its bin was met, and
  then starts at the first loss. With the entropy of q as its price, the
  adversary's optimum is log(sum_b exp(rate S_b)) / rate.

  Attributes:
    rate: eta; 0 weighs all bins alike. floor: gamma, a uniform share.
    memory: beta. cap: the largest weight. bins: of tasks, by difficulty.

  Source: Prompt-GDRO, arXiv 2601.19280, section 3.2, and its code. The loss of
    a bin is the failure rate here, theirs the policy loss, which group
    normalisation keeps at 0 where the ratio is 1; theirs is also divided by
    the bin's share of the batch, which the paper leaves open.
  """

  rate: float = 0.65
  floor: float = 0.01
  memory: float = 0.12
  cap: float = 15.0
  bins: PassBins = PassBins()

  def init(self, spec):
    return {
      'bins': self.bins.init(spec.tasks),
      'loss': jnp.zeros(self.bins.count),
      'seen': jnp.zeros(self.bins.count, bool),
    }

  def probabilities(self, state, present):
    """f32[bins]: the adversary's mixture q over the bins that are present."""
    score = jnp.where(present, self.rate * state['loss'], -jnp.inf)
    # Where no bin is present nothing is weighed.
    score = jnp.where(jnp.any(present), score, 0.0)
    count = jnp.maximum(jnp.sum(present), 1)
    game = (1 - self.floor) * jax.nn.softmax(score) + self.floor / count
    return jnp.where(present, game, 0.0)

  def update(self, credit, rollouts, state):
    valid = rollouts.valid
    place = state['bins']['bin'][rollouts.task]
    zeros = jnp.zeros(self.bins.count)
    rows = zeros.at[place].add(valid * 1.0)
    weight = self.probabilities(state, rows > 0)[place]
    average = numerics.masked_mean(weight, valid)
    weight = numerics.safe_divide(weight, average)
    weight = jnp.minimum(weight, self.cap)[:, None]
    lost = zeros.at[place].add(jnp.where(valid, 1 - credit.rewards, 0))
    loss = numerics.safe_divide(lost, rows)
    moved = (1 - self.memory) * state['loss'] + self.memory * loss
    moved = jnp.where(state['seen'], moved, loss)
    state = {
      'bins': self.bins.update(state['bins'], rollouts, credit.rewards),
      'loss': jnp.where(rows > 0, moved, state['loss']),
      'seen': state['seen'] | (rows > 0),
    }
    return credit.replace(advantages=credit.advantages * weight), state
