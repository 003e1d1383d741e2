"""Plans that show the policy what somebody else wrote.

The field `demonstration` of a question's record is its text. Where there is
none, as where it is null, empty or messages, or one that is too long for a
response, its row is not valid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrl_llm.plans import actions, opponents, prefixes
from jaxrl_llm.plans.base import Contract, Plan

_FIELD = 'demonstration'


def required(records: Sequence[Mapping[str, Any]]) -> None:
  """Refuses questions without a demonstration, see `Contract.checks`."""
  without = _without(records)
  if without:
    raise ValueError(
      f'{without} of {len(records)} questions have no text in a field '
      f'"{_FIELD}", which the recipe learns from; add it to them, or leave '
      'them out of the data'
    )


def required_of_some(records: Sequence[Mapping[str, Any]]) -> None:
  """Refuses questions of which none has a demonstration, and counts others."""
  without = _without(records)
  if without == len(records):
    required(records)
  if without:
    logging.warning(
      '%d of %d questions have no text in a field "%s"; the recipe learns from '
      'its own responses to them', without, len(records), _FIELD,
    )  # fmt: skip


def _without(records):
  return sum(not shown_in(record) for record in records)


def shown_in(record: Mapping[str, Any]) -> str:
  """The demonstration of a question; '' if there is none, or no text."""
  found = record.get(_FIELD)
  return found if isinstance(found, str) and found.strip() else ''


def demonstrated(tools, prompts):
  """The demonstrations of prompts as rows [B, T] of ordinary actions.

  Their `logp` is that of the current policy, so that a ratio is about how it
  has changed since.
  """
  columns = tools.columns
  records = tools.rows(prompts.task)
  texts = [shown_in(record) for record in records]
  ids = tools.responses(texts)
  given = np.array([text != '' for text in texts])
  fits = given & np.array([len(tokens) <= columns for tokens in ids])
  ids = [tokens if fit else [] for tokens, fit in zip(ids, fits)]
  rows = prefixes.written(prefixes.blank(prompts, 1, columns), ids)
  rows = rows.replace(action_mask=rows.response_mask, valid=jnp.asarray(fits))
  return actions.drawn(tools, rows)


@dataclasses.dataclass(frozen=True)
class WithDemonstration(Plan):
  """Groups of own responses and, as their last row, the demonstration.

  The extra `offline` bool[N] marks the demonstrations. They are verified like
  any response.

  Attributes:
    samples: rows of a group, the demonstration included; at least 2.
    optional: some questions may have none; their groups have own responses
      alone.

  Raises:
    ValueError: no own response, or a sampler that records its candidates,
      among which a demonstration need not be.
  """

  samples: int = 9
  optional: bool = False

  def __post_init__(self):
    if self.samples < 2:
      raise ValueError(
        f'samples = {self.samples} leave no own response beside the '
        'demonstration; use at least 2'
      )

  @property
  def contract(self):
    check = required_of_some if self.optional else required
    return Contract(self.samples, provides={'offline'}, checks=(check,))

  def collect(self, tools, prompts, state, key):
    own = self.others(tools, prompts, key)
    actions.check_support(own, 'demonstrations')
    shown = demonstrated(tools, prompts)
    count = prompts.tokens.shape[0]
    rollouts = prefixes.together(count, own, shown)
    place = jnp.arange(count * self.samples) % self.samples
    offline = place == self.samples - 1
    return *tools.verify(rollouts.with_extras(offline=offline)), state

  def others(self, tools, prompts, key):
    """The rows before the demonstration, here the policy's own."""
    return tools.generate(prompts, key, self.samples - 1)


class BesideReference(WithDemonstration):
  """Demonstrations behind responses of whom the recipe's reference names.

  Their `logp` is that of the current policy.
  """

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def others(self, tools, prompts, key):
    drawn = opponents.of_reference(tools, prompts, key, self.samples - 1)
    return actions.drawn(tools, drawn)


@dataclasses.dataclass(frozen=True)
class OrDemonstrations(Plan):
  """Own responses, or in other iterations demonstrations.

  Attributes:
    samples: rows of a group; of a demonstration they are equal.
    share: the probability that an iteration has the policy's own responses; 1
      asks for no demonstrations.

  Raises:
    ValueError: a share outside [0, 1].

  Source: GKD, arXiv 2306.13649, algorithm 1, whose lambda is the share.
  """

  samples: int = 1
  share: float = 0.5

  def __post_init__(self):
    if not 0 <= self.share <= 1:
      raise ValueError(f'a share of {self.share} is not in [0, 1]')

  @property
  def contract(self):
    checks = (required,) if self.share < 1 else ()
    return Contract(self.samples, checks=checks)

  def collect(self, tools, prompts, state, key):
    which, draw = jax.random.split(key)
    if float(jax.random.uniform(which)) < self.share:
      rollouts = tools.generate(prompts, draw, self.samples)
    else:
      shown = demonstrated(tools, prompts)
      rollouts = prefixes.repeated(shown, self.samples)
    return *tools.verify(rollouts), state
