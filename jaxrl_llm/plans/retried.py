"""A plan that asks again, in other words, where the first answers fell short.

    when, take, by  see `plans.choices`
    change          f(tools, tries, level, key) -> M prompts for each of R
                    groups, texts or messages, those of a group adjacent; see
                    `plans.hints`

A row keeps the prompt that it was sampled from, hint and all, so that its ratio
is 1 where the policy has not moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, arranged, asking, choices
from jaxrl_llm.plans.base import Check, Contract, Plan
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
    when, change, take, by: see the module.
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
    size = self.contract.samples
    if self.added:
      rows, scores = _with_room(rows, scores, size)
    first, key = rows.content, jax.random.fold_in(key, _APART)
    groups = len(rows.valid) // size
    taken, long = np.zeros((groups, size), bool), np.zeros(groups, bool)
    for level in range(self.levels if int(step) >= self.after else 0):
      valid = np.asarray(rows.valid).reshape(groups, size)
      rewards = np.where(valid, self._rewards(scores, size), 0)
      wanted = np.flatnonzero(self.when(rewards, valid))
      if not wanted.size:
        break
      keys = jax.random.split(jax.random.fold_in(key, level))
      again, more, picked, fits = self._again(
        tools, rows, rewards, wanted, level, keys
      )
      index = np.arange(len(rows.valid)).reshape(groups, size)
      start = size - self.added if self.added else 0
      place = wanted[:, None], start + np.arange(picked.shape[1])
      picks = picked >= 0
      index[place] = np.where(picks, len(rows.valid) + picked, index[place])
      rows, scores = _chosen(rows, scores, again, more, index)
      taken[place] |= picks
      long[wanted] |= ~fits
    tools.note('plan/retried', float(taken.any(axis=1).mean()))
    tools.note('plan/too_long', int(long.sum()))
    if self.original:
      rows = _as_asked(tools, rows, first, jnp.asarray(taken.reshape(-1)))
    return rows, scores, (step + 1, inner)

  def _rewards(self, scores, columns):
    return np.asarray(self.by(scores), np.float64).reshape(-1, columns)

  def _again(self, tools, rows, rewards, wanted, level, keys):
    """What W groups say when they are asked in other words.

    Returns:
      Rows and their scores, i[W, K], which of them each group takes, -1 none,
      and bool[W], whether its prompts were within the budget.
    """
    groups, size = rewards.shape
    chosen = choices.filled(wanted, groups)
    tasks = np.asarray(rows.task).reshape(groups, size)[chosen, 0]
    said = np.array(tools.decode(rows), object).reshape(groups, size)
    own = chosen, slice(size - self.added)
    tries = Tries(tasks, tools.rows(tasks), said[own].tolist(), rewards[own])
    samples = self.samples or size - self.added
    found, scores, fits = asking.again(
      tools, self.change, tries, chosen, level, keys, samples=samples
    )
    valid = np.asarray(found.valid).reshape(len(chosen), -1)
    each = valid.shape[1]
    earned = np.where(valid, self._rewards(scores, each), 0)
    picked = self.take(earned, fits.repeat(samples, axis=1))
    start = np.arange(len(chosen))[:, None] * each
    picked = np.where(picked < 0, -1, start + picked)
    # Some may have been asked twice.
    once = slice(len(wanted))
    return found, scores, picked[once], fits.all(axis=1)[once]


def _with_room(rows, scores, size):
  """Each group with a row behind it that does not count."""
  count = len(rows.valid)
  index = np.arange(count).reshape(-1, size - 1)
  index = np.concatenate([index, count + index[:, :1]], axis=1)
  empty = rows.replace(valid=jnp.zeros_like(rows.valid))
  return _chosen(rows, scores, empty, scores, index)


def _chosen(rows, scores, again, more, index):
  """Rows and scores by index [B, G] into these and the others behind them."""
  if again.extras.keys() != rows.extras.keys():
    apart = sorted(again.extras.keys() ^ rows.extras.keys())
    raise ValueError(
      f'rows asked again and those before differ in the extras {apart}; let '
      'the plan inside add none, and note things of the whole'
    )
  old, new = (rows, scores.components), (again, more.components)
  rows, components = arranged.picked(old, new, jnp.asarray(index.reshape(-1)))
  group = np.arange(len(index), dtype=np.int32).repeat(index.shape[1])
  rows = rows.replace(group=jnp.asarray(group))
  return rows, scores.replace(components=components)


def _as_asked(tools, rows, first, offline):
  """The offline rows as answers to the prompts that were there first."""
  content = rows.content.replace(
    prompt=first.prompt, prompt_mask=first.prompt_mask
  )
  rows = rows.replace(content=content)
  rows = actions.partly_drawn(tools, rows, offline)
  return rows.with_extras(offline=offline)
