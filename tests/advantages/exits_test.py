import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import exits
from jaxrl_llm.tabular import policy


def rollouts(role, trajectory, exit_, segment=0):
  """Rows of one group, of three tokens each."""
  rows = len(role)
  mask, zeros = np.ones((rows, 3), bool), np.zeros(rows, np.int32)
  extras = {
    'role': np.array(role, np.int32),
    'trajectory': np.array(trajectory, np.int32),
    'exit': np.array(exit_, np.int32),
    'segment': np.broadcast_to(segment, mask.shape).astype(np.int32),
  }
  found = policy.as_rollouts(
    np.zeros(mask.shape, int), mask, task=zeros, group=zeros
  )
  return found.replace(extras={k: jnp.asarray(x) for k, x in extras.items()})


def test_one_budget_is_the_reward_of_answers_minus_the_mean_of_thoughts():
  """GRPO without the spread, on thoughts."""
  rows = rollouts([0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [0] * 6)
  rewards = np.array([0, 0, 1, 1, 1, 0], 'f')
  ours = exits.budget_relative(rewards, rows, chances=(1.0,))
  np.testing.assert_allclose(ours[:, 0], [0.25, -0.25, 0, 0, 0.5, -0.5])


def test_a_part_is_worth_what_it_adds_to_the_part_before():
  rows = rollouts([0, 1, 1], [0, 0, 0], [0, 0, 1], segment=[0, 1, 1])
  rewards = np.array([0, 0.25, 1], 'f')
  ours = exits.budget_relative(rewards, rows, chances=(0.5, 0.5))
  # A lone thought has no peers: R_0, then R_1 - V_1 / 2.
  first, second = 0.5 * 0.25 + 0.5, 0.5 - 0.5 * 0.25 * 0.5
  np.testing.assert_allclose(ours[0], [first, second, second], rtol=1e-6)


def test_a_thought_that_ended_early_has_its_last_answers_ever_after():
  early = rollouts([0, 1], [0, 0], [0, 0])
  again = rollouts([0, 1, 1], [0, 0, 0], [0, 0, 1])
  rewards = np.array([0, 0.5, 0.5], 'f')
  chances = exits.prior('linear', 2)
  ours = exits.budget_relative(rewards[:2], early, chances=chances)
  other = exits.budget_relative(rewards, again, chances=chances)
  np.testing.assert_allclose(ours[0], other[0], rtol=1e-6)


def test_a_lone_answer_is_compared_with_those_of_other_thoughts():
  rows = rollouts([1, 1, 1], [0, 1, 1], [0, 0, 1])
  ours = exits.budget_relative(
    np.array([1, 0, 0.5], 'f'), rows, chances=(0.5, 0.5)
  )
  np.testing.assert_allclose(ours[:, 0], [0.5, -0.5, 0])


def test_priors_are_known_by_name():
  assert exits.prior('base', 3) == (0, 0, 1)
  assert exits.prior('uniform', 2) == (0.5, 0.5)
  with pytest.raises(ValueError, match="'cubic' of budgets is none of uniform"):
    exits.prior('cubic', 2)
