"""Responses that are sampled until every group is live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import arranged
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.rewards import combine as combine_lib


@dataclasses.dataclass(frozen=True)
class Refill(Plan):
  """Draws more prompts until every group is live: dynamic sampling.

  Groups that `live` drops are replaced by groups of newly drawn prompts. After
  `rounds` rounds the remaining places are left to dead groups, which the
  same filter among the credit stages weighs with 0.

  Attributes:
    live: f(rewards, group, valid) -> f32[N], > 0 on live rows.
    samples: rows of a group. rounds: the most rounds of sampling.
    combine: what `live` reads, the recipe's own combiner.

  Raises:
    ValueError: less than one round.

  Source: DAPO, arXiv 2503.14476, section 3.2.
  """

  live: Callable
  samples: int = 8
  rounds: int = 4
  combine: Callable = combine_lib.weighted_sum

  def __post_init__(self):
    if self.rounds < 1:
      raise ValueError(f'{self.rounds} rounds sample nothing; use at least 1')

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True)

  def collect(self, tools, prompts, state, key):
    rollouts, scores, alive = self._round(tools, prompts, key, 0)
    kept, number = (rollouts, scores.components), 1
    while number < self.rounds and not bool(jnp.all(alive)):
      rollouts, scores, live = self._round(tools, tools.draw(), key, number)
      rows = rollouts, scores.components
      chosen, alive = _first_live(alive, live)
      kept = arranged.picked(kept, rows, chosen)
      number += 1
    rollouts, components = kept
    # Rows of several rounds meet here: their group ids must differ again.
    group = jnp.arange(rollouts.group.shape[0], dtype=jnp.int32) // self.samples
    tools.note('plan/rounds', number)
    scores = scores.replace(components=components)
    return rollouts.replace(group=group), scores, state

  def _round(self, tools, prompts, key, number):
    """Judged responses, and bool[N], the rows of live groups."""
    key = jax.random.fold_in(key, number)
    rollouts = tools.generate(prompts, key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    rewards = self.combine(scores.components, scores.weights, rollouts)
    live = self.live(rewards, rollouts.group, rollouts.valid) > 0
    groups = jnp.any(live.reshape(-1, self.samples), axis=1)
    return rollouts, scores, jnp.repeat(groups, self.samples)


def _first_live(kept, new):
  """The first live rows of two sets, then the first dead ones.

  Args:
    kept, new: bool[N], which rows are live, equal within a group.

  Returns:
    i32[N], into the kept rows and the new ones behind them, and bool[N].
  """
  live = jnp.concatenate([kept, new])
  # A stable sort keeps groups adjacent and in the order they were drawn.
  chosen = jnp.argsort(~live, stable=True)[: len(kept)]
  return chosen, live[chosen]
