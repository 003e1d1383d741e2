"""Tasks in bins of difficulty, as the policy meets them."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.types import Array, Rollouts


@dataclasses.dataclass(frozen=True)
class PassBins:
  """Bins of tasks by how often some response of a visit was right.

      pass_t = 1 if any response of the task's visit t earned more than `right`
      rate   = mean of pass_t over the last `window` visits; 0 before the first
      bin    = how many of the edges are <= rate

  A task leaves its bin only when its rate is `margin` past the edge above the
  lower of the two bins.

  Attributes:
    edges: of the bins, in (0, 1), increasing.
    window: visits. A visit too many takes away a share of all that came
      before, in place of the oldest. margin: in units of the rate.
    right: the reward of a failure, at most.

  Source: Prompt-GDRO and Rollout-GDRO, arXiv 2601.19280, equations 10 and 11,
    and its code.
  """

  edges: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
  window: int = 100
  margin: float = 0.03
  right: float = 0.5

  @property
  def count(self) -> int:
    return len(self.edges) + 1

  def init(self, tasks: int):
    zeros = jnp.zeros(tasks)
    bins = jnp.zeros(tasks, jnp.int32)
    return {'passes': zeros, 'visits': zeros, 'bin': bins}

  def update(self, state, rollouts: Rollouts, rewards: Array):
    """The state after a visit to the task of every group with a valid row."""
    group, task = rollouts.group, rollouts.task
    good = numerics.group_max(rewards, group, rollouts.valid) > self.right
    one = grouping.representatives(group, rollouts.valid)
    zeros = jnp.zeros_like(state['visits'])
    count = zeros.at[task].add(one * 1.0)
    new = zeros.at[task].add(one & good)
    room = jnp.maximum(self.window - count, 0)
    kept = numerics.safe_divide(
      jnp.minimum(state['visits'], room), state['visits']
    )
    visits = kept * state['visits'] + count
    passes = kept * state['passes'] + new
    rate = numerics.safe_divide(passes, visits)
    return {
      'passes': passes,
      'visits': visits,
      'bin': jnp.where(
        count > 0, self._moved(state['bin'], rate), state['bin']
      ),
    }

  def _moved(self, old, rate):
    edges = jnp.asarray(self.edges)
    new = jnp.searchsorted(edges, rate, side='right').astype(jnp.int32)
    edge = edges[jnp.minimum(jnp.minimum(old, new), len(self.edges) - 1)]
    up = (new > old) & (rate >= edge + self.margin)
    down = (new < old) & (rate <= edge - self.margin)
    return jnp.where(up | down, new, old)
