"""The one-parameter family of equilibria that Kuhn found in 1950."""

import itertools

import numpy as np
import pytest

from jaxrl_llm.tabular import poker


def family(a):
  """The equilibrium whose first player bets the lowest card with chance a."""
  first = {'1': a, '2': 0, '3': 3 * a, '1pb': 0, '2pb': a + 1 / 3, '3pb': 1}
  second = {'1p': 1 / 3, '2p': 0, '3p': 1, '1b': 0, '2b': 1 / 3, '3b': 1}
  return first | second


def _best(strategy, player):
  """What `player` wins at most against the strategy, trying all pure ones."""
  keys = [k for k in strategy if len(k[1:]) % 2 == player]
  sign = 1 if player == 0 else -1
  return max(
    sign * poker.value(strategy | dict(zip(keys, bets)))
    for bets in itertools.product((0.0, 1.0), repeat=len(keys))
  )


@pytest.mark.parametrize('a', [0.0, 0.2, 1 / 3])
def test_kuhns_family_is_worth_minus_an_eighteenth_and_unbeatable(a):
  strategy = family(a)
  np.testing.assert_allclose(poker.value(strategy), -1 / 18, atol=1e-12)
  np.testing.assert_allclose(_best(strategy, 0), -1 / 18, atol=1e-12)
  np.testing.assert_allclose(_best(strategy, 1), 1 / 18, atol=1e-12)


def test_regret_minimisation_finds_a_member_of_the_family():
  found = poker.solve(3000)
  assert set(found) == set(family(0.0))
  np.testing.assert_allclose(poker.value(found), -1 / 18, atol=0.003)
  gap = _best(found, 0) + _best(found, 1)
  assert 0 <= gap < 0.01
  expected = family(found['1'])
  for key in expected:
    np.testing.assert_allclose(found[key], expected[key], atol=0.05)


def test_latent_actions_find_the_same_equilibrium_where_texts_mix_them():
  """A cluster that never bets, one that always does, and one that does both."""
  keys = list(family(0.0))
  found = poker.latent(1500, dict.fromkeys(keys, (0.0, 0.5, 1.0)))
  strategy = {key: float(p @ (0.0, 0.5, 1.0)) for key, p in found.items()}
  np.testing.assert_allclose([p.sum() for p in found.values()], 1)
  np.testing.assert_allclose(poker.value(strategy), -1 / 18, atol=0.01)
  assert 0 <= _best(strategy, 0) + _best(strategy, 1) < 0.03


def test_what_no_cluster_does_is_not_done():
  """Who has only texts that pass is exploited as one who always passes."""
  found = poker.latent(50, dict.fromkeys(family(0.0), (0.0, 0.0)))
  assert all(np.allclose(p, 0.5) for p in found.values())


def test_what_its_own_actions_rule_out_is_answered_as_in_the_last_round():
  """Who can only bet first never has to answer a bet after a pass."""
  bets = dict.fromkeys(family(0.0), (0.0, 1.0))
  bets |= dict.fromkeys('123', (1.0, 1.0))
  found = poker.latent(100, bets)
  assert all(np.isfinite(p).all() for p in found.values())
  # With the highest card a bet is called, and with the lowest it is not.
  np.testing.assert_allclose(found['3pb'].sum(), 1)
  np.testing.assert_allclose(found['1b'], [1, 0], atol=0.05)


def test_exploitability_is_what_best_responses_win():
  strategy = family(0.1) | {'2': 0.7, '1b': 0.4}
  gap = _best(strategy, 0) + _best(strategy, 1)
  np.testing.assert_allclose(poker.exploitability(strategy), gap / 2)
  np.testing.assert_allclose(poker.exploitability(family(0.2)), 0, atol=1e-12)


def test_always_passing_is_exploited():
  timid = dict.fromkeys(family(0.0), 0.0)
  assert poker.value(timid) == 0
  # Whoever bets always wins the ante.
  assert _best(timid, 0) == _best(timid, 1) == 1
