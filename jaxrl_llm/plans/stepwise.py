"""Whole responses for a critic, then groups of single steps for the policy."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, arranged, prefixes
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Stepwise(Plan):
  """Groups of responses at first, and of next steps from then on.

  A step ends with a token that `end` is in, or with the response. After
  `first` iterations a group is `samples` next steps of one response of the
  policy's, from a step that is drawn evenly, its first included. What stands
  before is no action, and what the policy would say after the step decides on
  the row's scores alone.

  Extras: `step_end` bool[N, T], the last tokens of steps, and `single` bool[N],
  rows that are one step.

  Attributes:
    samples: rows of a group. first: iterations of whole responses.
    end: a text.

  Source: Direct Advantage Policy Optimization, arXiv 2412.18279, whose steps
    are lines.
  """

  samples: int = 8
  first: int = 100
  end: str = '\n'

  @property
  def contract(self):
    return Contract(self.samples, provides={'step_end', 'single'})

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    whole = int(state) < self.first
    if whole:
      rollouts = tools.generate(prompts, key, self.samples)
      rollouts, scores = tools.verify(rollouts)
      ends = self._ends(tools, rollouts)
    else:
      rollouts, scores, ends = self._steps(tools, prompts, key)
    single = jnp.full(rollouts.valid.shape, not whole)
    rollouts = rollouts.with_extras(step_end=jnp.asarray(ends), single=single)
    return rollouts, scores, state + 1

  def _steps(self, tools, prompts, key):
    """Next steps from states of one response to each prompt."""
    draw, place, speak = jax.random.split(key, 3)
    draft = tools.generate(prompts, draw, 1)
    chance = np.asarray(jax.random.uniform(place, draft.valid.shape))
    cut = _cuts(self._ends(tools, draft), chance)
    cut = jnp.repeat(jnp.asarray(cut, jnp.int32), self.samples)
    rows = actions.within(arranged.repeated(draft, self.samples), False)
    rows = prefixes.continued(tools, rows, cut, speak)
    rollouts, scores = tools.verify(rows)
    column = np.arange(tools.columns)
    ends = self._ends(tools, rollouts) & (column >= np.asarray(cut)[:, None])
    last = jnp.asarray(np.argmax(ends, axis=1))[:, None]
    stays = rollouts.response_mask & (column <= last)
    rollouts = actions.within(rollouts, stays).replace(
      response_mask=stays, paid=jnp.where(stays, rollouts.paid, 0.0)
    )
    return rollouts, scores, ends & (column <= np.asarray(last))

  def _ends(self, tools, rollouts):
    """bool[N, T]: the last token of every step."""
    mask = np.asarray(rollouts.response_mask)
    ends = np.zeros(mask.shape, bool)
    for row, pieces in enumerate(tools.pieces(rollouts)):
      places = np.flatnonzero(mask[row])
      ends[row, places] = [self.end in piece for piece in pieces]
      ends[row, places[-1:]] = True
    return ends


def _cuts(ends, chance):
  """i[N]: where a step begins, the c-th of them by a chance in [0, 1)."""
  cuts = []
  for row, u in zip(ends, chance):
    starts = [0, *(np.flatnonzero(row)[:-1] + 1)]
    cuts.append(starts[int(u * len(starts))])
  return np.array(cuts)
