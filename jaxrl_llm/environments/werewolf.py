"""A game of hidden roles, small enough that its best replies are exact.

One of four players is the wolf, and another the seer, who knows. Two
strategists say one word each turn, a player's name or one word more, and agents
carry it out: the village's, who knows nobody's role, and the wolf's.

    1  the village asks the seer, or does not
    2  the wolf claims that somebody is the wolf, or is silent
    3  the village hears the claims of two voices, the wolf's and the seer's,
       without knowing which is which, and accuses somebody
    4  it hears whether the accused was the wolf, and votes

The village wins where it accused the wolf and voted for it, and else the wolf
wins. A wolf who claims that anybody else is it leaves one chance of two to a
village that asked, and one of three to one that did not.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Discrete, Outcome, Spec, uids_of
from jaxrl_llm.types import Array

PLAYERS = 4
# The word that names nobody: to ask first, then to be silent.
ASK = SILENT = PLAYERS
WORDS = PLAYERS + 1
VILLAGE, WOLF = 0, 1
# Observations: where those of each turn begin.
_WOLF = 1
_ACCUSE = _WOLF + PLAYERS * WORDS
_VOTE = _ACCUSE + WORDS * WORDS
_STATES = _VOTE + 2 * WORDS


class State(struct.PyTreeNode):
  """Where each game is.

  Attributes:
    wolf: i32[N]. seat: i32[N], 0 where the seer's is the first voice.
    said: i32[N, 3], the words of the turns that are over.
    time: i32[N]. uid: i32[N].
  """

  wolf: Array
  seat: Array
  said: Array
  time: Array
  uid: Array


def voices(wolf, seat, first, claim):
  """The words of the first and the second voice, [...] each."""
  seer = jnp.where(first == ASK, wolf, SILENT)
  return jnp.where(seat == 0, seer, claim), jnp.where(seat == 0, claim, seer)


@dataclasses.dataclass(frozen=True)
class Werewolf:
  """The game, of which a task is the wolf and where the seer sits.

  The reward is the village's, 1 for a game that it wins; the wolf's seat is
  paid the rest. A judge calls key to ask and to accuse the wolf.
  """

  # Of the village, where both sides play their best.
  optimal_return = 0.5

  @property
  def spec(self) -> Spec:
    return Spec(
      horizon=4,
      tasks=2 * PLAYERS,
      observation=Discrete(_STATES),
      action=Discrete(WORDS),
      seats=2,
      judged=True,
    )

  def reset(self, tasks, key, uids=None):
    del key
    nothing = jnp.full((*tasks.shape, 3), SILENT, jnp.int32)
    return State(
      wolf=tasks // 2,
      seat=tasks % 2,
      said=nothing,
      time=jnp.zeros_like(tasks),
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    first, claim, accused = state.said.T
    one, other = voices(state.wolf, state.seat, first, claim)
    right = (accused == state.wolf) * 1
    seen = jnp.stack(
      [
        jnp.zeros_like(state.wolf),
        _WOLF + WORDS * state.wolf + first,
        _ACCUSE + WORDS * one + other,
        _VOTE + WORDS * right + accused,
      ],
      axis=1,
    )
    at = jnp.minimum(state.time, 3)[:, None]
    return jnp.take_along_axis(seen, at, axis=1)[:, 0]

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    del key
    wolf, time = state.wolf, state.time
    column = jnp.arange(3) == time[:, None]
    said = jnp.where(column, action[:, None], state.said)
    named = action == wolf
    never = jnp.zeros_like(named)
    key_turn = jnp.stack([action == ASK, never, named, never], axis=1)
    won = (time == 3) & named & (said[:, 2] == wolf)
    lost = (time == 3) & ~won
    seats = jnp.stack([won, lost], axis=1)
    at = jnp.minimum(time, 3)[:, None]
    outcome = Outcome(
      reward=won * 1.0,
      terminated=time >= 3,
      truncated=jnp.zeros_like(won),
      agent=jnp.where(time == 0, WOLF, VILLAGE),
      own=jnp.take_along_axis(key_turn, at, axis=1)[:, 0] * 1.0,
      seats=seats * 1.0,
    )
    return state.replace(said=said, time=time + 1), outcome

  def best_replies(self, chances) -> tuple[float, float]:
    """How often the village wins at most and at least against the other side.

    At most where it replies best to the wolf, at least where the wolf replies
    best to it. Both are the optimum where neither side can be exploited.

    Args:
      chances: f64[states, words], of the policy that plays both sides.
    """
    chances = np.asarray(chances, np.float64)
    claims = chances[_WOLF:_ACCUSE].reshape(PLAYERS, WORDS, WORDS)
    heard = np.zeros((WORDS, PLAYERS, WORDS, WORDS))
    least = 0.0
    for wolf in range(PLAYERS):
      certain = chances[_VOTE + WORDS + wolf, wolf]
      for first in range(WORDS):
        seer = wolf if first == ASK else SILENT
        wins = np.zeros(WORDS)
        for claim in range(WORDS):
          for one, other in ((seer, claim), (claim, seer)):
            accuses = chances[_ACCUSE + WORDS * one + other, wolf]
            wins[claim] += accuses * certain / 2
            heard[first, wolf, one, other] += claims[wolf, first, claim] / 2
        least += chances[0, first] * wins.min() / PLAYERS
    # Behind two voices the village accuses who is the wolf most often.
    most = heard.max(axis=1).sum(axis=(1, 2)).max() / PLAYERS
    return float(most), float(least)
