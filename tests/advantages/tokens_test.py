import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import group, tokens
from jaxrl_llm.credit import earned
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle
from tests.oracles import critics, exploration

SHAPE = (16, 6)


def _noise(seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return (scale * rng.normal(size=SHAPE)).astype(np.float32)


def _rewards(rollouts, seed=5):
  rng = np.random.default_rng(seed)
  rewards = rng.normal(size=SHAPE[0]).astype(np.float32)
  return np.where(rollouts.valid, rewards, 0)


def test_less_others_takes_what_other_rows_return():
  rollouts = cases.rollouts()
  mask, group_of = np.asarray(rollouts.loss_mask), np.asarray(rollouts.group)
  returns = np.where(mask, _noise(7), 0)
  ours = np.asarray(tokens.less_others(jnp.asarray(returns), rollouts))
  lengths = mask.sum(axis=1)
  assert 0 in lengths
  for i in range(len(mask)):
    whole = [
      returns[j, np.flatnonzero(mask[j])[0]]
      for j in np.flatnonzero((group_of == group_of[i]) & (lengths > 0))
      if j != i
    ]
    wanted = returns[i] - np.mean(whole) if whole else np.zeros(SHAPE[1])
    np.testing.assert_allclose(ours[i], np.where(mask[i], wanted, 0), atol=1e-5)


def test_less_others_of_equal_returns_or_of_one_row_is_exactly_zero():
  rollouts = cases.rollouts()
  equal = jnp.where(rollouts.loss_mask, 0.1, 0.0)
  np.testing.assert_array_equal(tokens.less_others(equal, rollouts), 0)
  alone = rollouts.replace(group=jnp.arange(SHAPE[0]))
  noise = jnp.asarray(_noise(3))
  np.testing.assert_array_equal(tokens.less_others(noise, alone), 0)


@pytest.mark.parametrize('decay', [1.0, 0.9, 0.0])
@pytest.mark.parametrize('kl_weight', [0.0, 0.3])
def test_reward_to_go_equals_its_oracle(kl_weight, decay):
  old, ref = _noise(1), _noise(2)
  rollouts = cases.rollouts(old_logp=old, ref_logp=ref)
  rewards = _rewards(rollouts)
  ours = tokens.kl_reward_to_go(
    rewards, rollouts, kl_weight=kl_weight, decay=decay
  )
  mask = np.asarray(rollouts.loss_mask)
  expected = oracle.reward_to_go(rewards, old - ref, mask, kl_weight, decay)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_reward_to_go_skips_what_a_tool_wrote():
  rollouts = cases.rollouts(old_logp=_noise(1), ref_logp=_noise(2))
  rewards = _rewards(rollouts)
  gaps = tokens.kl_reward_to_go(rewards, rollouts, decay=0.5)[2]
  mask = np.asarray(rollouts.loss_mask)[2]
  expected = rewards[2] * 0.5 ** np.arange(4)[::-1]
  np.testing.assert_allclose(gaps[mask], expected, rtol=1e-6)
  np.testing.assert_array_equal(gaps[~mask], 0.0)


def _left_out(x, rollouts):
  valid = np.asarray(rollouts.valid)
  return oracle.rloo(x, np.asarray(rollouts.group), valid)


def test_leave_one_out_of_penalised_rewards():
  old, ref = _noise(1), _noise(2)
  rollouts = cases.rollouts(old_logp=old, ref_logp=ref)
  rewards, mask = _rewards(rollouts), np.asarray(rollouts.loss_mask)
  ours = tokens.penalised_leave_one_out(rewards, rollouts, kl_weight=0.3)
  whole = rewards - 0.3 * np.sum(np.where(mask, old - ref, 0.0), axis=1)
  expected = np.where(mask, _left_out(whole, rollouts)[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_leave_one_out_with_the_kl_to_come():
  old, ref = _noise(1), _noise(2)
  rollouts = cases.rollouts(old_logp=old, ref_logp=ref)
  rewards, mask = _rewards(rollouts), np.asarray(rollouts.loss_mask)
  ours = tokens.leave_one_out_to_go(rewards, rollouts, kl_weight=0.3)
  kl = np.where(mask, old - ref, 0.0)
  to_go = np.array([[row[t:].sum() for t in range(6)] for row in kl])
  expected = _left_out(rewards, rollouts)[:, None] - 0.3 * to_go
  np.testing.assert_allclose(
    ours, np.where(mask, expected, 0), rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  'fn', [tokens.penalised_leave_one_out, tokens.leave_one_out_to_go]
)
def test_without_a_penalty_both_are_leave_one_out(fn):
  rollouts = cases.rollouts(old_logp=_noise(1), ref_logp=_noise(2))
  rewards, mask = _rewards(rollouts), np.asarray(rollouts.loss_mask)
  plain = group.leave_one_out(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_array_equal(
    fn(rewards, rollouts, kl_weight=0.0), np.where(mask, plain[:, None], 0)
  )


def test_the_baseline_of_tokens_is_their_mean_reward():
  rollouts = cases.rollouts()
  rewards, mask = _rewards(rollouts), np.asarray(rollouts.loss_mask)
  ours = tokens.centre_by_tokens(rewards, rollouts)
  ids, length = np.asarray(rollouts.group), mask.sum(axis=1)
  for i, t in np.argwhere(mask):
    peers = np.flatnonzero(ids == ids[i])
    baseline = (length[peers] * rewards[peers]).sum() / length[peers].sum()
    np.testing.assert_allclose(ours[i, t], rewards[i] - baseline, rtol=1e-4)
  np.testing.assert_array_equal(np.asarray(ours)[~mask], 0)
  equal = tokens.centre_by_tokens(jnp.full(16, 0.1), rollouts)
  np.testing.assert_array_equal(equal, 0)


def test_uniform_groups_learn_by_their_entropy():
  entropy = np.abs(_noise(4))
  rollouts = cases.rollouts(old_entropy=entropy)
  rewards = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0], 'f')
  ours = tokens.by_entropy_if_uniform(rewards, rollouts, strength=0.3)
  mask, ids = np.asarray(rollouts.loss_mask), np.asarray(rollouts.group)
  plain = oracle.grpo(rewards, ids, np.asarray(rollouts.valid))
  for i, t in np.argwhere(mask):
    expected = {
      0: 0.3 * entropy[i, t],
      1: -0.3 * (entropy[i][mask[i]].max() - entropy[i, t]),
    }.get(ids[i], plain[i])
    np.testing.assert_allclose(ours[i, t], expected, rtol=1e-4, atol=1e-6)


def test_adaptive_gae_has_a_trace_for_each_length():
  values = _noise(3)
  rollouts = cases.rollouts(old_values=values)
  rewards = jnp.asarray(_rewards(rollouts))
  credit = initial_credit(rollouts, Scores(jnp.zeros((16, 1)), jnp.ones(1)))
  credit = credit.replace(rewards=rewards)
  ours = tokens.AdaptiveGAE(decay=0.4).apply(credit, rollouts)
  targets = tokens.GAE(trace=1.0).apply(credit, rollouts).targets
  np.testing.assert_array_equal(ours.targets, targets)
  length = np.asarray(rollouts.loss_mask).sum(axis=1)
  for n in {*length} - {0}:
    trace = max(1 - 1 / (0.4 * n), 0.0)
    plain = tokens.GAE(trace=trace).apply(credit, rollouts)
    rows = length == n
    np.testing.assert_allclose(
      np.asarray(ours.advantages)[rows],
      np.asarray(plain.advantages)[rows],
      rtol=1e-5,
      atol=1e-6,
    )
  assert (length > 2).any() and (length == 1).any()


def test_reward_to_go_without_penalty_is_the_reward():
  rollouts = cases.rollouts(old_logp=_noise(1), ref_logp=_noise(2))
  rewards = _rewards(rollouts)
  ours = tokens.kl_reward_to_go(rewards, rollouts)
  expected = np.where(rollouts.loss_mask, rewards[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_whiten_batch_equals_its_oracle():
  rollouts = cases.rollouts()
  x = _noise(3, scale=4.0) + 2
  np.testing.assert_allclose(
    tokens.whiten_batch(x, rollouts),
    oracle.whiten_tokens(x, np.asarray(rollouts.loss_mask)),
    rtol=1e-5, atol=1e-6,
  )  # fmt: skip


def test_whiten_new_leaves_out_tokens_of_earlier_iterations():
  rollouts = cases.rollouts()
  earlier = jnp.arange(_noise(3).shape[1]) < 2
  earlier = jnp.broadcast_to(earlier, rollouts.loss_mask.shape)
  rollouts = rollouts.replace(extras={'earlier': earlier})
  x = jnp.where(earlier, 1e3, _noise(3, scale=4.0) + 2)
  np.testing.assert_allclose(
    tokens.whiten_new(x, rollouts),
    oracle.whiten_tokens(x, np.asarray(rollouts.loss_mask & ~earlier)),
    rtol=1e-5, atol=1e-6,
  )  # fmt: skip


def test_whiten_rows_counts_every_row_once():
  rollouts = cases.rollouts()
  mask = np.asarray(rollouts.loss_mask)
  rows = np.random.default_rng(4).normal(2.0, 3.0, 16).astype(np.float32)
  ours = tokens.whiten_rows(np.where(mask, rows[:, None], 0), rollouts)
  expected = oracle.z_rows(rows.astype(np.float64), mask.any(axis=1))
  np.testing.assert_allclose(
    ours, np.where(mask, expected[:, None], 0), rtol=1e-5, atol=1e-6
  )


def test_whiten_rows_of_equal_rows_is_exactly_zero():
  rollouts = cases.rollouts()
  equal = jnp.where(rollouts.loss_mask, 0.1, 0.0)
  np.testing.assert_array_equal(tokens.whiten_rows(equal, rollouts), 0.0)


def test_whitening_of_nothing_is_zero():
  rollouts = cases.rollouts()
  rollouts = rollouts.replace(valid=jnp.zeros(16, bool))
  for whiten in (tokens.whiten_rows, tokens.whiten_batch):
    np.testing.assert_array_equal(whiten(_noise(1), rollouts), 0.0)


@pytest.mark.parametrize(
  'discount, trace', [(1, 1), (1, 0.95), (0.9, 0), (0.9, 0.8)]
)
def test_generalized_advantage_equals_its_oracle(discount, trace):
  rollouts = cases.rollouts()
  rewards, values = _rewards(rollouts), _noise(6)
  mask = np.asarray(rollouts.loss_mask)
  ours = tokens.generalized_advantage(
    earned(rewards, rollouts),
    values,
    rollouts.loss_mask,
    discount=discount,
    trace=trace,
  )
  expected = oracle.gae(rewards, values, mask, discount, trace)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_full_trace_is_return_minus_value():
  rollouts = cases.rollouts()
  rewards, values = _rewards(rollouts), _noise(6)
  advantages, targets = tokens.generalized_advantage(
    earned(rewards, rollouts), values, rollouts.loss_mask, trace=1.0
  )
  returns = np.where(rollouts.loss_mask, rewards[:, None], 0)
  values = np.where(rollouts.loss_mask, values, 0)
  np.testing.assert_allclose(advantages, returns - values, atol=1e-5)
  np.testing.assert_allclose(targets, returns, atol=1e-5)


def test_stage_puts_targets_beside_advantages():
  rollouts = cases.rollouts(old_values=_noise(6))
  scores = Scores(_rewards(rollouts)[:, None], jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  credit = credit.replace(rewards=_rewards(rollouts))
  stage = tokens.GAE(discount=0.9, trace=0.8)
  state = stage.init(Spec(16, 4, 1, 6))
  credit, _ = jax.jit(stage.update)(credit, rollouts, state)
  advantages, targets = tokens.generalized_advantage(
    earned(credit.rewards, rollouts),
    _noise(6),
    rollouts.loss_mask,
    discount=0.9,
    trace=0.8,
  )
  np.testing.assert_allclose(credit.advantages, advantages, rtol=1e-6)
  np.testing.assert_allclose(credit.targets, targets, rtol=1e-6)


@pytest.mark.parametrize('most', [5.0, 1.2])
@pytest.mark.parametrize('name', ['binary', 'real', 'uniform', 'none'])
def test_norm_by_tokens_equals_its_oracle(name, most):
  rewards, _, valid = cases.rows(name)
  rollouts = cases.rollouts()
  rollouts = rollouts.replace(valid=rollouts.valid & valid)
  ours = tokens.norm_by_tokens(jnp.asarray(rewards), rollouts, most=most)
  rows = exploration.norm_by_tokens(
    rewards.astype(np.float64),
    np.asarray(rollouts.group),
    np.asarray(rollouts.valid),
    np.asarray(rollouts.loss_mask).sum(-1),
    most=most,
  )
  expected = np.where(rollouts.loss_mask, rows[:, None], 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
  if name == 'real' and most == 5.0:
    np.testing.assert_allclose(np.sum(ours), 0, atol=1e-3)


@pytest.mark.parametrize('value', [0.1, 0.7, 1000.1, -3e4 / 7])
def test_norm_by_tokens_of_equal_rewards_is_exactly_zero(value):
  rewards = jnp.full(16, value, jnp.float32)
  ours = tokens.norm_by_tokens(rewards, cases.rollouts())
  np.testing.assert_array_equal(ours, 0)


def test_norm_by_tokens_of_equal_lengths_is_norm_over_n():
  rollouts = cases.rollouts()
  ones = jnp.ones(SHAPE, bool)
  rollouts = rollouts.replace(
    response_mask=ones, action_mask=ones, valid=jnp.ones(16, bool)
  )
  rewards = jnp.asarray(cases.rows('real')[0])
  ours = tokens.norm_by_tokens(rewards, rollouts)
  plain = group.norm(rewards, rollouts.group, rollouts.valid, ddof=0)
  np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('cut', [False, True])
def test_advantages_of_what_was_paid_equal_the_loops(cut):
  """Rewards on the way, and a value after the last decision."""
  rollouts = cases.rollouts(old_values=_noise(6))
  paid, last = _noise(7), _noise(8)[:, 0]
  extras = (
    {**rollouts.extras, 'old_last_value': jnp.asarray(last)} if cut else {}
  )
  extras = {**rollouts.extras, **extras}
  rollouts = rollouts.replace(paid=jnp.asarray(paid), extras=extras)
  rewards, mask = _rewards(rollouts), np.asarray(rollouts.loss_mask)
  token_rewards = np.where(mask, np.asarray(paid, np.float64), 0)
  for i, row in enumerate(mask):
    if row.any():
      rest = rewards[i] - token_rewards[i].sum()
      token_rewards[i, np.flatnonzero(row)[-1]] += rest
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(rewards=rewards)
  found = tokens.GAE(discount=0.9, trace=0.8).apply(credit, rollouts)
  expected = critics.accumulate(
    token_rewards,
    np.asarray(rollouts.extras['old_values'], np.float64),
    mask,
    np.asarray(last, np.float64) * cut,
    discount=0.9,
    trace=0.8,
  )
  np.testing.assert_allclose(found.advantages, expected, atol=1e-5)
