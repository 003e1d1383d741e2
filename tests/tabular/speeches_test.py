"""Poker in texts against poker in moves."""

import numpy as np
import pytest

from jaxrl_llm.tabular import poker
from jaxrl_llm.tabular.speeches import Speeches

GAME = Speeches()
TEXTS = ['ab', 'de', 'ff', 'ca', 'af', '', 'zz']


def test_more_bold_than_timid_letters_are_a_bet():
  assert GAME.bets(TEXTS).tolist() == [True, False, False, True, *[False] * 3]
  assert GAME.marks(['aab'])[0].tolist() == [2, 1, 0, 0, 0, 0]
  assert GAME.marks([]).shape == (0, 6)


def everywhere(texts):
  """Each text at every information set."""
  places = [key for key in poker.KEYS for _ in texts]
  return places, list(texts) * len(poker.KEYS)


def test_texts_that_are_one_move_each_solve_the_game_itself():
  places, texts = everywhere(['aa', 'ff'])
  latent = np.array([0, 1] * len(poker.KEYS))
  found = GAME.solve(400, places, texts, latent)
  solved = poker.solve(400)
  for place, text, chance in zip(places, texts, found, strict=True):
    bet = solved[place]
    assert chance == pytest.approx(bet if text == 'aa' else 1 - bet, abs=1e-12)


def test_a_latent_strategy_that_mixes_moves_is_played_as_a_mixture():
  """One text of three in the second one is a bet."""
  places, texts = everywhere(['aa', 'ff', 'ee', 'ab'])
  latent = np.array([0, 1, 1, 1] * len(poker.KEYS))
  found = GAME.solve(200, places, texts, latent).reshape(-1, 4)
  solved = poker.latent(200, dict.fromkeys(poker.KEYS, (1.0, 1 / 3)))
  for row, key in zip(found, poker.KEYS, strict=True):
    np.testing.assert_allclose(row, solved[key][[0, 1, 1, 1]], atol=1e-12)


def test_where_nothing_was_said_both_moves_are_there():
  found = GAME.solve(100, ['1', '1'], ['aa', 'ff'], np.array([3, 7]))
  whole = poker.solve(100)['1']
  np.testing.assert_allclose(found, [whole, 1 - whole], atol=1e-12)
  assert GAME.solve(10, [], [], np.zeros(0, int)).shape == (0,)


def test_who_always_passes_is_exploited():
  places, texts = everywhere(['ff', 'de'])
  assert GAME.exploitability(places, texts) == 1
  assert GAME.exploitability([], []) == poker.exploitability(
    dict.fromkeys(poker.KEYS, 0.5)
  )
