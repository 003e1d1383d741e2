"""What other policies say of tokens, as advantages."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import implicit
from jaxrl_llm.tabular import policy


def advantages(said, rewards, length=(3, 2, 4, 1), **hyper):
  said = jnp.asarray(said, jnp.float32)
  mask = jnp.arange(said.shape[1]) < jnp.array(length)[:, None]
  rollouts = policy.as_rollouts(
    jnp.zeros(said.shape, jnp.int32), mask, group=jnp.array([0, 0, 2, 3])
  ).replace(extras={'implicit_reward': said})
  rewards = jnp.asarray(rewards, jnp.float32)
  return implicit.implicit_process(rewards, rollouts, **hyper), mask


SAID = np.random.default_rng(0).standard_normal((4, 4))
REWARDS = [1.0, 0.0, 1.0, 0.0]


def test_the_scale_of_what_is_said_does_not_matter():
  one, _ = advantages(SAID, REWARDS)
  other, _ = advantages(7 * SAID, REWARDS)
  np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_without_process_rewards_it_is_leave_one_out():
  found, mask = advantages(SAID, REWARDS, process=0.0, outcome=2.0)
  wanted = np.where(mask, np.array([2.0, -2.0, 0, 0])[:, None], 0)
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_rows_alone_and_last_tokens_have_no_process_reward():
  found, mask = advantages(SAID, REWARDS, outcome=0.0)
  assert not found[2:].any() and jnp.all(jnp.where(mask, 0, found) == 0)
  said = np.where(np.arange(4) == np.array([2, 1, 3, 0])[:, None], 50.0, SAID)
  other, _ = advantages(said, REWARDS, outcome=0.0)
  np.testing.assert_allclose(found, other, rtol=1e-5)


@pytest.mark.parametrize('process', [1.0, 5.0])
def test_two_rows_by_hand(process):
  said = np.zeros((4, 4))
  said[0, :2], said[1, 0] = [1.0, 3.0], 2.0
  run = functools.partial(advantages, said, REWARDS, process=process)
  found, _ = run(outcome=1.0)
  # Of sums to go the largest is 4; means over tokens are 1/3 and 1/4.
  q = np.array([[0.25, 0.75, 0], [0.5, 0, np.nan]])
  p = 2 * q - (1 / 3 + 1 / 4)
  first = process * p[0] + [0, 0, 1.0]
  second = process * p[1, :2] + [0, -1.0]
  for row, paid in ((0, first), (1, second)):
    to_go = np.cumsum(paid[::-1])[::-1]
    np.testing.assert_allclose(found[row, : len(paid)], to_go, rtol=1e-5)


def test_a_token_answers_for_the_mean_of_what_follows():
  teacher = jnp.array([[0.5, -1.0, 3.0, 9.0], [2.0, 4.0, 9.0, 9.0]])
  mask = jnp.arange(4) < jnp.array([3, 1])[:, None]
  rollouts = policy.as_rollouts(jnp.zeros((2, 4), jnp.int32), mask)
  extras = {'old_logp': jnp.ones((2, 4)), 'teacher_logp': teacher}
  rollouts = rollouts.replace(extras=extras)
  found = implicit.teacher_after(jnp.zeros(2), rollouts)
  np.testing.assert_allclose(found, [[0.0, 2.0, 0, 0], [0, 0, 0, 0]])


def test_early_tokens_weigh_more_and_agreement_teaches_nothing():
  teacher = jnp.array([[2.0, 0.0, 3.0, 9.0], [1.0, 1.0, 9.0, 9.0]])
  mask = jnp.arange(4) < jnp.array([3, 2])[:, None]
  rollouts = policy.as_rollouts(jnp.zeros((2, 4), jnp.int32), mask)
  extras = {'old_logp': jnp.ones((2, 4)), 'teacher_logp': teacher}
  rollouts = rollouts.replace(extras=extras)
  found = implicit.teacher_early(jnp.zeros(2), rollouts, gamma=0.5)
  # Gaps 1, -1, 2 of 4 in all.
  wanted = [[1.5, -1.375, 2.5, 0], [0, 0, 0, 0]]
  np.testing.assert_allclose(found, wanted)
  plain = implicit.teacher_early(jnp.zeros(2), rollouts, gamma=0.0)
  np.testing.assert_allclose(plain, [[1, -1, 2, 0], [0, 0, 0, 0]])
