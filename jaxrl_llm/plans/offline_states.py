"""Groups that act once in a state of the demonstrations, and then go on."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import actions, arranged, demonstrations, prefixes, resets
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class OfflineStates(Plan):
  """Ordinary groups, and groups that start from states of demonstrations.

  Such a group shares one random prefix of its question's demonstration. The
  first token of each row is drawn anew by the policy and is its only action;
  the rest of the row, the policy's as well, finds out what it is worth. Its
  reward minus the mean of the group then estimates Q(s, a) - V(s) in a state
  that the policy alone may seldom reach.

  Attributes:
    samples: rows of a group. share: of groups that start from a prefix.

  Source: HNPG, arXiv 2311.08384, whose Q is fitted.
  """

  samples: int = 8
  share: float = 0.5

  @property
  def contract(self):
    return Contract(self.samples, checks=(demonstrations.required,))

  def collect(self, tools, prompts, state, key):
    place, speak = jax.random.split(key)
    shown = demonstrations.demonstrated(tools, prompts)
    cut = resets.cuts(place, shown.length, share=self.share)
    cut = jnp.repeat(cut, self.samples)
    rows = arranged.repeated(shown, self.samples)
    # A demonstration that does not fit is empty: its group starts afresh.
    rows = rows.replace(valid=jnp.ones_like(rows.valid))
    rollouts = prefixes.continued(tools, rows, cut, speak)
    column = jnp.arange(tools.columns)
    free = (cut == 0)[:, None] | (column == cut[:, None])
    return *tools.verify(actions.within(rollouts, free)), state
