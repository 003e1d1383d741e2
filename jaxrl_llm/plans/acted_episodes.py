"""Episodes that were acted in arrays, a row each: a turn in each column.

A game of several seats, all of which one policy plays, makes a row of every
seat, in which the decisions of that seat alone are the policy's.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.plans import arranged
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class ActedEpisodes(Plan):
  """`MultiTurn` of episodes that were acted, one row of each seat.

  The rewards of a row are what its seat was paid; what a judge says of single
  actions is no part of them. The extras, each [N, T]:

      turn             i32, which turn of the row's seat
      action_end       bool, decisions of the row's seat
      decision_reward  f32, what its action was worth by itself

  Attributes:
    samples: episodes of a task. seats: S, of the game; the rows of a seat are
      a group.
  """

  samples: int = 8
  seats: int = 1

  @property
  def contract(self):
    return Contract(
      self.samples,
      groups=self.seats,
      provides={'turn', 'action_end', 'decision_reward'},
    )

  def collect(self, tools, prompts, state, key):
    played = tools.generate(prompts, key, self.samples)
    extras = dict(played.extras)
    actor, own = extras.pop('actor'), extras.pop('own')
    paid = extras.pop('seats', played.paid[..., None])
    parts = [
      played.replace(
        action_mask=(mine := played.action_mask & (actor == seat)),
        logp=jnp.where(mine, played.logp, 0.0),
        paid=paid[..., seat],
        extras={
          **extras,
          'turn': jnp.maximum(jnp.cumsum(mine, axis=1) - 1, 0),
          'action_end': mine,
          'decision_reward': jnp.where(mine, own, 0.0),
        },
      )
      for seat in range(self.seats)
    ]
    rows = arranged.together(len(prompts.task), *parts)
    group = jnp.arange(len(rows.valid), dtype=jnp.int32) // self.samples
    return *tools.verify(rows.replace(group=group)), state
