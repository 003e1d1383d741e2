import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import control
from jaxrl_llm.objectives import base, costs, surrogates
from jaxrl_llm.reads import reads
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Batch, Scores, Stats, initial_credit
from tests.objectives import cases


def _given(group=None):
  logp, old, advantages, mask = cases.inputs()
  rollouts = policy.as_rollouts(np.zeros(mask.shape, np.int32), mask)
  extras = {'ref_logp': old.astype(np.float32)}
  rollouts = rollouts.replace(extras=extras)
  if group is not None:
    rollouts = rollouts.replace(group=jnp.asarray(group))
  logp, old, advantages = cases.single([logp, old, advantages])
  credit = initial_credit(rollouts, Scores(np.zeros((8, 1)), np.ones(1)))
  credit = credit.replace(
    advantages=advantages, rewards=jnp.arange(8, dtype=jnp.float32)
  )
  batch = Batch(
    rollouts=rollouts,
    credit=credit,
    old_logp=old,
    fresh=jnp.zeros(8, bool),
    weights=mask / 8.0,
    row_weights=jnp.full(8, 0.125),
    share=mask / mask.sum(),
    signal=credit.advantages != 0,
  )
  return Stats(logp=logp, entropy=-logp), batch


def test_loss_is_the_weighted_sum_of_surrogate_and_costs():
  stats, batch = _given()
  objective = base.policy_gradient(surrogates.clip, kl=base.Cost(costs.k2, 0.5))
  loss, metrics = objective.loss(stats, batch, {'kl': jnp.float32(0.5)})
  rest = (batch.old_logp, batch.credit.advantages, batch.rollouts.loss_mask)
  policy_loss = jnp.sum(batch.weights * surrogates.clip(stats.logp, *rest))
  kl = jnp.sum(batch.weights * costs.k2(stats, batch, ref_logp=batch.old_logp))
  np.testing.assert_allclose(loss, policy_loss + 0.5 * kl, rtol=1e-6)
  np.testing.assert_allclose(metrics['loss/kl'], kl, rtol=1e-6)


def test_a_loss_that_is_built_without_costs_has_none():
  plain = base.PolicyGradient(surrogates.clip)
  assert plain == base.policy_gradient(surrogates.clip)
  assert base.RowLosses(_summed) == base.row_losses(_summed)


def test_numbers_are_bound_to_the_loss_and_costs_are_not():
  kl = base.Cost(costs.k2, 0.5)
  objective = base.policy_gradient(surrogates.clip, low=0.1, high=0.3, kl=kl)
  assert objective.surrogate.func is surrogates.clip
  assert objective.surrogate.keywords == {'low': 0.1, 'high': 0.3}
  assert dict(objective.costs) == {'kl': kl}


def test_a_number_that_the_loss_does_not_take_is_refused():
  for build in (base.policy_gradient, base.row_losses):
    with pytest.raises(ValueError, match=r"clip.*no.*\['kl'\].*Cost"):
      build(surrogates.clip, low=0.1, kl=0.04)


def _summed(logp, old_logp, advantages, mask):
  return jnp.sum(logp * advantages * mask)


def _by_row(logp, old_logp, advantages, mask):
  return jnp.sum(logp * advantages * mask, axis=1, keepdims=True)


def _of_rows(stats, batch):
  return jnp.sum(stats.logp, axis=1)


@pytest.mark.parametrize(
  ('objective', 'words'),
  [
    (base.policy_gradient(_summed), '_summed returned .* shape \\[\\]'),
    (base.policy_gradient(_by_row), '_by_row .* \\[8, 1\\].* each token'),
    (base.policy_gradient(surrogates.clip, gate=_by_row), '_by_row .* token'),
    (base.row_losses(_summed), '_summed .* each row, of shape \\[8\\]'),
    (
      base.policy_gradient(surrogates.clip, kl=base.Cost(_of_rows)),
      '_of_rows returned an array of shape \\[8\\]',
    ),
  ],
)
def test_parts_that_would_be_broadcast_are_refused(objective, words):
  stats, batch = _given()
  with pytest.raises(ValueError, match=words):
    objective.loss(stats, batch, {'kl': jnp.float32(1)})


def test_a_cost_that_is_off_is_left_out_whole():
  objective = base.policy_gradient(surrogates.clip, kl=base.Cost(costs.k2, 0.0))
  assert not objective.costs and not objective.reads


def test_a_controlled_cost_is_kept():
  cost = base.Cost(costs.k2, control.AdaptiveKL(0.1, 0.01))
  objective = base.policy_gradient(surrogates.clip, kl=cost)
  assert objective.reads == {'ref_logp'}
  assert objective.controllers['kl'] is cost.coefficient


def test_a_gate_scales_the_surrogate_and_passes_no_gradient():
  def likely(logp, old_logp, advantages, mask):
    del old_logp, advantages, mask
    return jnp.exp(logp)

  stats, batch = _given()

  def slope(**gate):
    objective = base.policy_gradient(surrogates.importance, **gate)

    def loss(logp):
      return objective.loss(stats.replace(logp=logp), batch, {})[0]

    return jax.grad(loss)(stats.logp)

  gate = likely(stats.logp, None, None, None)
  np.testing.assert_allclose(slope(gate=likely), gate * slope(), rtol=1e-6)


@pytest.mark.parametrize(
  'name', ['old_values', 'sampler_logp', 'ref_logp', 'rewards']
)
def test_what_a_part_reads_as_a_constant_has_no_gradient(name):
  @reads(name)
  def read(logp, old_logp, advantages, mask, **arrays):
    (array,) = arrays.values()
    return logp * (1 + (array if array.ndim == 2 else array[:, None]))

  stats, batch = _given()
  stats = stats.replace(values=stats.logp**2)
  extras = {'old_values': batch.old_logp, 'ref_logp': batch.old_logp}
  batch = batch.replace(rollouts=batch.rollouts.replace(extras=extras))
  objective = base.policy_gradient(read)
  slopes = jax.grad(lambda stats: objective.loss(stats, batch, {})[0])(stats)
  assert jnp.any(slopes.logp != 0)
  np.testing.assert_array_equal(slopes.entropy, 0)
  np.testing.assert_array_equal(slopes.values, 0)


@pytest.mark.parametrize(
  'field', ['entropy', 'values', 'after_values', 'log_probs']
)
def test_what_a_part_reads_of_the_policy_itself_has_a_gradient(field):
  @reads(field)
  def read(stats, batch, **arrays):
    (array,) = arrays.values()
    return array**2 / 2

  stats, batch = _given()
  stats = stats.replace(**{field: stats.logp + 1})
  objective = base.policy_gradient(surrogates.clip, own=base.Cost(read))
  coefs = {'own': jnp.float32(1)}
  slopes = jax.grad(lambda stats: objective.loss(stats, batch, coefs)[0])(stats)
  expected = batch.weights * (stats.logp + 1)
  np.testing.assert_allclose(getattr(slopes, field), expected, rtol=1e-6)


def test_clip_fraction_counts_tokens_without_slope():
  stats, batch = _given()
  objective = base.policy_gradient(surrogates.clip)
  _, metrics = objective.loss(stats, batch, {})
  ratio = np.exp(stats.logp - batch.old_logp)
  a = np.asarray(batch.credit.advantages)
  clipped = ((a > 0) & (ratio > 1.2)) | ((a < 0) & (ratio < 0.8))
  expected = np.sum(batch.share * clipped)
  assert expected > 0
  np.testing.assert_allclose(
    metrics['policy/clip_fraction'], expected, rtol=1e-6
  )


def test_pushes_are_the_sums_of_slopes_of_either_sign():
  stats, batch = _given()
  objective = base.policy_gradient(surrogates.importance)
  _, metrics = objective.loss(stats, batch, {})
  ratio = np.exp(stats.logp - batch.old_logp)
  push = np.where(batch.rollouts.loss_mask, batch.credit.advantages * ratio, 0)
  for name, sign in (('policy/push_up', 1), ('policy/push_down', -1)):
    expected = np.sum(np.maximum(sign * push, 0)) / 8
    assert expected > 0
    np.testing.assert_allclose(metrics[name], expected, rtol=1e-5)


def test_a_gate_that_is_shut_at_the_old_policy_too_clips_nothing():
  stats, batch = _given()

  def first_half(logp, old_logp, advantages, mask):
    return jnp.broadcast_to(jnp.arange(mask.shape[1]) < 2, mask.shape) * 1.0

  shares = [
    base.policy_gradient(surrogates.clip, **gate).loss(stats, batch, {})[1]
    for gate in ({}, {'gate': first_half})
  ]
  whole, gated = (float(m['policy/clip_fraction']) for m in shares)
  # Those of the tokens that pass the gate, where before all others counted.
  early = batch.replace(share=batch.share * (np.arange(6) < 2))
  _, metrics = base.policy_gradient(surrogates.clip).loss(stats, early, {})
  assert 0 < gated < whole
  np.testing.assert_allclose(gated, metrics['policy/clip_fraction'])


def test_a_clipped_token_counts_only_by_an_advantage_of_more_than_rounding():
  stats, batch = _given()
  late = np.arange(8)[:, None] > 3
  batch = batch.replace(signal=batch.signal & late)
  objective = base.policy_gradient(surrogates.clip)
  _, metrics = objective.loss(stats, batch, {})
  rest = batch.replace(share=batch.share * late)
  _, expected = objective.loss(stats, rest, {})
  assert 0 < expected['policy/clip_fraction'] == metrics['policy/clip_fraction']


@pytest.mark.parametrize('field', ['logp', 'after_values'])
def test_rows_have_a_slope_where_any_statistic_of_theirs_has_one(field):
  @reads('after_values')
  def losses(logp, old_logp, advantages, mask, *, after_values):
    read = {'logp': logp, 'after_values': after_values}[field]
    return jnp.where(jnp.arange(8) < 3, jnp.sum(2 * read, axis=1), 0)

  stats, batch = _given()
  stats = stats.replace(after_values=stats.logp + 1)
  _, metrics = base.row_losses(losses).loss(stats, batch, {})
  expected = np.where(np.arange(8) < 3, 2 * batch.row_weights, 0)
  np.testing.assert_allclose(metrics['slopes'], expected)


def _group_sum(logp, old_logp, advantages, mask, *, rewards, group):
  return jax.ops.segment_sum(rewards, group, num_segments=8)[group]


def test_group_ids_are_local_to_the_rows_at_hand():
  fn = reads('rewards', 'group')(_group_sum)
  objective = base.row_losses(fn, samples=4)
  # Rows of a later microbatch: their ids exceed the number of rows.
  stats, batch = _given(group=[17] * 4 + [21] * 4)
  loss, _ = objective.loss(stats, batch, {})
  rewards = np.arange(8)
  expected = (4 * rewards[:4].sum() + 4 * rewards[4:].sum()) / 8
  np.testing.assert_allclose(loss, expected)
  assert objective.block == 4


def test_comparing_rows_without_a_group_size_is_refused():
  fn = reads('rewards', 'group')(functools.partial(_group_sum))
  with pytest.raises(ValueError, match='pass samples=G'):
    base.row_losses(fn)


def test_reading_the_share_couples_the_whole_step():
  @reads('share')
  def surrogate(logp, old_logp, advantages, mask, *, share):
    del old_logp, advantages, mask
    return logp * jnp.sum(share)

  bound = functools.partial(surrogate)
  assert base.policy_gradient(bound).block == 'batch'
  assert base.policy_gradient(surrogates.clip, gate=surrogate).block == 'batch'
  assert base.policy_gradient(surrogates.clip).block == 1


def test_extras_reach_a_part_by_their_key():
  @reads('gain')
  def surrogate(logp, old_logp, advantages, mask, *, gain):
    del old_logp, advantages, mask
    return logp * 0 + gain[:, None]

  stats, batch = _given()
  rollouts = batch.rollouts.replace(extras={'gain': jnp.arange(8.0)})
  batch = batch.replace(rollouts=rollouts)
  objective = base.policy_gradient(surrogate)
  assert objective.reads == {'gain'}
  loss, _ = objective.loss(stats, batch, {})
  expected = np.sum(batch.weights * np.arange(8)[:, None])
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
