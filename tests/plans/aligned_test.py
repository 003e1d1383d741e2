"""Sub-agents act as often as they like, and count as often as all."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.advantages import steps
from jaxrl_llm.plans import aligned
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, initial_credit

# The turns of three episodes of a prompt, by agent; the last was not taken.
AGENTS = (3, 1, 1, 3), (3, 3, 3, 3), (3, 1, 2, 0)
TAKEN = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], bool)


def rows():
  found = policy.as_rollouts(
    np.zeros((12, 2), np.int32),
    np.ones((12, 2), bool),
    group=jnp.zeros(12, int),
  )
  extras = {
    'agent': np.concatenate(AGENTS),
    'trajectory': np.repeat([0, 1, 2], 4),
    'step': np.tile(np.arange(4), 3),
  }
  extras = {name: jnp.asarray(x, jnp.int32) for name, x in extras.items()}
  return found.replace(valid=jnp.asarray(TAKEN), extras=extras)


@pytest.mark.parametrize('calls', [1, 2, 3, 5])
def test_every_episode_with_sub_agents_has_as_many_turns_of_them(calls):
  given = rows()
  key = jax.random.key(calls)
  found = np.asarray(aligned.copies(given, key, calls=calls)).reshape(3, 4)
  sub = (np.array(AGENTS) != 3) & TAKEN.reshape(3, 4)
  assert (found * sub).sum(axis=1).tolist() == [calls, 0, calls]
  np.testing.assert_array_equal(found[~sub], TAKEN.reshape(3, 4)[~sub])
  assert np.ptp(found[0, 1:3]) <= 1


def test_which_turns_are_left_out_or_repeated_is_chance():
  given, odd = rows(), collections.Counter()
  for seed in range(40):
    found = aligned.copies(given, jax.random.key(seed), calls=3)
    odd[int(found[1])] += 1
  assert set(odd) == {1, 2} and min(odd.values()) > 9


def test_a_turn_that_counts_twice_is_two_turns():
  """In what it is compared with, and in the mean; one of none is in neither."""
  given, copies = rows(), [1, 2, 0, 1, 1, 1, 1, 1, 1, 1, 2, 1]
  rewards = np.random.default_rng(0).normal(size=12).astype(np.float32)
  extras = {'copies': jnp.asarray(copies), 'step_reward': jnp.zeros(12)}
  given = given.replace(extras={**given.extras, **extras})
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  start = initial_credit(given, scores).replace(rewards=jnp.asarray(rewards))
  stage = recipes.build('m_grpo').credit
  found, _ = stage.update(start, given, stage.init(None))
  ours = rewards[[1, 1, 9]]
  wanted = (ours - ours.mean()) / (ours.std(ddof=1) + 1e-6)
  np.testing.assert_allclose(
    found.advantages[jnp.array([1, 9]), 0], wanted[[0, 2]], rtol=1e-5
  )
  np.testing.assert_array_equal(found.keep[:11], copies[:11])
  assert not found.advantages[2].any() and not found.advantages[11].any()


@pytest.mark.parametrize('reward', [0.7, 5.3])
def test_turns_that_earned_the_same_are_worth_nothing(reward):
  """Whatever their mean is rounded to, and however often each counts."""
  for copies in [1] * 12, [4, 2, 1, 1] * 3, [1, 2, 5, 0] * 3:
    given = rows()
    extras = {**given.extras, 'copies': jnp.array(copies)}
    given = given.replace(extras=extras)
    whole = steps.norm_of_copies(jnp.full(12, reward), given)
    np.testing.assert_array_equal(whole, jnp.zeros((12, 2)))
