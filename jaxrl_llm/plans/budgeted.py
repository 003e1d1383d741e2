"""A plan whose groups differ in size: more responses where they teach more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.selection import budgets


@dataclasses.dataclass(frozen=True)
class Budgeted(Plan):
  """Plan: groups of different sizes, by the tasks' last success rates.

  The B prompts of an iteration share its B `samples` rows. Its groups differ
  in size, so an iteration must be one minibatch.

  Attributes:
    value: f(n, p) -> worth: one of `selection.budgets`.
    allocate: `exact` or `greedy` of the same.
    samples: rows per prompt, on average. least, most: of each prompt.
    initial: the success rate of a task never drawn.
  """

  value: Callable = budgets.information
  allocate: Callable = budgets.exact
  samples: int = 8
  least: int = 2
  most: int = 128
  initial: float = 0.5

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True, one_prompt=False)

  def init(self, spec):
    return jnp.full(spec.tasks, self.initial, jnp.float32)

  def split(self, rates):
    """i64[B]: rows of each prompt, for success rates f[B]."""
    rates = np.asarray(rates, np.float64)[:, None]
    total = self.samples * rates.shape[0]
    most = min(self.most, total)
    values = self.value(np.arange(most + 1), rates)
    return self.allocate(values, total, least=self.least, most=most)

  def collect(self, tools, prompts, state, key):
    split = self.split(np.asarray(state)[np.asarray(prompts.task)])
    index = np.repeat(np.arange(len(split)), split)
    spread = jax.tree.map(lambda x: x[index], prompts)
    rollouts, scores = tools.verify(tools.generate(spread, key, 1))
    rollouts = rollouts.replace(group=jnp.asarray(index, jnp.int32))
    rewards = scores.components @ scores.weights
    valid = rollouts.valid
    rows = jnp.zeros_like(state).at[rollouts.task].add(valid * 1.0)
    won = jnp.where(valid, rewards, 0)
    total = jnp.zeros_like(state).at[rollouts.task].add(won)
    rate = jnp.clip(total / jnp.maximum(rows, 1), 0, 1)
    tools.note('plan/largest_group', int(split.max()))
    return rollouts, scores, jnp.where(rows > 0, rate, state)
