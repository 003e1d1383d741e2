import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import group as estimators
from jaxrl_llm.advantages import targets
from jaxrl_llm.tabular import policy
from tests.objectives import cases
from tests.oracles import targets as oracle


def _given(seed=0, **extras):
  _, _, _, mask = cases.inputs(seed)
  more = cases.extras(mask, seed)
  rng = np.random.default_rng(seed)
  old, ref = 0.3 * rng.standard_normal((2, *mask.shape))
  rollouts = policy.as_rollouts(
    np.zeros(mask.shape, np.int32), mask, group=jnp.asarray(more['group'])
  )
  rollouts = rollouts.replace(
    valid=jnp.asarray(more['valid']),
    extras={'old_logp': jnp.float32(old), 'ref_logp': jnp.float32(ref)}
    | {k: jnp.asarray(v) for k, v in extras.items()},
  )
  log_ratio = np.sum(np.where(mask, ref - old, 0), -1)
  more['length'] = mask.sum(-1)
  if seed == 2:
    # What fails has a reward of just the bound of a success.
    more['rewards'] = np.maximum(more['rewards'], 0.5)
  return rollouts, more, log_ratio


def _check(ours, rows, rollouts):
  expected = np.where(rollouts.loss_mask, rows[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('gap', [0.0, 0.2, 0.5])
def test_distinct_equals_the_loops(gap):
  quality = np.random.default_rng(3).random(_given()[0].valid.shape)
  rollouts, more, _ = _given(quality=jnp.float32(quality))
  rewards = jnp.float32(more['rewards'])
  ours = targets.distinct(rewards, rollouts, gap=gap)
  _check(
    ours,
    oracle.distinct(
      more['rewards'], more['group'], more['valid'], quality, gap=gap
    ),
    rollouts,
  )


@pytest.mark.parametrize('tenth', range(10))
def test_scores_a_gap_apart_are_distinct_whichever_tenths_they_are(tenth):
  mask = np.ones((2, 1), bool)
  quality = jnp.float32([tenth / 10, (tenth + 1) / 10])
  rollouts = policy.as_rollouts(
    np.zeros((2, 1), np.int32), mask, group=jnp.zeros(2, jnp.int32)
  )
  rollouts = rollouts.replace(extras={'quality': quality})
  rewards = jnp.float32([0, 1])
  ours = targets.distinct(rewards, rollouts, gap=0.1)
  expected = targets.distinct(rewards, rollouts, gap=0.0)
  np.testing.assert_array_equal(ours, expected)
  assert ours[1, 0] > 0
  np.testing.assert_array_equal(
    targets.distinct(rewards, rollouts, gap=0.11), 0
  )


def test_rows_that_are_all_alike_teach_nothing_whatever_they_earn():
  rollouts, more, _ = _given(quality=jnp.zeros(_given()[0].valid.shape))
  bad = rollouts.extras['quality'].at[~rollouts.valid].set(jnp.nan)
  rollouts = rollouts.replace(extras={'quality': bad})
  ours = targets.distinct(jnp.float32(more['rewards']), rollouts, gap=0.1)
  np.testing.assert_array_equal(ours, 0)


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('weight', [0.2, 2.0])
def test_tilted_target_equals_the_loops(seed, weight):
  rollouts, more, log_ratio = _given(seed)
  ours = targets.tilted_target(
    jnp.float32(more['rewards']), rollouts, weight=weight
  )
  rows = oracle.tilted_target(
    more['rewards'], more['group'], more['valid'], log_ratio, weight=weight
  )
  _check(ours, rows, rollouts)


def test_tilted_target_of_huge_rewards_is_finite():
  rollouts, more, _ = _given()
  rewards = 1e4 * jnp.float32(more['rewards'])
  assert np.all(np.isfinite(targets.tilted_target(rewards, rollouts)))


def test_tilted_target_descends_the_kl_from_the_target():
  keys = jax.random.split(jax.random.key(0), 2)
  params, reference = (policy.init(k, tasks=1, vocab=3, length=3) for k in keys)
  responses, masks = policy.all_responses(3, 3, stop=1)
  rollouts = policy.as_rollouts(responses, masks)
  rewards = jnp.sum(responses == 2, -1) * 1.0
  ref = policy.score(reference, rollouts).logp
  log_target = jax.nn.log_softmax(jnp.sum(ref, -1) + rewards / 0.7)
  old = policy.score(params, rollouts).logp
  probability = jnp.exp(jnp.sum(old, -1))

  # Every response once is a sample in which each counts by its probability,
  # so the group's mean of w is replaced by the exact one, which is Z.
  w = jnp.exp(rewards / 0.7 + jnp.sum(ref - old, -1))
  mean = jnp.sum(probability * w)
  rollouts = rollouts.replace(
    group=jnp.zeros(len(responses), jnp.int32),
    extras={'old_logp': old, 'ref_logp': ref},
  )
  ours = targets.tilted_target(rewards, rollouts, weight=0.7)
  row = jnp.max(jnp.where(masks, ours, -jnp.inf), -1)
  advantage = (row + 1) * jnp.mean(w) / mean - 1

  def loss(params):
    logp = jnp.sum(policy.score(params, rollouts).logp, -1)
    return -jnp.sum(probability * advantage * logp)

  def divergence(params):
    logp = jnp.sum(policy.score(params, rollouts).logp, -1)
    return jnp.sum(jnp.exp(log_target) * (log_target - logp))

  np.testing.assert_allclose(
    jax.grad(loss)(params)['logits'],
    jax.grad(divergence)(params)['logits'],
    atol=1e-5,
  )


@pytest.mark.parametrize('gate', [0.0, 0.5])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_switched_equals_the_loops(seed, gate):
  offline = np.arange(8) % 4 == 2
  rollouts, more, _ = _given(seed, offline=offline)
  ours = targets.switched(
    jnp.float32(more['rewards']), rollouts, gate=gate, weight=0.3
  )
  rows = oracle.switched(
    more['rewards'],
    more['group'],
    more['valid'],
    offline,
    gate=gate,
    weight=0.3,
  )
  _check(ours, rows, rollouts)


def test_groups_without_a_valid_offline_row_are_reinforced():
  """However seldom they succeed: here never, by graded rewards."""
  offline = np.arange(8) % 4 == 2
  rollouts, more, _ = _given(offline=offline)
  rewards = jnp.float32(0.05 * np.arange(8))
  group = jnp.arange(8) // 4
  valid = jnp.arange(8) != 2
  rollouts = rollouts.replace(group=group, valid=valid)
  ours = targets.switched(rewards, rollouts, weight=0.3)
  first = np.array([-0.4, -0.1, 0, 0.5]) / 6
  rows = np.concatenate([first, [0, 0, 0.3, 0]])
  _check(ours, rows, rollouts)


def test_without_offline_rows_it_is_centred_reward():
  rollouts, more, _ = _given(offline=np.zeros(8, bool))
  rewards = jnp.float32(more['rewards'])
  ours = targets.switched(rewards, rollouts)
  rows = estimators.centre(rewards, rollouts.group, rollouts.valid)
  _check(ours, np.asarray(rows), rollouts)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_timed_tools_equal_the_loops(seed):
  start = np.array([0, 2, -1, 1, 3, 0, 1, -1])
  rollouts, more, _ = _given(seed, tool_start=start)
  rewards = more['rewards']
  ours = targets.timed_tools(jnp.float32(rewards), rollouts)
  rows = oracle.timed_tools(
    rewards,
    more['group'],
    more['valid'],
    start,
    more['length'],
    delta=-2.0,
    bound=0.7,
  )
  _check(ours, rows, rollouts)
  plain = estimators.norm(jnp.float32(rewards), rollouts.group, rollouts.valid)
  still = targets.timed_tools(jnp.float32(rewards), rollouts, delta=0.0)
  _check(still, np.asarray(plain), rollouts)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_longer_failures_equal_the_loops(seed):
  rollouts, more, _ = _given(seed)
  ours = targets.longer_failures(
    jnp.float32(more['rewards']), rollouts, base=1.2
  )
  rows = oracle.longer_failures(
    more['rewards'], more['group'], more['valid'], more['length'], base=1.2
  )
  _check(ours, rows, rollouts)


@pytest.mark.parametrize('reward', [0.0, 1.0])
def test_uniform_groups_give_finite_advantages(reward):
  start, offline = np.full(8, -1), np.ones(8, bool)
  rollouts, _, _ = _given(tool_start=start, offline=offline)
  rewards = jnp.full(8, reward)
  for fn in (
    targets.tilted_target,
    targets.switched,
    targets.timed_tools,
    targets.longer_failures,
  ):
    for valid in (True, False):
      given = rollouts.replace(valid=jnp.full(8, valid))
      assert np.all(np.isfinite(fn(rewards, given)))
