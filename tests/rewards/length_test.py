import numpy as np
import pytest

from jaxrl_llm.rewards import length
from tests.advantages import cases
from tests.oracles import rewards as oracle


@pytest.mark.parametrize('buffer', [1, 3, 6])
@pytest.mark.parametrize('factor', [1.0, 0.5])
def test_overlong_equals_its_oracle(buffer, factor):
  rollouts = cases.rollouts()
  rewards = np.linspace(-1, 1, 16).astype(np.float32)
  ours = length.overlong(rewards, rollouts, buffer=buffer, factor=factor)
  lengths = np.asarray(rollouts.response_mask).sum(axis=1)
  expected = oracle.overlong(rewards, lengths, 6, buffer, factor)
  np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)


def test_no_buffer_is_no_penalty():
  rewards = np.ones(16, np.float32)
  ours = length.overlong(rewards, cases.rollouts(), buffer=0.0)
  np.testing.assert_array_equal(ours, rewards)


def test_buffer_beyond_the_budget_is_refused_with_the_numbers():
  with pytest.raises(ValueError, match='7 tokens exceeds .* of 6'):
    length.overlong(np.ones(16), cases.rollouts(), buffer=7)


def test_the_length_bonus_is_whole_at_the_budget_and_gone_at_twice_of_it():
  rollouts = cases.rollouts(seed=1, budget=np.full(16, 3, 'f'))
  ours = length.triangular(
    np.ones(16, 'f'), rollouts, accuracy_weight=2.0, length_weight=0.5
  )
  worth = np.array([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0])
  lengths = np.asarray(rollouts.length)
  assert {0, 3, 6} <= {*lengths}
  np.testing.assert_allclose(ours, 2 + 0.5 * worth[lengths], rtol=1e-6)


def test_a_response_of_more_than_twice_the_budget_gets_no_less_than_nothing():
  rollouts = cases.rollouts(budget=np.ones(16, 'f'))
  ours = length.triangular(np.zeros(16, 'f'), rollouts)
  long = np.asarray(rollouts.length) > 2
  np.testing.assert_array_equal(ours[long], 0)
