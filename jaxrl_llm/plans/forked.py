"""Episodes that part after calls of tools, where the policy became unsure."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing, turn_places
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Forked(Plan):
  """Some episodes of a group from its prompt, others from turns of those.

  After each answered turn t of the first episodes, another one goes on from
  there with the probability

      base + weight (H_t - H_0)       clipped to [0, 1]

  H_t is the sum of the entropies, in nats, of the first `tokens` tokens that
  the policy chose in turn t. Turns come in their order, and the episodes of a
  turn in theirs, until the group is full; what is left is played from the
  prompt. What episodes share is an action in each of them. The extras are
  `turn` i32[N, T] and `stop` i32[N], as of `episodes.MultiTurn`.

  Attributes:
    samples: episodes of a group. first: of which before all others.
    turns: the most of an episode. base: p_0.
    weight: per nat; w / log V of the paper's w and a vocabulary of V.
    tokens: of a turn, whose entropy counts.

  Raises:
    ValueError: no first episode, or more than the group has.

  Source: ARPO, arXiv 2507.19849, section 3.1, and its code.
  """

  samples: int = 16
  first: int = 8
  turns: int = 4
  base: float = 0.5
  weight: float = 0.017
  tokens: int = 20

  def __post_init__(self):
    if not 0 < self.first <= self.samples:
      raise ValueError(
        f'{self.first} first episodes are none, or more than the '
        f'{self.samples} of a group; use 1 to {self.samples}'
      )

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'environment'},
      provides={'turn', 'stop'},
      may_lag=True,
      turns=self.turns,
    )

  def collect(self, tools, prompts, state, key):
    begin, draw, after = jax.random.split(key, 3)
    count, late = prompts.tokens.shape[0], self.samples - self.first
    rollouts, log = playing.play(
      tools, prompts, begin, samples=self.first, turns=self.turns
    )
    if late:
      parts = self._parts(tools, rollouts, log, draw)
      source, turn = self._filled(parts, count)
      chosen = jax.tree.map(lambda x: x[source], rollouts)
      past = log.of(source)
      chosen, past = turns_lib.parted(chosen, past, turn)
      chosen, past = playing.go_on(tools, chosen, past, turn, after)
      rollouts = arranged.together(count, rollouts, chosen)
      log = turns_lib.beside(count, log, past)
      tools.note('plan/forked', float(np.mean(turn > 0)))
    rollouts, scores = ending.judged(tools, rollouts, log)
    turn = turn_places.located(log, tools.columns)['turn']
    stop = ending.stops(tools, log)
    return rollouts.with_extras(turn=turn, stop=stop), scores, state

  def _parts(self, tools, rollouts, log, key):
    """bool[N, H]: whether another episode goes on after each turn."""
    entropy = np.asarray(tools.score(rollouts, 'entropy').entropy)
    column = np.arange(tools.columns)
    last = np.minimum(log.end, log.start + self.tokens)
    inside = (column >= log.start[..., None]) & (column < last[..., None])
    total = np.sum(np.where(inside, entropy[:, None], 0.0), axis=2)
    chance = self.base + self.weight * (total - total[:, :1])
    drawn = np.asarray(jax.random.uniform(key, chance.shape))
    # What was said after the turn is what the others go on from.
    followed = np.roll(log.taken, -1, axis=1)
    followed[:, -1] = False
    return followed & (drawn < chance)

  def _filled(self, parts, count):
    """The row and the turn that each late episode goes on from."""
    late, turns = self.samples - self.first, parts.shape[1]
    source = np.repeat(np.arange(count) * self.first, late)
    turn = np.zeros(count * late, int)
    for prompt, mine in enumerate(parts.reshape(count, self.first, turns)):
      at, row = np.nonzero(mine.T)
      for place, pair in enumerate(zip(row[:late], at[:late])):
        here = prompt * late + place
        source[here] = prompt * self.first + pair[0]
        turn[here] = pair[1] + 1
    return source, turn
