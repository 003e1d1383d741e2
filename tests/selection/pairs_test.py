import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.selection import pairs


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
