import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import group, keys, steps
from jaxrl_llm.objectives import aggregate
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle


def _agents(seed=0):
  """Two trajectories of two steps in each group of four rows."""
  rng = np.random.default_rng(seed)
  extras = {
    'trajectory': np.tile([0, 0, 1, 1], 4).astype(np.int32),
    'step': np.tile([0, 1, 1, 0], 4).astype(np.int32),
    'step_reward': rng.random(16).astype(np.float32),
    'anchor': rng.integers(0, 2, 16).astype(np.int32),
    'node': rng.integers(0, 3, 16).astype(np.int32),
  }
  outcome = rng.integers(0, 2, 8).astype(np.float32)
  return cases.rollouts(seed, **extras), np.repeat(outcome, 2), extras


def _arrays(rollouts):
  return np.asarray(rollouts.group), np.asarray(rollouts.valid)


@pytest.mark.parametrize('seed', range(3))
def test_group_in_group_equals_its_oracle(seed):
  rollouts, rewards, extras = _agents(seed)
  ours = steps.group_in_group(rewards, rollouts, weight=0.7, discount=0.9)
  arrays = _arrays(rollouts)
  expected = oracle.gigpo(rewards, extras, *arrays, weight=0.7, gamma=0.9)
  valid = arrays[1]
  np.testing.assert_allclose(ours[valid][:, 0], expected[valid], atol=1e-5)


def test_group_in_group_without_steps_is_dr_grpo_over_trajectories():
  rollouts, rewards, _ = _agents()
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  ours = steps.group_in_group(rewards, rollouts, weight=0.0)
  plain = group.centre(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_allclose(ours[:, 0], plain, atol=1e-6)


def test_long_trajectories_do_not_move_the_baseline():
  ids = np.array([0, 0, 0, 1], np.int32)
  rollouts = cases.rollouts(groups=1, trajectory=ids)
  rollouts = rollouts.replace(valid=jnp.ones(4, bool))
  ours = steps.of_trajectories(ids * 1.0, rollouts, fn=group.centre)
  np.testing.assert_allclose(ours, [-0.5, -0.5, -0.5, 0.5])


@pytest.mark.parametrize('seed', range(3))
def test_merged_steps_equal_their_oracle(seed):
  rollouts, rewards, extras = _agents(seed)
  arrays = _arrays(rollouts)
  ours = steps.merged_steps(rewards, rollouts)
  expected = oracle.salt(rewards, extras['trajectory'], extras['node'], *arrays)
  valid = arrays[1]
  np.testing.assert_allclose(
    ours[valid][:, 0], expected[valid], rtol=1e-4, atol=1e-6
  )


def test_steps_that_nobody_shares_keep_their_trajectorys_advantage():
  unique = np.arange(16, dtype=np.int32)
  rollouts = cases.rollouts(trajectory=unique, node=unique)
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  ours = steps.merged_steps(rewards, rollouts)
  plain = group.norm(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-6)


def test_decisions_add_to_grpo():
  own = np.random.default_rng(1).normal(size=(16, 6)).astype(np.float32)
  rollouts = cases.rollouts(decision_reward=own)
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  plain = group.norm(rewards, rollouts.group, rollouts.valid)[:, None]
  ours = steps.with_decisions(rewards, rollouts, weight=0.5)
  np.testing.assert_allclose(ours, plain + 0.5 * own, rtol=1e-5, atol=1e-6)
  ours = steps.with_decisions(rewards, rollouts, weight=0.0)
  np.testing.assert_array_equal(ours, plain * jnp.ones((1, 6)))


def _tree(seed, depth):
  rng = np.random.default_rng(seed)
  path = rng.integers(0, 2, (16, depth)).astype(np.int32)
  level = rng.integers(0, depth, (16, 6)).astype(np.int32)
  rewards = rng.integers(0, 2, 16).astype(np.float32)
  return cases.rollouts(seed, node_path=path, level=level), rewards, path, level


@pytest.mark.parametrize('depth', [1, 2, 3])
def test_tree_equals_its_oracle(depth):
  rollouts, rewards, path, level = _tree(0, depth)
  arrays = _arrays(rollouts)
  ours = steps.tree(rewards, rollouts)
  expected = oracle.tree(rewards, path, level, *arrays)
  valid = arrays[1]
  np.testing.assert_allclose(ours[valid], expected[valid], atol=1e-6)


def test_tree_of_one_level_is_dr_grpo():
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  rollouts = cases.rollouts(
    node_path=np.arange(16, dtype=np.int32)[:, None],
    level=np.zeros((16, 6), np.int32),
  ).replace(valid=jnp.ones(16, bool))
  ours = steps.tree(rewards, rollouts)
  plain = group.centre(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_allclose(ours[:, 0], plain, atol=1e-6)


@pytest.mark.parametrize('seed', range(2))
def test_equal_turns_under_sequence_mean_is_a_mean_of_means(seed):
  rng = np.random.default_rng(seed)
  turn = rng.integers(0, 3, (16, 6)).astype(np.int32)
  rollouts = cases.rollouts(seed, turn=turn)
  advantages = rng.normal(size=(16, 6)).astype(np.float32)
  mask = np.asarray(rollouts.loss_mask)
  scaled = steps.equal_turns(advantages, rollouts)
  keep = jnp.asarray(mask.any(axis=1) * 1.0)
  weights = aggregate.sequence_mean(mask * 1.0, keep, rollouts.group)
  ours = jnp.sum(weights * scaled)
  rows = oracle.turn_means(advantages, turn, mask)
  np.testing.assert_allclose(ours, rows.sum() / mask.any(axis=1).sum(), 1e-4)


def test_one_turn_changes_nothing():
  rollouts = cases.rollouts(turn=np.zeros((16, 6), np.int32))
  ones = jnp.where(rollouts.loss_mask, 1.0, 0.0)
  np.testing.assert_allclose(steps.equal_turns(ones, rollouts), ones, 1e-6)


def test_turns_of_an_episode_count_alike_whatever_rows_they_are_in():
  """Two rows of an episode are one of twice the tokens, and other turns."""
  rng = np.random.default_rng(0)
  turn = rng.integers(0, 3, (16, 6)).astype(np.int32)
  episode = np.repeat(np.arange(8, dtype=np.int32), 2)
  rollouts = cases.rollouts(turn=turn, episode=episode)
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  advantages = rng.normal(size=(16, 6)).astype(np.float32)
  mask = np.asarray(rollouts.loss_mask)
  scaled = steps.equal_turns_by_episode(advantages, rollouts)
  keep = np.repeat(mask.reshape(8, 12).any(axis=1) * 1.0, 2)
  length = mask.sum(axis=1)
  keep *= length / np.maximum(np.repeat(length.reshape(8, 2).sum(1), 2), 1)
  ours = np.sum(keep / np.maximum(length, 1) * np.sum(scaled * mask, axis=1))
  later = (turn + 3 * (np.arange(16) % 2)[:, None]).reshape(8, 12)
  rows = oracle.turn_means(
    advantages.reshape(8, 12), later, mask.reshape(8, 12)
  )
  np.testing.assert_allclose(ours, rows.sum(), 1e-4)
  alone = {**rollouts.extras, 'episode': jnp.arange(16)}
  np.testing.assert_allclose(
    steps.equal_turns_by_episode(advantages, rollouts.replace(extras=alone)),
    steps.equal_turns(advantages, rollouts),
    rtol=1e-5,
  )


def cut(rollouts):
  """No row comes to an end of its own."""
  return rollouts.replace(truncated=jnp.ones_like(rollouts.truncated))


def test_lists_of_another_length_are_held_against_their_ends():
  """Of two places; the tokens of an empty row do not count."""
  item = np.zeros((16, 6), np.int32)
  item[:6] = [
    [0, 0, 0, 1, 1, 1],  # as many as there should be
    [0, 0, 0, 0, 0, 0],  # too few
    [0, 0, 1, 1, 2, 2],  # too many
    [0, 0, 0, 1, 1, 1],  # cut off
    [0, 0, 1, 2, 2, 2],  # cut off past the list
    [0, 0, 0, 0, 0, 0],
  ]
  rollouts = cases.rollouts(item=item, gain=np.ones((16, 2), np.float32))
  rows = np.arange(16)
  mask = jnp.asarray(np.broadcast_to(rows[:, None] < 5, (16, 6)))
  rollouts = rollouts.replace(
    response_mask=mask,
    action_mask=mask,
    valid=jnp.asarray(rows < 6),
    truncated=jnp.asarray((rows == 3) | (rows == 4)),
  )
  found = steps.ranked_items(None, rollouts, length_weight=0.1)
  found = np.where(mask, found, 0)
  expected = np.zeros((16, 6))
  expected[0, 5], expected[1, 5] = 0.1, -0.1
  expected[2, 4:], expected[4, 3:] = -0.1, -0.1
  np.testing.assert_allclose(found, expected, atol=1e-7)


def test_ranked_items_equal_their_oracle():
  rng = np.random.default_rng(0)
  gain = rng.random((16, 3)).astype(np.float32)
  item = rng.integers(0, 5, (16, 6)).astype(np.int32)
  rollouts = cut(cases.rollouts(item=item, gain=gain))
  ours = steps.ranked_items(None, rollouts, length_weight=0.0)
  expected = oracle.rank_grpo(gain, item, *_arrays(rollouts))
  np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_ranked_items_of_one_item_are_grpo():
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  rollouts = cases.rollouts(
    item=np.zeros((16, 6), np.int32), gain=rewards[:, None]
  )
  ours = steps.ranked_items(rewards, cut(rollouts))
  plain = group.norm(rewards, *_arrays(rollouts), epsilon=1e-4)
  np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-6)


def test_discounted_gain_counts_what_comes_after_a_place():
  hits = np.array([[1.0, 0.0, 1.0]], np.float32)
  ours = steps.discounted_gain(hits)
  third = 1 / np.log2(4)
  np.testing.assert_allclose(ours, [[1 + third, third, third]], rtol=1e-6)


def test_key_of_several_names_compares_where_all_agree():
  agent = np.tile([0, 1], 8).astype(np.int32)
  rollouts = cases.rollouts(agent=agent)
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  stage = keys.EstimateBy(group.norm, ('group', 'agent'))
  assert stage.reads == {'agent'}
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(rewards=rewards)
  credit, _ = jax.jit(stage.update)(
    credit, rollouts, stage.init(Spec(16, 4, 1, 6))
  )
  ids, valid = _arrays(rollouts)
  expected = oracle.grpo(rewards, 2 * ids + agent, valid)
  expected = np.where(rollouts.loss_mask, expected[:, None], 0)
  np.testing.assert_allclose(credit.advantages, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('names', [('group',), ('task',)])
def test_key_of_the_prompt_is_the_usual_estimator(names):
  rollouts = cases.rollouts()
  rewards = np.random.default_rng(0).normal(size=16).astype(np.float32)
  stage = keys.EstimateBy(functools.partial(group.norm, ddof=0), names)
  assert not stage.reads
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit, _ = stage.update(credit.replace(rewards=rewards), rollouts, ())
  plain = group.norm(rewards, *_arrays(rollouts), ddof=0)
  expected = jnp.where(rollouts.loss_mask, plain[:, None], 0)
  np.testing.assert_allclose(credit.advantages, expected, rtol=1e-6)


def _turns(turn, paid, mask=None):
  """Key turns of one row of four tokens, by the tokens' turns and pay."""
  mask = np.ones((1, 4), bool) if mask is None else np.array([mask])
  rollouts = cases.rollouts(groups=1)
  rollouts = jax.tree.map(lambda x: x[:1], rollouts)
  columns = rollouts.action_mask.shape[1]
  wide = ((0, 0), (0, columns - 4))
  extras = {
    'turn': jnp.asarray(np.pad([turn], wide), jnp.int32),
    'decision_reward': jnp.asarray(np.pad([paid], wide), jnp.float32),
  }
  return rollouts.replace(
    action_mask=jnp.asarray(np.pad(mask, wide)),
    valid=jnp.ones(1, bool),
    extras=extras,
  )


def test_key_turns_and_the_outcome_go_back_and_the_most_is_one():
  rows = _turns([0, 1, 1, 2], [0, 0, 0.3, 0])
  found = steps.key_turns(jnp.array([0.5]), rows, discount=0.5)[0, :4]
  # Scores 0, 1 and 0.5, returns 0.625, 1.25 and 0.5.
  np.testing.assert_allclose(found, [0.5, 1.0, 1.0, 0.4], rtol=1e-6)


def test_a_last_turn_that_was_key_earns_one_in_place_of_the_outcome():
  rows = _turns([0, 0, 1, 1], [0, 0, 1, 0])
  found = steps.key_turns(jnp.array([-3.0]), rows, discount=0.5)[0, :4]
  np.testing.assert_allclose(found, [0.5, 0.5, 1.0, 1.0])


def test_episodes_that_earned_nothing_weigh_nothing():
  rows = _turns([0, 1, 2, 3], [0, 0, 0, 0])
  assert not np.any(steps.key_turns(jnp.zeros(1), rows))


def test_what_others_wrote_is_neither_key_nor_last():
  rows = _turns([0, 0, 1, 1], [0, 1, 0, 1], mask=[True, False, True, False])
  found = steps.key_turns(jnp.array([2.0]), rows, discount=0.5)[0, :4]
  np.testing.assert_allclose(found, [0.5, 0.0, 1.0, 0.0])
