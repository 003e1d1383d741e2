"""Responses that the data holds, in place of sampled ones.

They are encoded once, before a run, as columns that go with the prompts:

    recorded        i32[A, G, T], right padded
    recorded_mask   bool[A, G, T]
    recorded_score  f32[A, G], what the record says of a response; [A, G, K]
                    where it says that of K labels
    recorded_cut    bool[A, G], longer than the budget and cut to it

and, of demonstrations, of which none is better than another,

    recorded_action bool[A, G, T], tokens to be said; others are read alone

A record of fewer than G responses has rows without tokens, which do not count.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.plans import given
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Prompts, Rollouts, Scores


@dataclasses.dataclass(frozen=True)
class Recorded(Plan):
  """The recorded responses to each prompt, scored by their record.

  Nobody knows under which distribution they were written: their `logp` is 0.
  The extra `recorded` bool[N] is True, and says so; of demonstrations so is
  `demonstrated`.

  Attributes:
    samples: G, rows of a group.
  """

  samples: int = 2

  @property
  def contract(self):
    return Contract(self.samples, provides={'recorded'})

  def collect(self, tools, prompts, state, key):
    del tools, key
    return *rows(prompts), state


def rows(prompts: Prompts) -> tuple[Rollouts, Scores]:
  """The recorded responses to prompts [B] as rows [B * G], with their scores.

  Args:
    prompts: with the columns of `encode` among their extras.
  """
  columns = prompts.extras
  count, samples, length = columns['recorded'].shape

  mask = columns['recorded_mask'].reshape(-1, length)
  action = columns.get('recorded_action', columns['recorded_mask'])
  kinds = ['recorded', *(['demonstrated'] * ('recorded_action' in columns))]
  blank = given.blank(prompts.replace(extras={}), samples, length)
  response = columns['recorded'].reshape(-1, length)
  rollouts = blank.replace(
    content=blank.content.replace(response=response),
    response_mask=mask,
    action_mask=action.reshape(-1, length),
    valid=jnp.any(mask, axis=-1),
    truncated=columns['recorded_cut'].reshape(-1),
    extras={kind: jnp.ones(count * samples, bool) for kind in kinds},
  )
  scores = columns['recorded_score'].reshape(count * samples, -1)
  labels = scores.shape[1]
  return rollouts, Scores(scores, jnp.full(labels, 1 / labels))
