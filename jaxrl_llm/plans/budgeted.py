"""A plan whose groups differ in size: more responses where they teach more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.selection import budgets
from jaxrl_llm.selection.difficulty import PassBins


@dataclasses.dataclass(frozen=True)
class Budgeted(Plan):
  """Groups of different sizes, by the tasks' last success rates.

  The B prompts of an iteration share its B `samples` rows. Its groups differ
  in size, so an iteration must be one minibatch. The rate of a task that was
  never drawn counts as a half.

  Attributes:
    value: f(n, p) -> worth: one of `selection.budgets`.
    allocate: `exact` or `greedy` of the same.
    samples: rows per prompt, on average. least, most: of each prompt.
  """

  value: Callable = budgets.information
  allocate: Callable = budgets.exact
  samples: int = 8
  least: int = 2
  most: int = 128

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True, one_prompt=False)

  def init(self, spec):
    return jnp.full(spec.tasks, 0.5, jnp.float32)

  def split(self, rates, task):
    """i64[B]: rows of each prompt.

    Args:
      rates: the state: f[A], success rates. task: i[B], of each prompt.
    """
    return self._allotted(rates[task])

  def _allotted(self, rates):
    """i64[B]: rows of prompts with success rates f[B]."""
    rates = np.asarray(rates, np.float64)[:, None]
    total = self.samples * rates.shape[0]
    most = min(self.most, total)
    values = self.value(np.arange(most + 1), rates)
    return self.allocate(values, total, least=self.least, most=most)

  def observed(self, rates, rollouts, rewards):
    """The state after an iteration: the last success rate of each task."""
    valid = rollouts.valid
    rows = jnp.zeros_like(rates).at[rollouts.task].add(valid * 1.0)
    won = jnp.where(valid, rewards, 0)
    total = jnp.zeros_like(rates).at[rollouts.task].add(won)
    rate = jnp.clip(total / jnp.maximum(rows, 1), 0, 1)
    return jnp.where(rows > 0, rate, rates)

  def collect(self, tools, prompts, state, key):
    held = jax.tree.map(np.asarray, state)
    split = self.split(held, np.asarray(prompts.task))
    index = np.repeat(np.arange(len(split)), split)
    spread = jax.tree.map(lambda x: x[index], prompts)
    rollouts, scores = tools.verify(tools.generate(spread, key, 1))
    rollouts = rollouts.replace(group=jnp.asarray(index, jnp.int32))
    rewards = scores.total
    tools.note('plan/largest_group', int(split.max()))
    return rollouts, scores, self.observed(state, rollouts, rewards)


@dataclasses.dataclass(frozen=True)
class ByDifficulty(Budgeted):
  """`Budgeted`, with one number of rows for all prompts of a bin.

      v_b = mean of p (1 - p) over the prompts of bin b
      minimise sum over prompts of v_b / n    so that n is like sqrt(v_b)

  p is the last success rate of a prompt's task. Numbers within a bin differ by
  1 where the total asks for it.

  Attributes:
    bins: of tasks, by difficulty.

  Source: Rollout-GDRO, arXiv 2601.19280, theorem 4.2.
  """

  value: Callable = budgets.precision
  allocate: Callable = budgets.greedy
  most: int = 24
  bins: PassBins = PassBins(window=50, margin=0.0)

  def init(self, spec):
    return {'rate': super().init(spec), 'bins': self.bins.init(spec.tasks)}

  def split(self, state, task):
    place, rate = state['bins']['bin'][task], state['rate'][task]
    count = np.bincount(place, minlength=self.bins.count)
    variance = np.bincount(place, rate * (1 - rate), self.bins.count)
    pooled = (variance / np.maximum(count, 1))[place]
    # The rate whose variance is the bin's.
    return self._allotted((1 - np.sqrt(np.maximum(1 - 4 * pooled, 0))) / 2)

  def observed(self, state, rollouts, rewards):
    return {
      'rate': super().observed(state['rate'], rollouts, rewards),
      'bins': self.bins.update(state['bins'], rollouts, rewards),
    }
