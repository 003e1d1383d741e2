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
