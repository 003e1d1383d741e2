import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import policy
from jaxrl_llm.training import diagnostics
from jaxrl_llm.types import Batch, Scores, Stats, initial_credit

LENGTH = 3


def rows():
  """Two groups of two; the last row does not count."""
  mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
  rollouts = policy.as_rollouts(
    np.zeros((4, LENGTH), np.int32), mask, group=jnp.array([0, 0, 1, 1])
  )
  return rollouts.replace(
    valid=jnp.array([True, True, True, False]),
    truncated=jnp.array([True, False, False, False]),
  )


def batch_of(rollouts, old, ref=None):
  credit = initial_credit(rollouts, Scores(jnp.ones((4, 1)), jnp.ones(1)))
  mask = rollouts.loss_mask
  if ref is not None:
    rollouts = rollouts.replace(extras={**rollouts.extras, 'ref_logp': ref})
  return Batch(
    rollouts=rollouts,
    credit=credit,
    old_logp=old,
    fresh=jnp.ones(4, bool),
    weights=mask * 1.0,
    row_weights=jnp.ones(4),
    share=mask / jnp.sum(mask),
    signal=credit.advantages != 0,
  )


def test_token_metrics_equal_loops_over_the_tokens_that_count():
  rng = np.random.default_rng(0)
  logp, old, ref, sampled = -rng.exponential(size=(4, 4, LENGTH))
  entropy, values = rng.exponential(size=(2, 4, LENGTH))
  rollouts = rows().replace(logp=jnp.asarray(sampled))
  stats = Stats(*map(jnp.asarray, (logp, entropy, values)))
  batch = batch_of(rollouts, jnp.asarray(old), jnp.asarray(ref))
  metrics = diagnostics.of_microbatch(stats, batch)
  here = np.asarray(rollouts.loss_mask)
  r, x, gap = np.exp(logp - old), logp - ref, np.abs(old - sampled)
  wanted = {
    'policy/entropy': entropy[here].mean(),
    'policy/kl': (r - 1 - np.log(r))[here].mean(),
    'reference/kl': (np.exp(-x) - 1 + x)[here].mean(),
    'sampler/gap_mean': gap[here].mean(),
    'sampler/gap_max': gap[here].max(),
    'tokens/learned': here.sum(),
    'critic/error': np.abs(values)[here].mean(),
  }
  assert metrics.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_tokens_that_do_not_count_may_hold_anything():
  rollouts = rows()
  off = ~rollouts.loss_mask
  broken = jnp.where(off, jnp.nan, -1.0)
  stats = Stats(broken, broken)
  metrics = diagnostics.of_microbatch(stats, batch_of(rollouts, broken))
  assert metrics['policy/kl'] == 0
  assert all(np.isfinite(v) for v in metrics.values())


def test_row_metrics_count_valid_rows():
  rollouts = rows()
  components = jnp.array([[1.0, 2], [0, 2], [1, 0], [5, 9]])
  weights = jnp.array([1.0, 0.5])
  credit = initial_credit(rollouts, Scores(components, weights))
  credit = credit.replace(rewards=jnp.array([1.0, -4.0, 6.0, 9.0]))
  metrics = diagnostics.of_iteration(rollouts, credit, weights)
  wanted = {
    'scores': [2 / 3, 4 / 3],
    'reward/mean': 4 / 3,
    'reward/std': np.std([2, 1, 1]),
    'reward/low': 1,
    'reward/high': 2,
    'reward/shaped': 1,
    'accuracy': 2 / 3,
    'rows/valid': 3 / 4,
    'tokens/sampled': 9,
  }
  for name, value in wanted.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)


def test_without_verifiers_there_is_no_reward_but_what_the_method_makes():
  rollouts = rows()
  credit = initial_credit(rollouts, Scores(jnp.zeros((4, 0)), jnp.zeros(0)))
  credit = credit.replace(rewards=jnp.array([0.5, 0.25, 0.75, 9.0]))
  metrics = diagnostics.of_iteration(rollouts, credit, jnp.zeros(0))
  np.testing.assert_allclose(metrics['reward/shaped'], 0.5)
  assert not metrics.keys() & {'reward/mean', 'reward/std', 'accuracy'}


def test_a_group_lives_by_any_row_with_more_than_rounding():
  group = jnp.array([0, 0, 2, 2, 4, 4])
  slopes = jnp.array([0.0, 0.5, 3e-8, 0.0, 0.0, 0.0])
  largest = diagnostics.by_group(slopes, group, 6)
  np.testing.assert_allclose(largest, [0.5, 0, 3e-8, 0, 0, 0])
  live = functools.partial(diagnostics.live_groups, group=group)
  np.testing.assert_allclose(live(largest), 1 / 3)
  np.testing.assert_allclose(live(1e7 * largest), 1 / 3)
  np.testing.assert_allclose(live(largest.at[2].set(1e-5)), 2 / 3)
  assert live(jnp.zeros(6)) == 0


def test_comparisons_equal_loops_over_the_pairs_of_each_group():
  rng = np.random.default_rng(0)
  samples, groups = 3, 6
  shape = groups, samples
  ratings, logp = rng.integers(0, 3, (2, *shape)) * 1.0
  rewards, live = rng.integers(0, 3, shape) * 0.5, rng.random(shape) < 0.8
  rewards[0], live[1], live[2] = 1.0, True, [True, False, False]
  found = diagnostics.compared(
    *(jnp.asarray(x).reshape(-1) for x in (ratings, logp, rewards, live)),
    samples=samples,
  )
  for g in range(groups):
    rows = np.flatnonzero(live[g])
    pairs = [
      (i, j) for i in rows for j in rows if rewards[g, i] > rewards[g, j]
    ]
    pairs = pairs or [(i, j) for i in rows for j in rows if i != j]
    margins = [ratings[g, i] - ratings[g, j] for i, j in pairs]
    share = 1 / max(len(pairs), 1)
    expected = {
      'accuracy': 0.5 + 0.5 * share * np.sum(np.sign(margins)),
      'margin': share * np.sum(margins),
      'chosen_logp': share * sum(logp[g, i] for i, _ in pairs),
      'rejected_logp': share * sum(logp[g, j] for _, j in pairs),
      'information': 0.0,
    }
    if len(rows):
      w = np.exp(ratings[g, rows]) / np.exp(ratings[g, rows]).sum()
      expected['information'] = np.sum(w * np.log(len(rows) * w))
    for name, value in expected.items():
      np.testing.assert_allclose(
        found[f'preference/{name}'][g],
        value,
        rtol=1e-5,
        atol=1e-6,
        err_msg=name,
      )


def test_a_group_without_rows_has_no_information():
  nothing = jnp.zeros(4)
  found = diagnostics.compared(
    nothing, nothing, nothing, jnp.array([0, 0, 1, 1]) > 0, samples=2
  )
  assert found['preference/information'].tolist() == [0, 0]


def test_a_response_is_rated_by_head_then_by_reference_then_by_itself():
  mask = jnp.array([[True, True, False], [False, False, False]])
  logp = jnp.array([[-1.0, -2.0, -4.0], [-1.0, -1.0, -1.0]])
  ref, heads = 2 * logp, jnp.array([[7.0, 8.0, 9.0], [5.0, 5.0, 5.0]])
  plain, judged = Stats(logp, -logp), Stats(logp, -logp, after_values=heads)
  for stats, anchor, wanted in (
    (plain, None, [-3, 0]),
    (plain, ref, [3, 0]),
    (judged, ref, [8, 0]),
    (judged, None, [8, 0]),
  ):
    rating, own = diagnostics.rating(stats, anchor, mask)
    assert rating.tolist() == wanted and own.tolist() == [-3, 0]


def test_recorded_rows_have_no_gap_to_a_sampler():
  rollouts = rows().replace(extras={'recorded': jnp.ones(4, bool)})
  logp = jnp.full((4, LENGTH), -1.0)
  metrics = diagnostics.of_microbatch(
    Stats(logp, -logp), batch_of(rollouts, logp)
  )
  assert not any(name.startswith('sampler/') for name in metrics)


def test_rows_of_a_sampler_beside_recorded_ones_have_its_gap():
  mass = jnp.full((4, LENGTH), -0.5)
  recorded = jnp.array([True, False, True, False])
  rollouts = rows().replace(
    logp=jnp.full((4, LENGTH), -2.0),
    extras={'recorded': recorded, 'log_mass': mass},
  )
  old = jnp.where(recorded[:, None], 9.0, -2.2)
  metrics = diagnostics.of_microbatch(Stats(old, old), batch_of(rollouts, old))
  here = np.asarray(rollouts.loss_mask)
  own = here & ~np.asarray(recorded)[:, None]
  assert own.any()
  np.testing.assert_allclose(metrics['sampler/gap_max'], 0.3, rtol=1e-5)
  mean = 0.3 * own.sum() / here.sum()
  np.testing.assert_allclose(metrics['sampler/gap_mean'], mean, rtol=1e-5)


def test_single_responses_are_compared_with_those_to_other_prompts():
  rollouts = rows()
  logp = -jnp.arange(12.0).reshape(4, LENGTH)
  stats, batch = Stats(logp, -logp), batch_of(rollouts, logp)
  rewards = jnp.array([0.0, 1.0, 1.0, 0.0])
  batch = batch.replace(credit=batch.credit.replace(rewards=rewards))
  alone = diagnostics.of_pairs(stats, batch, samples=1, microbatches=1)
  whole = diagnostics.of_pairs(stats, batch, samples=4, microbatches=1)
  assert alone == whole and alone['preference/margin'] != 0


def test_comparisons_add_over_microbatches_that_keep_groups_whole():
  rollouts = rows()
  logp = -jnp.arange(12.0).reshape(4, LENGTH)
  stats, batch = Stats(logp, -logp), batch_of(rollouts, logp)
  rewards = jnp.array([0.0, 1.0, 1.0, 0.0])
  batch = batch.replace(credit=batch.credit.replace(rewards=rewards))
  whole = diagnostics.of_pairs(stats, batch, samples=2, microbatches=1)
  sums = {name: 0.0 for name in whole}
  halves = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), (stats, batch))
  for half in range(2):
    piece = jax.tree.map(operator.itemgetter(half), halves)
    part = diagnostics.of_pairs(*piece, samples=2, microbatches=2)
    sums = {name: sums[name] + part[name] for name in sums}
  for name, value in whole.items():
    np.testing.assert_allclose(sums[name], value, rtol=1e-6)
  with pytest.raises(ValueError, match='of 4 rows cut groups of 3'):
    diagnostics.of_pairs(stats, batch, samples=3, microbatches=1)


def test_sources_have_their_own_means():
  domain, valid = np.array([0, 1, 0, 1, 0]), np.array([1, 1, 0, 1, 1], bool)
  scores = np.array([[1, 2], [0, 4], [1, 9], [1, 0], [0, 0]], np.float32)
  found = diagnostics.of_sources(
    ('a', 'b', 'c'), domain, scores, np.array([1, 0.5]), valid
  )
  assert found['source/a/share'] == 0.6 and found['source/c/share'] == 0
  assert found['source/a/reward'] == 1 and found['source/b/reward'] == 1.5
  assert found['source/a/accuracy'] == found['source/b/accuracy'] == 0.5
  assert np.isnan(found['source/c/reward'])
