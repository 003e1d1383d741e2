"""A plan that asks again, in other words, where the first answers fell short.

A row keeps the prompt that it was sampled from, hint and all, so that its ratio
is 1 where the policy has not moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import asking, choices
from jaxrl_llm.plans.base import Check, Contract, Plan
from jaxrl_llm.plans.groups import Groups
from jaxrl_llm.plans.hints import Tries

# No row is so numbered: keys of rows are the iteration's with their number.
_APART = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Retried(Plan):
  """The groups of another plan, some of them asked again in other words.

  Level by level, while `when` holds of a group. A changed prompt over the
  budget of prompts is not asked: the group keeps the rows it has. As the
  sampler is compiled for a number of prompts, a quarter, a half or all of the
  groups are asked, some twice if need be.

  Attributes:
    plan: one group to each prompt, whose rows are those of the sampler.
    when, take, by: see `plans.choices`. change: see `plans.hints`.
    levels: retries at most. after: iterations that have none.
    samples: responses to each changed prompt; 0: as many as a group has rows.
    added: 1: a group has one row more, which does not count unless one is
      taken; 0: what is taken replaces its first rows.
    original: what is taken is learned as an answer to the group's own prompt.
      The extra `offline` bool[N] marks it, and its log-probs are the policy's
      there.
    checks: of the records, see `Contract`.

  Raises:
    ValueError: a plan of several groups a prompt; one that adds extras of its
      own to its rows; with `original`, a sampler that records its candidates.
  """

  plan: Plan
  when: Callable
  change: Callable
  take: Callable = choices.whole
  by: Callable = choices.correctness
  levels: int = 1
  after: int = 0
  samples: int = 0
  added: int = 0
  original: bool = False
  checks: tuple[Check, ...] = ()

  @property
  def contract(self) -> Contract:
    inner = self.plan.contract
    if inner.groups > 1:
      raise ValueError(
        f'the plan asks a question in {inner.groups} wordings, which cannot be '
        'asked again; use a plan of one group a prompt'
      )
    alike = self.take is choices.whole or self.original
    return dataclasses.replace(
      inner.adding(
        provides={'offline'} if self.original else frozenset(),
        checks=self.checks,
      ),
      samples=inner.samples + self.added,
      one_prompt=inner.one_prompt and alike,
      may_lag=inner.may_lag and not self.original,
      rewords=True,
    )

  def init(self, spec):
    samples = spec.samples - self.added
    rows = spec.rows // spec.samples * samples
    inner = dataclasses.replace(spec, rows=rows, samples=samples)
    return jnp.int32(0), self.plan.init(inner)

  def collect(self, tools, prompts, state, key):
    step, inner = state
    rows, scores, inner = self.plan.collect(tools, prompts, inner, key)
    samples = self.contract.samples - self.added
    groups = Groups(rows, scores, samples)
    if self.added:
      groups = groups.with_room()
    first, key = groups.rows.content, jax.random.fold_in(key, _APART)
    taken, long = np.zeros_like(groups.valid), np.zeros(len(groups.valid), bool)
    for level in range(self.levels if int(step) >= self.after else 0):
      wanted = self.when(groups.rewards(self.by), groups.valid)
      wanted = np.flatnonzero(wanted)
      if not wanted.size:
        break
      keys = jax.random.split(jax.random.fold_in(key, level))
      again, picked, fits = self._again(tools, groups, wanted, level, keys)
      start = samples if self.added else 0
      groups = groups.exchanged(again, wanted, start, picked)
      columns = start + np.arange(picked.shape[1])
      taken[wanted[:, None], columns] |= picked >= 0
      long[wanted] |= ~fits
    tools.note('plan/retried', float(taken.any(axis=1).mean()))
    tools.note('plan/too_long', int(long.sum()))
    rows = groups.rows
    if self.original:
      rows = asking.as_asked(tools, rows, first, jnp.asarray(taken.reshape(-1)))
    return rows, groups.scores, (step + 1, inner)

  def _again(self, tools, groups, wanted, level, keys):
    """What W groups say when they are asked in other words.

    Returns:
      Groups, those of `wanted` first, i[W, K], which of their rows are taken,
      -1 none, and bool[W], whether the prompts were within the budget.
    """
    samples = groups.size - self.added
    chosen = choices.filled(wanted, len(groups.valid))
    tasks = np.asarray(groups.rows.task)[chosen * groups.size]
    said = np.array(tools.decode(groups.rows), object)
    own = chosen, slice(samples)
    tries = Tries(
      tasks,
      tools.rows(tasks),
      said.reshape(groups.valid.shape)[own].tolist(),
      groups.rewards(self.by)[own],
    )
    samples = self.samples or samples
    again, fits = asking.again(
      tools, self.change, tries, chosen, level, keys, samples=samples
    )
    picked = self.take(again.rewards(self.by), fits.repeat(samples, axis=1))
    # Some may have been asked twice.
    once = slice(len(wanted))
    return again, picked[once], fits.all(axis=1)[once]
