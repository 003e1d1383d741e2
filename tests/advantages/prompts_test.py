import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import group, prompts
from tests.advantages import cases
from tests.oracles import advantages as oracle


def test_consistent_rows_are_worth_their_distance_in_spreads_and_epsilon():
  rewards, ids, valid = cases.rows('real')
  answer = np.zeros(16, np.int32)
  _, worth = prompts.consistent(rewards, answer, ids, valid, epsilon=0.5)
  expected = group.norm(rewards, ids, valid, epsilon=0.5)
  np.testing.assert_allclose(worth, expected, rtol=1e-6)


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  groups = np.repeat(np.arange(4), 4)
  rollouts = cases.rollouts(
    seed,
    answer=rng.integers(0, 3, 16).astype(np.int32),
    coverage=rng.random(4).astype('f')[groups],
    demonstration_reward=rng.random(4).astype('f')[groups],
    prompt_logp=-rng.exponential(1.0, (16, 1)).astype('f'),
  )
  rewards = rng.integers(0, 2, 16).astype(np.float32)
  rewards[:4] = 0.0
  rewards = np.where(rollouts.valid, rewards, 0).astype(np.float32)
  arrays = np.asarray(rollouts.group), np.asarray(rollouts.valid)
  return rollouts, rewards, arrays


def _check(ours, rows, valid):
  assert ours.shape == (16, 6)
  np.testing.assert_allclose(ours[valid][:, 0], rows[valid], 1e-4, 1e-5)
  np.testing.assert_array_equal(ours, np.repeat(ours[:, :1], 6, axis=1))


@pytest.mark.parametrize('seed', range(3))
def test_semantic_entropy_equals_its_oracle(seed):
  rollouts, rewards, arrays = _batch(seed)
  answer = np.asarray(rollouts.extras['answer'])
  ours = np.asarray(prompts.semantic_entropy(rewards, rollouts, strength=0.7))
  expected = oracle.semantic_entropy(rewards, answer, *arrays, 0.7)
  _check(ours, expected, arrays[1])


def test_semantic_entropy_of_scattered_answers_silences_at_full_strength():
  rollouts = cases.rollouts(answer=np.arange(16, dtype=np.int32))
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  ours = prompts.semantic_entropy(rewards, rollouts, strength=1.0)
  np.testing.assert_allclose(ours, 0, atol=1e-6)


def test_semantic_entropy_of_one_answer_is_dr_grpo():
  rollouts = cases.rollouts(answer=np.zeros(16, np.int32))
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  ours = prompts.semantic_entropy(rewards, rollouts, strength=0.9)
  plain = group.centre(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-6)


@pytest.mark.parametrize('middle', [0.5, 1.5])
@pytest.mark.parametrize('seed', range(2))
def test_consistency_equals_its_oracle(seed, middle):
  rollouts, rewards, arrays = _batch(seed)
  answer = np.asarray(rollouts.extras['answer'])
  ours = np.asarray(prompts.consistency(rewards, rollouts, middle=middle))
  expected = oracle.copo(rewards, answer, *arrays, middle=middle)
  _check(ours, expected, arrays[1])


def test_consistency_is_grpo_on_successes_when_every_answer_is_varied():
  rollouts, rewards, arrays = _batch()
  ours = prompts.consistency(rewards, rollouts, middle=-math.inf)
  plain, right = group.norm(rewards, *arrays), rewards > 0
  np.testing.assert_allclose(ours[right, 0], plain[right], rtol=1e-6)


def test_rows_without_reward_are_compared_between_prompts_alone():
  rollouts, rewards, arrays = _batch()
  wrong = arrays[1] & (rewards == 0)
  varied, agreed = (
    np.asarray(prompts.consistency(rewards, rollouts, middle=middle))
    for middle in (-math.inf, math.inf)
  )
  assert wrong.any()
  np.testing.assert_array_equal(varied[wrong], agreed[wrong])


def test_consistency_punishes_a_unanimous_wrong_group():
  rollouts, _, _ = _batch()
  rollouts.extras['answer'] = np.zeros(16, np.int32)
  rewards = np.ones(16, np.float32)
  rewards[:4] = 0.0
  ours = prompts.consistency(rewards, rollouts)
  assert np.all(np.asarray(ours)[:4] < 0)


@pytest.mark.parametrize('seed', range(2))
def test_demonstration_gap_equals_its_oracle(seed):
  rollouts, rewards, arrays = _batch(seed)
  extras = {k: np.asarray(v) for k, v in rollouts.extras.items()}
  ours = np.asarray(prompts.demonstration_gap(rewards, rollouts))
  expected = oracle.dr_irl(
    rewards, extras['coverage'], extras['demonstration_reward'], *arrays
  )
  _check(ours, expected, arrays[1])


def test_gaps_without_their_outliers_scale_all_prompts_alike():
  rewards = jnp.tile(jnp.array([0.0, 1.0]), 8)
  group = jnp.arange(16) // 2
  shown = jnp.where(group == 0, 4.5, 0.5)
  rollouts = cases.rollouts(
    coverage=np.full(16, 0.5, 'f'), demonstration_reward=shown
  ).replace(group=group, valid=jnp.ones(16, bool))

  def size(outlier):
    ours = prompts.demonstration_gap(rewards, rollouts, outlier=outlier)
    sizes = np.abs(np.asarray(ours)[np.asarray(rollouts.loss_mask)])
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-6)
    return sizes[0]

  # The gaps are 4 and seven times 0, so their mean is a half.
  kept = jax.nn.sigmoid(0.0) / jax.nn.sigmoid(0.5)
  np.testing.assert_allclose(size(0.25), size(np.inf) * kept, rtol=1e-5)
  # Where none is near the mean, all count.
  assert size(0.01) == size(np.inf)


def test_demonstration_gap_is_grpo_when_all_prompts_are_alike():
  rollouts, _, arrays = _batch()
  rollouts.extras['coverage'] = np.full(16, 0.3, np.float32)
  rewards = np.tile([1.0, 0.0], 8).astype(np.float32)
  rollouts.extras['demonstration_reward'] = rewards + 0.5
  ours = prompts.demonstration_gap(rewards, rollouts)
  np.testing.assert_allclose(
    ours[:, 0], group.norm(rewards, *arrays), rtol=1e-5
  )


@pytest.mark.parametrize('share', [0.2, 0.5, 1.0])
def test_confidence_equals_its_oracle(share):
  rollouts, _, _ = _batch()
  logp, mask = np.asarray(rollouts.logp), np.asarray(rollouts.loss_mask)
  ours = prompts.lowest_mean(logp, mask, share=share)
  np.testing.assert_allclose(
    ours, oracle.confidence(logp, mask, share), rtol=1e-5
  )


def test_confidence_gap_moves_only_groups_with_a_signal():
  rollouts, rewards, arrays = _batch()
  base = group.norm(rewards, *arrays)[:, None] * np.ones((1, 6), np.float32)
  ours = np.asarray(prompts.confidence_gap(base, rollouts, strength=0.3))
  of_prompt = oracle.confidence(
    rollouts.extras['prompt_logp'], np.ones((16, 1), bool)
  )
  mask = np.asarray(rollouts.loss_mask)
  of_response = oracle.confidence(np.asarray(rollouts.logp), mask)
  bonus = 0.3 * (of_prompt - of_response)
  bonus[:4] = 0.0
  valid = arrays[1]
  expected = np.asarray(base)[:, 0] + bonus
  np.testing.assert_allclose(ours[valid][:, 0], expected[valid], rtol=1e-4)
