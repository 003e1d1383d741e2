"""Episodes that share what came before one of their turns."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing, turn_places
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Resampled(Plan):
  """Episodes of one group that share what came before one of their turns.

  One episode is played from each prompt, and one of the turns it took is
  drawn; from there on `samples` episodes are played anew. The extras are
  `turn` i32[N, T] and `stop` i32[N], as of `MultiTurn`, and `resampled` i32[N],
  that turn.

  Attributes:
    samples: rows of a group. turns: the most of an episode.

  Source: REFUEL, arXiv 2410.04612, algorithm 1.
  """

  samples: int = 2
  turns: int = 4

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'environment'},
      provides={'turn', 'resampled', 'stop'},
      turns=self.turns,
    )

  def collect(self, tools, prompts, state, key):
    before, draw, after = jax.random.split(key, 3)
    rollouts, log = playing.play(
      tools, prompts, before, samples=1, turns=self.turns
    )
    taken = jnp.asarray(log.taken.sum(axis=1))
    drawn = jax.random.uniform(draw, taken.shape)
    first = np.asarray((drawn * taken).astype(jnp.int32))
    rollouts, log = turns_lib.parted(rollouts, log, first)
    rollouts = arranged.repeated(rollouts, self.samples)
    log = log.of(np.arange(len(first)).repeat(self.samples))
    first = np.repeat(first, self.samples)
    rollouts, log = playing.go_on(tools, rollouts, log, first, after)
    rollouts, scores = ending.judged(tools, rollouts, log)
    rollouts = rollouts.with_extras(
      turn=turn_places.located(log, tools.columns)['turn'],
      resampled=jnp.asarray(first, jnp.int32),
      stop=ending.stops(tools, log),
    )
    return rollouts, scores, state
