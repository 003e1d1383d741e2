import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.selection import pairs
from tests.oracles import parts


@pytest.mark.parametrize('tenth', range(10))
def test_rewards_a_threshold_apart_are_pairs_whichever_tenths_they_are(tenth):
  rewards = jnp.float32([[tenth / 10, (tenth + 1) / 10, tenth / 10]])
  live = jnp.array([[True, True, True]])
  better = pairs.better(None, rewards, live)
  for threshold in (0.0, 0.1):
    ours = pairs.well_apart(None, rewards, live, threshold=threshold)
    np.testing.assert_array_equal(ours, better)
  assert better[0, 1, 0] == 0.5
  nothing = pairs.well_apart(None, rewards, live, threshold=0.11)
  np.testing.assert_array_equal(nothing, 0)


def test_below_the_best_the_others_are_compared_and_ties_at_the_top_are_not():
  rewards = jnp.float32([[3, 2, 1, 0], [2, 2, 1, 0], [1, 0, 0, 0]])
  live = jnp.array([[True, True, True, False], [True] * 4, [True] * 4])
  found = pairs.below_best(None, rewards, live)
  wanted = np.zeros((3, 4, 4))
  wanted[0, 1, 2] = wanted[1, 2, 3] = 1
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize('size', range(1, 8))
def test_the_games_of_a_knock_out_are_those_of_all_its_draws(size):
  rng = np.random.default_rng(size)
  rewards = np.stack([rng.permutation(7), rng.integers(0, 3, 7)]) * 1.0
  live = np.stack([np.arange(7) < size] * 2)
  found = pairs.by_tournament(None, jnp.float32(rewards), jnp.asarray(live))
  for ours, row in zip(np.asarray(found, np.float64), rewards, strict=True):
    games, _ = parts.knock_out(tuple(range(size)), row)
    wanted = np.zeros((7, 7))
    for pair, chance in games.items():
      wanted[pair] = chance / sum(games.values())
    np.testing.assert_allclose(ours, wanted, atol=1e-6)
  # Each game puts one row out, so that all but the best lose once.
  lost = np.zeros(7)
  best = np.argmax(np.where(live[0], rewards[0], -1))
  lost[:size] = np.arange(size) != best
  every = max(size - 1, 1)
  np.testing.assert_allclose(found[0].sum(0), lost / every, atol=1e-6)


def test_a_knock_out_of_ties_or_of_nobody_has_no_pair():
  live = jnp.array([[True] * 4, [False] * 4])
  found = pairs.by_tournament(None, jnp.ones((2, 4)), live)
  np.testing.assert_array_equal(found, 0)


def test_of_a_group_that_lacks_a_row_there_is_no_knock_out():
  chance = jnp.float32([[0.5, 0.9, 0.9, 0.9], *[[0.1, 0.5, 0.5, 0.5]] * 3])
  live = jnp.array([[True] * 4, [True, True, True, False]])
  found = pairs.knocked_out(
    None, None, live, preference=jnp.stack([chance, chance])
  )
  # Who beats all wins for certain; of three that tie the last is any.
  np.testing.assert_allclose(found[0, 0], [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)
  np.testing.assert_array_equal(found[0, 1:], 0)
  np.testing.assert_array_equal(found[1], 0)
