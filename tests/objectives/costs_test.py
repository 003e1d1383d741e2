import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import tokens
from jaxrl_llm.objectives import costs, critics, distillation
from jaxrl_llm.reads import given, reads
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Batch, Scores, Stats, initial_credit
from tests.objectives import cases
from tests.oracles import costs as oracle

_close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


def _batch(rollouts, old_logp, ref_logp, advantages=None, targets=None):
  rows = rollouts.content.response.shape[0]
  scores = Scores(jnp.zeros((rows, 1)), jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  if advantages is not None:
    credit = credit.replace(advantages=advantages)
  if targets is not None:
    credit = credit.replace(targets=targets)
  ones = jnp.ones(rollouts.content.response.shape)
  given = {'ref_logp': ref_logp, 'teacher_logp': ref_logp}
  rollouts = rollouts.replace(extras={**rollouts.extras, **given})
  return Batch(
    rollouts=rollouts,
    credit=credit,
    old_logp=old_logp,
    fresh=jnp.zeros(rows, bool),
    weights=ones,
    row_weights=ones[:, 0],
    share=ones,
    signal=credit.advantages != 0,
  )


def _random(seed=0):
  logp, old, advantages, mask = cases.inputs(seed)
  ref = cases.extras(mask)['ref_logp']
  rollouts = policy.as_rollouts(np.zeros(mask.shape, np.int32), mask)
  f32 = cases.single([old, ref, advantages])
  return logp, old, ref, advantages, mask, _batch(rollouts, *f32)


def _both(cost, logp, batch, **own):
  def total(logp):
    stats = Stats(logp=logp, entropy=-logp)
    values = cost(stats, batch, **(own or given(cost, stats, batch)))
    return jnp.sum(values), values

  with_slope = jax.jit(jax.value_and_grad(total, has_aux=True))
  (_, values), slope = with_slope(logp.astype(np.float32))
  return values, slope


@pytest.mark.parametrize(
  'name',
  [
    *('k2', 'k3', 'straight_k3', 'straight_k1'),
    *('absolute', 'score_k3', 'capped_k3'),
  ],
)
def test_costs_to_the_reference_equal_the_loops(name):
  logp, _, ref, _, mask, batch = _random()
  expected = getattr(oracle, name)(logp, ref, mask)
  for ours, theirs in zip(_both(getattr(costs, name), logp, batch), expected):
    _close(ours, theirs)


@pytest.mark.parametrize(
  'name', ['proximal_kl', 'trust_kl', 'ratio_variance', 'square_move']
)
def test_costs_to_the_old_policy_equal_the_loops(name):
  logp, old, _, _, mask, batch = _random()
  expected = getattr(oracle, name)(logp, old, mask)
  for ours, theirs in zip(_both(getattr(costs, name), logp, batch), expected):
    _close(ours, theirs)


def test_capped_k3_binds_far_away_and_is_k3_without_a_cap():
  logp, _, ref, _, mask, batch = _random()
  ref = ref + 3.0
  batch = batch.replace(
    rollouts=batch.rollouts.replace(extras={'ref_logp': jnp.float32(ref)})
  )
  expected = oracle.capped_k3(logp, ref, mask)
  assert (expected[0] == 10).any() and (expected[0] < 10).any()
  for ours, theirs in zip(_both(costs.capped_k3, logp, batch), expected):
    _close(ours, theirs)
  free = functools.partial(costs.capped_k3, most=math.inf)
  for ours, plain in zip(
    _both(free, logp, batch), _both(costs.k3, logp, batch)
  ):
    np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize('kind', ['k2', 'k3'])
def test_costs_to_the_teacher_equal_those_to_a_reference(kind):
  logp, _, ref, _, mask, batch = _random()
  expected = getattr(oracle, kind)(logp, ref, mask)
  found = _both(getattr(distillation, f'teacher_{kind}'), logp, batch)
  for ours, theirs in zip(found, expected):
    _close(ours, theirs)


def test_weighted_k3_equals_the_loops():
  logp, old, ref, _, mask, batch = _random()
  expected = oracle.weighted_k3(logp, ref, old, mask)
  for ours, theirs in zip(_both(costs.weighted_k3, logp, batch), expected):
    # Values reach 100: float32 leaves 1e-5 of that.
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-3)


def test_difficulty_k3_equals_the_loops():
  logp, _, ref, advantages, mask, batch = _random()
  advantages = advantages.copy()
  advantages[0], advantages[1] = 0.5, -0.5
  credit = batch.credit.replace(advantages=jnp.float32(advantages))
  batch = batch.replace(credit=credit)
  extra = {k: cases.extras(mask)[k] for k in ('rewards', 'group', 'valid')}
  drawn, first = extra['rewards'], extra['group'] == 0
  # At the least half, which is not right; of one group nothing, or everything.
  for low, high in ((0.5, 1), (0, 0), (1, 1)):
    extra['rewards'] = np.where(first, np.clip(drawn, low, high), drawn)
    expected = oracle.difficulty_k3(logp, ref, advantages, mask, **extra)
    found = _both(costs.difficulty_k3, logp, batch, ref_logp=ref, **extra)
    for ours, theirs in zip(found, expected):
      _close(ours, theirs)


def test_k3_of_the_move_is_k3_to_the_old_policy():
  logp, old, _, _, mask, batch = _random()
  expected = oracle.k3(logp, old, mask)
  for ours, theirs in zip(_both(costs.old_k3, logp, batch), expected):
    _close(ours, theirs)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_likelihood_fall_equals_the_loops(seed):
  logp, old, _, advantages, mask, batch = _random(seed)
  expected = oracle.likelihood_fall(logp, old, advantages, mask)
  for ours, theirs in zip(_both(costs.likelihood_fall, logp, batch), expected):
    _close(ours, theirs)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_action_fall_equals_the_loops(seed):
  logp, old, _, advantages, mask, batch = _random(seed)
  turn = np.random.default_rng(seed).integers(0, 3, mask.shape)
  expected = oracle.action_fall(logp, old, advantages, mask, turn)
  found = _both(costs.action_fall, logp, batch, turn=turn)
  for ours, theirs in zip(found, expected):
    _close(ours, theirs)


def test_turns_and_targets_that_would_broadcast_are_refused():
  logp, old, _, _, _, batch = _random()
  stats = Stats(logp=logp, entropy=-logp)
  with pytest.raises(AssertionError):
    costs.action_fall(stats, batch, turn=np.zeros((8, 1), np.int32))
  with pytest.raises(AssertionError):
    costs.squared_value_error(stats, batch, values=old, old_values=old[:, :1])


def test_nothing_fell_costs_nothing():
  logp, old, _, _, _, batch = _random()
  values, slope = _both(costs.likelihood_fall, old + 0.1, batch)
  np.testing.assert_array_equal(values, 0)
  np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize('clip', [0.2, math.inf])
def test_value_error_equals_the_loops(clip):
  rng = np.random.default_rng(0)
  values, old, targets = rng.standard_normal((3, 8, 6)).astype(np.float32)
  mask = cases.inputs()[-1]
  rollouts = policy.as_rollouts(np.zeros(mask.shape, np.int32), mask)
  batch = _batch(rollouts, old, None, targets=targets)
  ours = costs.squared_value_error(
    Stats(logp=old, entropy=old),
    batch,
    values=values,
    old_values=old,
    clip=clip,
  )
  expected = oracle.squared_value_error(values, old, targets, mask, clip)
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


def _valued(targets=None):
  mask = cases.inputs()[-1]
  rollouts = policy.as_rollouts(np.zeros(mask.shape, np.int32), mask)
  batch = _batch(rollouts, None, None, targets=targets)
  zeros = jnp.zeros(mask.shape)
  return Stats(logp=zeros, entropy=zeros), batch, mask


def test_classified_value_error_equals_the_loops():
  rng = np.random.default_rng(0)
  answers = rng.standard_normal((8, 6, 7)).astype('f')
  targets = 3 * rng.standard_normal((8, 6)).astype('f')
  critic = critics.Categorical(low=-2.0, high=3.0, bins=7)
  stats, batch, mask = _valued(targets)
  ours = costs.classified_value_error(
    stats, batch, values=answers, critic=critic
  )
  expected = oracle.classified_value_error(
    answers, targets, mask, low=-2.0, high=3.0, bins=7, width=0.75
  )
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_pessimistic_value_error_is_of_the_lower_critic_on_the_mask():
  values, after, targets = np.random.default_rng(0).standard_normal((3, 8, 6))
  stats, batch, mask = _valued(targets)
  ours = costs.pessimistic_value_error(
    stats, batch, values=values, after_values=after
  )
  expected = np.where(mask, (np.minimum(values, after) - targets) ** 2 / 2, 0)
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_outcome_cross_entropy_equals_the_loops():
  logits = np.random.default_rng(0).standard_normal((8, 6)).astype('f')
  stats, batch, mask = _valued()
  rewards = ((1 + np.arange(8) % 2) / 2).astype('f')

  def total(logits):
    error = costs.outcome_cross_entropy(
      stats, batch, values=logits, rewards=rewards
    )
    return jnp.sum(error), error

  (_, ours), slope = jax.value_and_grad(total, has_aux=True)(logits)
  expected = oracle.outcome_cross_entropy(logits, rewards, mask)
  _close(ours, expected[0])
  _close(slope, expected[1])


def test_the_critic_learns_the_second_writers_part():
  values, targets = np.random.default_rng(0).standard_normal((2, 8, 6))
  stats, batch, mask = _valued(targets)
  guide = np.zeros((8, 6), bool)
  guide[1, 3:] = guide[4, 2:] = True
  error = costs.guided_value_error(
    stats, batch, guide=guide, values=values, old_values=values
  )
  counted = mask & (guide | ~guide.any(axis=1, keepdims=True))
  expected = np.where(counted, (values - targets) ** 2 / 2, 0)
  np.testing.assert_allclose(error, expected, rtol=1e-5)


_FAR = [
  costs.k2,
  costs.k3,
  costs.straight_k3,
  costs.straight_k1,
  costs.absolute,
  costs.score_k3,
  costs.capped_k3,
  costs.proximal_kl,
  costs.trust_kl,
  costs.ratio_variance,
  costs.square_move,
  costs.likelihood_fall,
  costs.negative_logp,
]


@pytest.mark.parametrize('cost', _FAR)
@pytest.mark.parametrize('move', [-200.0, 200.0])
def test_costs_are_finite_far_away(cost, move):
  logp, _, _, _, _, batch = _random()
  values, slope = _both(cost, logp + move, batch)
  assert np.all(np.isfinite(values)) and np.all(np.isfinite(slope))


# What each estimator's gradient really is, by summing over every response of
# a softmax policy on the trie of 3 tokens, with 1 as the end of a response.


@dataclasses.dataclass(frozen=True)
class World:
  """A policy, an older one and a reference, with every response once."""

  params: dict
  older: dict
  reference: dict
  rollouts: object

  def logp(self, params):
    return policy.score(params, self.rollouts).logp


@pytest.fixture(scope='module')
def world():
  keys = jax.random.split(jax.random.key(0), 3)
  params, older, reference = (
    policy.init(k, tasks=1, vocab=3, length=3) for k in keys
  )
  # The old policy is near the policy, the reference is not.
  older = jax.tree.map(lambda a, b: a + 0.3 * b, params, older)
  responses, masks = policy.all_responses(3, 3, stop=1)
  return World(params, older, reference, policy.as_rollouts(responses, masks))


def _gradient(world, cost, sampler):
  """E over `sampler`'s responses of the gradient through the cost alone."""
  probability = jnp.exp(jnp.sum(world.logp(sampler), -1))
  batch = _batch(
    world.rollouts, world.logp(sampler), world.logp(world.reference)
  )

  def expected(params):
    stats = policy.score(params, world.rollouts)
    values = cost(stats, batch, **given(cost, stats, batch))
    return jnp.sum(probability[:, None] * values)

  return np.asarray(jax.grad(expected)(world.params)['logits'])


def _kl_given_prefixes(world, sampler, *, reverse=False):
  """grad of sum_prefix p(prefix) KL of the next token, p held constant."""
  full, masks = policy.all_responses(3, 3, stop=1)
  node = np.asarray(policy.prefix_states(full, 3))
  probability = np.exp(np.sum(world.logp(sampler), -1))
  reach = np.zeros(world.params['logits'].shape[1])
  for i, t in np.argwhere(masks):
    reach[node[i, t]] += probability[i]

  def total(logits):
    p = jax.nn.log_softmax(logits[0])
    q = jax.nn.log_softmax(world.reference['logits'][0])
    p, q = (q, p) if reverse else (p, q)
    return jnp.sum(reach * jnp.sum(jnp.exp(p) * (p - q), -1))

  return np.asarray(jax.grad(total)(world.params['logits']))


def _kl_of_sequences(world):
  """grad of KL(policy || reference) over whole responses."""

  def total(params):
    p = jnp.sum(world.logp(params), -1)
    q = jnp.sum(world.logp(world.reference), -1)
    return jnp.sum(jnp.exp(p) * (p - q))

  return np.asarray(jax.grad(total)(world.params)['logits'])


def test_responses_are_all_of_the_probability(world):
  total = jnp.sum(jnp.exp(jnp.sum(world.logp(world.params), -1)))
  np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_k1_as_a_loss_has_no_gradient(world):
  np.testing.assert_allclose(_gradient(world, _k1, world.params), 0, atol=1e-6)


@pytest.mark.parametrize(
  'cost',
  [
    costs.k2,
    costs.straight_k3,
    costs.weighted_k3,
    costs.score_k3,
    costs.straight_k1,
    distillation.teacher_k2,
  ],
)
def test_gradient_is_that_of_the_kl_given_the_prefix(world, cost):
  np.testing.assert_allclose(
    _gradient(world, cost, world.params),
    _kl_given_prefixes(world, world.params),
    atol=1e-6,
  )


def test_gradient_of_k3_is_that_of_the_reverse_kl(world):
  ours = _gradient(world, costs.k3, world.params)
  reverse = _kl_given_prefixes(world, world.params, reverse=True)
  forward = _kl_given_prefixes(world, world.params)
  np.testing.assert_allclose(ours, reverse, atol=1e-6)
  assert np.linalg.norm(ours - forward) > 0.1 * np.linalg.norm(forward)


def test_weighted_k3_alone_is_unbiased_on_tokens_of_an_older_policy(world):
  expected = _kl_given_prefixes(world, world.older)
  scale = np.linalg.norm(expected)

  def error(cost):
    return np.linalg.norm(_gradient(world, cost, world.older) - expected)

  assert error(costs.weighted_k3) < 1e-5 * scale
  assert error(costs.k2) > 0.05 * scale
  assert error(costs.straight_k3) > 0.05 * scale


def test_reward_to_go_has_the_gradient_of_the_kl_between_sequences(world):
  logp = world.logp(world.params)
  extras = {'old_logp': logp, 'ref_logp': world.logp(world.reference)}
  rollouts = world.rollouts.replace(extras=extras)
  advantages = tokens.kl_reward_to_go(
    jnp.zeros(logp.shape[0]), rollouts, kl_weight=1.0
  )
  probability = jnp.exp(jnp.sum(logp, -1))

  def loss(params):
    return -jnp.sum(probability[:, None] * advantages * world.logp(params))

  ours = np.asarray(jax.grad(loss)(world.params)['logits'])
  np.testing.assert_allclose(ours, _kl_of_sequences(world), atol=1e-6)


def test_costs_given_the_prefix_miss_the_gradient_between_sequences(world):
  exact = _kl_of_sequences(world)
  missed = _gradient(world, costs.k2, world.params) - exact
  assert np.linalg.norm(missed) > 0.1 * np.linalg.norm(exact)


@reads('ref_logp')
def _k1(stats, batch, *, ref_logp):
  return jnp.where(batch.rollouts.action_mask, stats.logp - ref_logp, 0)


@pytest.mark.parametrize(
  ('cost', 'own', 'older', 'sequence'),
  [
    (_k1, 1.0, 1.25, 1.0),
    (costs.k2, 0.0, 0.23, 0.10),
    (costs.straight_k3, 0.0, 0.23, 0.10),
    (costs.k3, 0.58, 0.57, 0.45),
    (costs.weighted_k3, 0.0, 0.0, 0.10),
  ],
)
def test_costs_are_biased_by_as_much_as_is_said(
  world, cost, own, older, sequence
):
  """Relative errors of the docstring's table, to its two digits."""

  def error(gradient, exact):
    return np.linalg.norm(gradient - exact) / np.linalg.norm(exact)

  mine = _gradient(world, cost, world.params)
  measured = [
    error(mine, _kl_given_prefixes(world, world.params)),
    error(
      _gradient(world, cost, world.older),
      _kl_given_prefixes(world, world.older),
    ),
    error(mine, _kl_of_sequences(world)),
  ]
  np.testing.assert_allclose(measured, [own, older, sequence], atol=6e-3)


def test_the_gradient_between_sequences_is_not_that_given_the_prefix(world):
  given = _kl_given_prefixes(world, world.params)
  missed = np.linalg.norm(_kl_of_sequences(world) - given)
  np.testing.assert_allclose(missed / np.linalg.norm(given), 0.11, atol=6e-3)


def _divergence_from_old(world, each):
  """grad of E_old over prefixes of sum_v old_v each(log p_v - log old_v)."""
  swapped = dataclasses.replace(world, reference=world.older)
  full, masks = policy.all_responses(3, 3, stop=1)
  node = np.asarray(policy.prefix_states(full, 3))
  probability = np.exp(np.sum(swapped.logp(world.older), -1))
  reach = np.zeros(world.params['logits'].shape[1])
  for i, t in np.argwhere(masks):
    reach[node[i, t]] += probability[i]
  old = jax.nn.log_softmax(world.older['logits'][0])

  def total(logits):
    d = jax.nn.log_softmax(logits[0]) - old
    return jnp.sum(reach * jnp.sum(jnp.exp(old) * each(d), -1))

  return np.asarray(jax.grad(total)(world.params['logits']))


@pytest.mark.parametrize(
  ('cost', 'each'),
  [
    # chi^2(policy || old) = sum_v old r^2 - 1.
    (costs.ratio_variance, lambda d: jnp.exp(2 * d)),
    # chi^2(old || policy) = sum_v old / r - 1, KL(old || policy) = -E[d].
    (costs.old_k3, lambda d: jnp.exp(-d) + d),
  ],
)
def test_chi_square_costs_have_the_gradient_of_their_divergence(
  world, cost, each
):
  ours = _gradient(world, cost, world.older)
  expected = _divergence_from_old(world, each)
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def _kl_from_old(world, *, reverse=False):
  """KL towards the older policy instead of the reference."""
  swapped = dataclasses.replace(world, reference=world.older)
  return _kl_given_prefixes(swapped, world.older, reverse=reverse)


def test_proximal_kl_is_the_kl_from_the_policy_to_the_old_one(world):
  ours = _gradient(world, costs.proximal_kl, world.older)
  np.testing.assert_allclose(ours, _kl_from_old(world), atol=1e-6)


def test_trust_kl_is_the_kl_from_the_old_policy_to_the_new(world):
  ours = _gradient(world, costs.trust_kl, world.older)
  expected = _kl_from_old(world, reverse=True)
  np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_costs_to_the_old_policy_agree_to_first_order_in_the_move():
  logp, old, _, _, _, batch = _random()
  near = old + 1e-3 * (logp - old)
  slopes = [
    _both(costs.proximal_kl, near, batch)[1],
    _both(costs.ratio_variance, near, batch)[1] / 2,
    _both(costs.square_move, near, batch)[1] / 2,
    _both(costs.trust_kl, near, batch)[1],
  ]
  # The next order is 1e-3 of the first.
  for slope in slopes[1:]:
    np.testing.assert_allclose(slope, slopes[0], rtol=5e-3, atol=1e-6)


def test_a_teacher_is_heard_on_failures_or_where_all_failed():
  logp, _, ref, _, mask, batch = _random()
  rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0])
  group, valid = jnp.arange(8) // 4, jnp.ones(8, bool)
  whole = oracle.k2(logp, ref, mask)
  told = {'teacher_logp': batch.rollouts.extras['teacher_logp']}
  failed = _both(
    distillation.failed_teacher_k2, logp, batch, rewards=rewards, **told
  )
  lost = _both(
    distillation.lost_teacher_k2,
    logp,
    batch,
    rewards=rewards,
    group=group,
    valid=valid,
    **told,
  )
  # A reward of exactly the bound is a failure.
  for part in range(2):
    _close(failed[part], np.where((rewards > 0.5)[:, None], 0, whole[part]))
    _close(lost[part], np.where((group == 0)[:, None], 0, whole[part]))
