"""Plans that begin where a demonstration has led."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import actions, arranged, demonstrations, prefixes
from jaxrl_llm.plans.base import Contract, Plan


def cuts(key, length, *, share=1.0):
  """i32[N]: how many tokens of a demonstration are kept.

  Uniform in 1 .. length - 1 with probability `share`, else 0; 0 too where
  there are fewer than two tokens.
  """
  place, mixed = jax.random.split(key)
  drawn = jax.random.randint(place, length.shape, 1, jnp.maximum(length, 2))
  kept = jax.random.uniform(mixed, length.shape) < share
  return jnp.where(kept & (length > 1), drawn, 0)


@dataclasses.dataclass(frozen=True)
class DatasetReset(Plan):
  """Responses that go on from a random prefix of the demonstration.

  The prefix is no action: neither policy nor critic learns from it.

  Attributes:
    samples: rows of a group. share: of rows that start from a prefix.

  Source: DR-PO, arXiv 2404.08495.
  """

  samples: int = 1
  share: float = 1.0

  @property
  def contract(self):
    checks = (demonstrations.required,)
    return Contract(self.samples, may_lag=True, checks=checks)

  def collect(self, tools, prompts, state, key):
    place, speak = jax.random.split(key)
    shown = demonstrations.demonstrated(tools, prompts)
    rows = arranged.repeated(shown, self.samples)
    # A demonstration that does not fit is empty: its rows start afresh.
    rows = rows.replace(valid=jnp.ones_like(rows.valid))
    rows = actions.within(rows, False)
    cut = cuts(place, rows.length, share=self.share)
    rollouts = prefixes.continued(tools, rows, cut, speak)
    return *tools.verify(rollouts), state
