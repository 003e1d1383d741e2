"""A game of hidden roles against all of its endings, one by one."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import werewolf
from jaxrl_llm.environments.werewolf import ASK, SILENT, WORDS, Werewolf

GAME = Werewolf()
STATES = GAME.spec.observation.count


def told(wolf, seat, words):
  """What is seen in each turn, and who acts, by walking the environment."""
  state = GAME.reset(jnp.array([2 * wolf + seat]), None)
  seen, outcome = [], None
  for word in words:
    seen.append(int(GAME.observe(state)[0]))
    state, outcome = GAME.step(state, jnp.array([word]), None)
  return seen, outcome


def endings():
  """Every game: its chance of a deal, what was seen, words, who won."""
  for wolf, seat in itertools.product(range(4), range(2)):
    for words in itertools.product(range(WORDS), repeat=4):
      seen, outcome = told(wolf, seat, words)
      yield seen, words, float(outcome.reward[0])


@pytest.fixture(scope='module')
def games():
  found = list(endings())
  seen = np.array([game[0] for game in found])
  words = np.array([game[1] for game in found])
  return seen, words, np.array([game[2] for game in found])


def value(games, village, wolf):
  """How often the village wins; [S, W] each, read at its own turns."""
  seen, words, won = games
  chance = wolf[seen[:, 1], words[:, 1]]
  for turn in (0, 2, 3):
    chance = chance * village[seen[:, turn], words[:, turn]]
  return chance @ won / 8


def random_policy(seed, spread=2.0):
  logits = spread * np.random.default_rng(seed).normal(size=(STATES, WORDS))
  chances = np.exp(logits)
  return chances / chances.sum(axis=1, keepdims=True)


def improved(games, village, wolf, side):
  """The best reply of a side: its pure word at every observation, in turns."""
  seen, words, won = games
  pure = {'village': village.copy(), 'wolf': wolf.copy()}
  sign = 1 if side == 'village' else -1
  # Turns from the last to the first, so that what follows is best already.
  for turn in (3, 2, 0) if side == 'village' else (1,):
    chance = won / 8
    for other in range(4):
      if other != turn:
        by = pure['wolf'] if other == 1 else pure['village']
        chance = chance * by[seen[:, other], words[:, other]]
    for place in np.unique(seen[:, turn]):
      here = seen[:, turn] == place
      worth = [chance[here & (words[:, turn] == w)].sum() for w in range(WORDS)]
      pure[side][place] = np.eye(WORDS)[np.argmax(sign * np.array(worth))]
  return value(games, pure['village'], pure['wolf'])


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(2))
def test_best_replies_are_those_of_the_whole_tree(games, seed):
  chances = random_policy(seed)
  most, least = GAME.best_replies(chances)
  np.testing.assert_allclose(
    most, improved(games, chances, chances, 'village'), atol=1e-12
  )
  np.testing.assert_allclose(
    least, improved(games, chances, chances, 'wolf'), atol=1e-12
  )
  assert least <= value(games, chances, chances) <= most


def equilibrium():
  """It asks and believes either voice; the wolf names any other."""
  chances = np.full((STATES, WORDS), 1 / WORDS)
  chances[0] = np.eye(WORDS)[ASK]
  for wolf in range(4):
    for first in range(WORDS):
      row = np.full(WORDS, 1 / 3)
      row[[wolf, SILENT]] = 0
      chances[werewolf._WOLF + WORDS * wolf + first] = row
  for one, other in itertools.product(range(WORDS), repeat=2):
    named = [word for word in (one, other) if word != SILENT]
    row = np.zeros(WORDS)
    for word in named or range(4):
      row[word] += 1 / len(named or range(4))
    chances[werewolf._ACCUSE + WORDS * one + other] = row
  for accused in range(WORDS):
    chances[werewolf._VOTE + WORDS + accused] = np.eye(WORDS)[accused]
  return chances


def test_the_optimum_is_the_value_that_nobody_can_exploit():
  most, least = GAME.best_replies(equilibrium())
  np.testing.assert_allclose([most, least], GAME.optimal_return, atol=1e-12)


def test_a_village_that_does_not_ask_wins_a_third_at_most():
  chances = equilibrium()
  chances[0] = np.eye(WORDS)[0]
  assert GAME.best_replies(chances)[1] <= 1 / 3 + 1e-12
  silent = equilibrium()
  silent[werewolf._WOLF : werewolf._ACCUSE] = np.eye(WORDS)[SILENT]
  assert GAME.best_replies(silent)[0] == 1.0


def test_turns_belong_to_the_sides_and_key_ones_are_judged():
  state = GAME.reset(jnp.array([2 * 1 + 0]), None)
  agents, own = [], []
  for word in (ASK, 3, 1, 1):
    state, outcome = GAME.step(state, jnp.array([word]), None)
    agents.append(int(outcome.agent[0]))
    own.append(float(outcome.own[0]))
  assert agents[:3] == [1, 0, 0] and own == [1.0, 0.0, 1.0, 0.0]
  assert outcome.reward[0] == 1 and outcome.seats[0].tolist() == [1.0, 0.0]


def test_voices_do_not_tell_who_they_are():
  """The same two claims are seen whoever of the two is the seer."""
  left, _ = told(wolf=1, seat=0, words=(ASK, 3, 0, 0))
  right, _ = told(wolf=3, seat=1, words=(ASK, 1, 0, 0))
  assert left[2] == right[2]
