"""Questions asked with hints that are as telling as their last answers need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import choices, hints, phrases
from jaxrl_llm.plans.base import Check, Contract, Plan


@dataclasses.dataclass(frozen=True)
class Hinted(Plan):
  """The groups of another plan, each sampled once, at its question's level.

      level <- level + 1    where at most `low` of its rows are right
               level - 1    where more than `high` are,
               level        else;   in 0 to `levels`

  after an iteration with the question, whose level begins with 0: no hint. A
  question whose prompt with the hint is over the budget is asked without, as
  one of level 0. A row keeps the prompt that it was sampled from.

  Attributes:
    plan: one group to each prompt.
    change: f(tools, tries, level, key) -> prompts, see `plans.hints`; of the
      tries there are tasks and records, and `level` is i32[R], from 0.
    levels: of hints. low, high: shares of rows. checks: see `Contract`.

  Raises:
    ValueError: shares that are not in their order.

  Source: SAGE-light of arXiv 2602.03143, by its code.
  """

  plan: Plan
  change: Callable
  levels: int = 3
  low: float = 0.1
  high: float = 0.35
  checks: tuple[Check, ...] = ()

  def __post_init__(self):
    if not self.low <= self.high:
      raise ValueError(
        f'a level would rise up to a share of {self.low:g} and fall above '
        f'{self.high:g}; use a low that is not above the high'
      )

  @property
  def contract(self) -> Contract:
    inner = self.plan.contract.adding(checks=self.checks)
    return dataclasses.replace(inner, rewords=True)

  def init(self, spec):
    return jnp.zeros(spec.tasks, jnp.int32), self.plan.init(spec)

  def collect(self, tools, prompts, state, key):
    levels, inner = np.array(state[0]), state[1]
    hint, own = jax.random.split(key)
    tasks = np.asarray(prompts.task)
    prompts, level = self._asked(tools, prompts, levels[tasks], hint)
    rows, scores, inner = self.plan.collect(tools, prompts, inner, own)
    right = np.asarray(choices.correctness(scores)) > 0
    valid = np.asarray(rows.valid).reshape(len(tasks), -1)
    count = valid.sum(axis=1)
    share = (right.reshape(valid.shape) & valid).sum(1) / np.maximum(count, 1)
    moved = level + (share <= self.low) - 1 * (share > self.high)
    moved = np.where(count > 0, np.clip(moved, 0, self.levels), level)
    levels[tasks] = moved
    tools.note('plan/hint_level', float(level.mean()))
    return rows, scores, (jnp.asarray(levels, jnp.int32), inner)

  def _asked(self, tools, prompts, level, key):
    """The prompts, some with hints, and the levels that they have got."""
    wanted = np.flatnonzero(level)
    if not wanted.size:
      return prompts, level
    chosen = choices.filled(wanted, len(level))
    tasks = np.asarray(prompts.task)
    records = tools.rows(tasks)
    told = hints.Tries(
      tasks[chosen],
      [records[i] for i in chosen],
      [()] * len(chosen),
      np.zeros((len(chosen), 0)),
    )
    said = self.change(tools, told, level[chosen] - 1, key)
    plain = [record['prompt'] for record in records]
    by_place = dict(zip(chosen, said))
    texts = [by_place.get(i, text) for i, text in enumerate(plain)]
    prompts, fits = phrases.fitting(tools, tasks, texts, plain)
    return prompts, np.where(fits, level, 0)
