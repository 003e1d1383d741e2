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

from jaxrl_llm.plans import actions, arranged, given, opponents
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


def _doubled(samples):
  # Held-out questions are rated by their recorded rows alone, half a group, so
  # a scorer must not read a whole group behind one prompt.
  return Contract(2 * samples, provides={'recorded'}, one_prompt=False)


@dataclasses.dataclass(frozen=True)
class BesideOwn(Recorded):
  """The recorded responses, and as many of the policy behind them.

  The extra `recorded` tells them apart. The policy's are not judged and earn 0,
  and have the `log_mass` of their sampler.

  Attributes:
    samples: recorded rows of a group, which has twice as many.

  Source: HyPO, arXiv 2406.01462, algorithm 1.
  """

  @property
  def contract(self):
    return _doubled(self.samples)

  def collect(self, tools, prompts, state, key):
    shown, scores = rows(prompts)
    own = tools.generate(prompts, key, self.samples)
    actions.check_support(own, 'recorded responses')
    mass = own.extras['log_mass']
    parts = [
      (
        part.replace(
          extras={
            'recorded': jnp.full_like(part.valid, mark),
            'log_mass': jnp.where(mark, 0.0, mass),
          }
        ),
        components,
      )
      for part, components, mark in (
        (shown, scores.components, True),
        (own, jnp.zeros_like(scores.components), False),
      )
    ]
    rollouts, components = arranged.together(prompts.tokens.shape[0], *parts)
    return rollouts, scores.replace(components=components), state


@dataclasses.dataclass(frozen=True)
class BesideReference(Recorded):
  """The recorded responses, and as many of the reference behind them.

  The extra `recorded` tells them apart. All are judged by the run's verifiers,
  whatever the record says of them, so that they are measured alike.

  Attributes:
    samples: recorded rows of a group, which has twice as many.
    first: iterations in which no recorded row counts.

  Source: A-LoL, arXiv 2305.14718, whose value of a prompt is what the
    reference's own responses earn.
  """

  first: int = 0

  @property
  def contract(self):
    return _doubled(self.samples).adding(refers=True)

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    shown, _ = rows(prompts)
    shown = shown.replace(valid=shown.valid & (state >= self.first))
    drawn = opponents.of_reference(tools, prompts, key, self.samples)
    marked = [
      part.replace(extras={'recorded': jnp.full_like(part.valid, mark)})
      for part, mark in ((shown, True), (drawn, False))
    ]
    rollouts = arranged.together(prompts.tokens.shape[0], *marked)
    return *tools.verify(actions.drawn(tools, rollouts)), state + 1


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
