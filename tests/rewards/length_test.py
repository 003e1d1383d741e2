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
