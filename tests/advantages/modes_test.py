import jax.numpy as jnp
import numpy as np

from jaxrl_llm.advantages import group, modes
from jaxrl_llm.rewards import thinking
from tests.advantages import cases


def rollouts(beginning, **extras):
  found = cases.rollouts(
    seed=1, beginning=np.array(beginning, np.int32), **extras
  )
  valid = np.ones(16, bool)
  return found.replace(valid=jnp.asarray(valid))


def test_equal_rewards_still_tell_budgets_from_what_they_promise():
  rows = rollouts([0, 0, 1, 1] * 4)
  ours = modes.nested_budgets(
    np.ones(16, 'f'), rows, budgets=(2, 6), longest=8, weight=0.5
  )
  worth = thinking.worth(np.array([2, 2, 6, 6] * 4), 8)
  expected = np.where(rows.loss_mask, 0.5 * (1 - worth)[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_budget_without_weight_is_grpo():
  rows, rewards = rollouts([0, 0, 1, 1] * 4), cases.rows('real')[0]
  ours = modes.nested_budgets(
    rewards, rows, budgets=(2, 6), longest=8, weight=0.0
  )
  plain = group.norm(rewards, rows.group, rows.valid)
  expected = np.where(rows.loss_mask, plain[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_mode_wins_by_the_margin_and_is_told_at_the_beginning_alone():
  head = np.arange(6) < np.ones((16, 1))
  rewards = np.array([1, 1, 0.9, 0.9] * 2 + [1, 1, 0.7, 0.7] * 2, 'f')
  rows = rollouts([0, 0, 1, 1] * 4, begun=head)
  ours = np.asarray(modes.within_and_across(rewards, rows, margin=0.2))
  there = np.asarray(rows.loss_mask)
  # All tie within their modes; the spread of two ones and two zeros.
  side = 0.5 / np.sqrt(1 / 3)
  signs = np.array([-1, -1, 1, 1] * 2 + [1, 1, -1, -1] * 2)
  expected = np.where(head & there, side * signs[:, None], 0)
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_without_weight_rows_are_compared_with_those_of_their_mode_alone():
  rewards = np.tile([3, 2, 1, 0], 4).astype('f')
  rows = rollouts([0, 0, 1, 1] * 4, begun=np.ones((16, 6), bool))
  ours = modes.within_and_across(rewards, rows, weight=0.0)
  best = np.tile([1, -1, 1, -1], 4) * np.sqrt(0.5)
  expected = np.where(rows.loss_mask, best[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-5)
