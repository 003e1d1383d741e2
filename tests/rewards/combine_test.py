import numpy as np
import pytest

from jaxrl_llm.rewards import combine


def test_weighted_sum_equals_a_matrix_product():
  rng = np.random.default_rng(0)
  components, weights = rng.normal(size=(5, 3)), rng.normal(size=3)
  ours = combine.weighted_sum(components, weights, None)
  np.testing.assert_allclose(ours, components @ weights, rtol=1e-5)


def test_weights_of_another_length_are_refused():
  with pytest.raises(AssertionError):
    combine.weighted_sum(np.ones((5, 3)), np.ones(2), None)
