import functools

import numpy as np
import pytest

from jaxrl_llm.advantages.group import norm
from jaxrl_llm.rewards import combine
from tests.advantages import cases
from tests.oracles import advantages as oracle


def test_weighted_sum_equals_a_matrix_product():
  rng = np.random.default_rng(0)
  components, weights = rng.normal(size=(5, 3)), rng.normal(size=3)
  ours = combine.weighted_sum(components, weights, None)
  np.testing.assert_allclose(ours, components @ weights, rtol=1e-5)


def test_weights_of_another_length_are_refused():
  with pytest.raises(AssertionError):
    combine.weighted_sum(np.ones((5, 3)), np.ones(2), None)


def test_decoupled_equals_its_oracle():
  rewards, group, valid = cases.rows('holes')
  rng = np.random.default_rng(0)
  components = np.stack([rewards, rng.normal(size=16), np.ones(16)], axis=1)
  components = np.where(valid[:, None], components, 0).astype(np.float32)
  weights = np.array([1.0, 0.5, 3.0], np.float32)
  rollouts = cases.rollouts().replace(group=group, valid=valid)
  ours = combine.decoupled(
    components, weights, rollouts,
    fn=functools.partial(norm, epsilon=1e-4),
  )  # fmt: skip
  expected = oracle.gdpo(components, weights, group, valid)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_decoupled_components_may_be_of_any_scale():
  rollouts = cases.rollouts()
  rng = np.random.default_rng(0)
  components = rng.normal(size=(16, 2)).astype(np.float32)
  fn = functools.partial(norm, epsilon=0.0)
  plain = combine.decoupled(components, np.ones(2), rollouts, fn=fn)
  wide = combine.decoupled(
    components * np.array([1.0, 1000.0]), np.ones(2), rollouts, fn=fn
  )
  np.testing.assert_allclose(wide, plain, rtol=1e-4, atol=1e-5)
