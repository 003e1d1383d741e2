"""Balance losses against loops, and at the flows that balance."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import gflownet, grouped, preference
from jaxrl_llm.objectives.grouped import GroupLoss, Pairs
from jaxrl_llm.reads import reads_of
from jaxrl_llm.selection import pairs
from jaxrl_llm.tabular import policy
from tests.objectives.grouped_test import SAMPLES, batch, value_and_slope
from tests.oracles import gflownet as oracle
from tests.oracles import offline, scores
from tests.oracles import preference as pairs_oracle

_CASES = [
  (gflownet.trajectory_balance, {'weight': 0.5}),
  (gflownet.detailed_balance, {'weight': 0.5}),
  (gflownet.sub_trajectory_balance, {'weight': 0.5}),
  (gflownet.sub_trajectory_balance, {'weight': 0.5, 'decay': 0.3}),
  (gflownet.sub_trajectory_balance, {'weight': 0.5, 'decay': 3.0}),
  (gflownet.forward_looking, {'weight': 0.5}),
  (gflownet.learned_energies, {'weight': 0.5}),
]
_names = [f'{fn.__name__}-{hyper}' for fn, hyper in _CASES]


def _case(seed=0):
  (logp, old, mask), extras = batch(seed)
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return rng.standard_normal(shape).astype('f').astype('d')

  extras |= {
    'values': normal(*logp.shape),
    'after_values': normal(*logp.shape),
    'prefix_reward': normal(*logp.shape),
    'log_probs': normal(*logp.shape, 3),
    'components': rng.integers(0, 3, (len(logp), 2)) * 1.0,
    'thought': rng.random(logp.shape) < 0.5,
  }
  return (logp, old, mask), extras


@functools.cache
def _compiled(fn, hyper):
  def total(logp, given, mask):
    losses = fn(logp, None, None, mask, **given, **dict(hyper))
    return jnp.sum(losses), losses

  return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))


def _run(fn, arrays, extras, hyper):
  logp, _, mask = arrays
  keys = sorted(reads_of(fn))
  given = {k: jnp.asarray(extras[k], jnp.float32) for k in keys}
  compiled = _compiled(fn, tuple(hyper.items()))
  (_, losses), slopes = compiled(jnp.asarray(logp, jnp.float32), given, mask)
  return losses, *slopes


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
@pytest.mark.parametrize('seed', [0, 1])
def test_balance_losses_equal_the_loops_in_every_argument(fn, hyper, seed):
  arrays, extras = _case(seed)
  logp, _, mask = arrays
  rule = partial(getattr(oracle, fn.__name__), **hyper)
  losses, slope, slopes = _run(fn, arrays, extras, hyper)
  expected = rule(logp, logp, mask, extras)
  close = dict(rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(losses, expected, **close)
  moved = offline.slope(lambda z: rule(z, logp, mask, extras), logp)
  np.testing.assert_allclose(slope, moved, **close)
  for key in set(slopes) & {'values', 'log_probs'}:
    found = offline.slope(
      lambda z, key=key: rule(logp, logp, mask, extras | {key: z}),
      extras[key],
    )
    np.testing.assert_allclose(slopes[key], found, **close)


def test_energies_learn_from_the_sum_alone():
  arrays, extras = _case()
  _, _, slopes = _run(
    gflownet.learned_energies, arrays, extras, {'weight': 0.5}
  )
  mask = arrays[2]
  for i in range(len(mask)):
    fit = extras['after_values'][i][mask[i]].sum()
    slope = 2 * (fit - extras['rewards'][i] / 0.5) * mask[i]
    np.testing.assert_allclose(
      slopes['after_values'][i], slope, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
def test_rows_without_tokens_are_finite_and_silent(fn, hyper):
  arrays, extras = _case()
  empty = (*arrays[:2], np.zeros_like(arrays[2]))
  losses, slope, slopes = _run(fn, empty, extras, hyper)
  for x in jax.tree.leaves((losses, slope, slopes)):
    assert not np.any(x)


def test_short_runs_are_detailed_and_long_ones_trajectory_balance():
  arrays, extras = _case()
  mask = arrays[2]

  def at(decay):
    hyper = {'weight': 0.5, 'decay': decay}
    return _run(gflownet.sub_trajectory_balance, arrays, extras, hyper)[0]

  tokens = _run(gflownet.detailed_balance, arrays, extras, {'weight': 0.5})[0]
  means = np.sum(tokens, 1) / np.maximum(mask.sum(1), 1)
  np.testing.assert_allclose(at(1e-6), means, rtol=1e-3)
  whole = _run(gflownet.trajectory_balance, arrays, extras, {'weight': 0.5})[0]
  np.testing.assert_allclose(at(1e9), whole, rtol=1e-3, atol=1e-3)


def test_forward_looking_is_detailed_balance_of_the_remaining_flow():
  """G_t = F_t / prod ref is another name of the flow."""
  arrays, extras = _case()
  mask = arrays[2]
  passed = np.cumsum(np.where(mask, extras['ref_logp'], 0), 1)
  passed -= np.where(mask, extras['ref_logp'], 0)
  hyper = {'weight': 0.5}
  first = _run(gflownet.forward_looking, arrays, extras, hyper)[0]
  whole = extras | {'values': extras['values'] + passed}
  second = _run(gflownet.detailed_balance, arrays, whole, hyper)[0]
  np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


# Groups.


def test_group_losses_of_gflownets_equal_the_loops():
  arrays, extras = _case()
  logp, old, mask = arrays
  thoughtful = partial(gflownet.thoughtful_likelihood, thought_weight=0.3)
  for loss, score, rule, score_rule in (
    (
      partial(gflownet.variance, weight=0.5),
      grouped.to_reference,
      partial(oracle.variance, weight=0.5),
      scores.to_reference,
    ),
    (
      gflownet.variance,
      thoughtful,
      oracle.variance,
      partial(oracle.thoughtful_likelihood, thought_weight=0.3),
    ),
    (
      gflownet.pareto,
      grouped.likelihood,
      oracle.pareto,
      scores.likelihood,
    ),
  ):

    def total(moved, rule=rule, score_rule=score_rule):
      return pairs_oracle.lists(
        moved,
        logp,
        old,
        mask,
        extras,
        score=score_rule,
        loss=rule,
        samples=SAMPLES,
      )

    fn = GroupLoss(loss, score, SAMPLES)
    losses, slope = value_and_slope(fn, arrays, extras)
    close = dict(rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(losses, total(logp), **close)
    np.testing.assert_allclose(slope, offline.slope(total, logp), **close)


def test_a_front_is_likely_among_the_live_rows_of_its_own_list():
  scores = jnp.array([[0.0, 1.0, 5.0], [1.0, 2.0, 3.0]])
  live = jnp.array([[True, True, False], [False, False, False]])
  found = gflownet.pareto(scores, None, live, components=jnp.zeros((2, 3, 1)))
  expected = [np.log(1 + np.e) - 0.5, 0]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ordered_pairs_equal_the_loop():
  arrays, extras = _case()
  logp, old, mask = arrays
  fn = GroupLoss(
    Pairs(gflownet.ordered, pairs.every), grouped.likelihood, SAMPLES
  )

  def total(moved):
    return pairs_oracle.pairs(
      moved,
      logp,
      old,
      mask,
      extras,
      score=scores.likelihood,
      link=oracle.ordered,
      among=pairs_oracle.every,
      gap=lambda i, j: extras['rewards'][i] - extras['rewards'][j],
      samples=SAMPLES,
    )

  losses, slope = value_and_slope(fn, arrays, extras)
  np.testing.assert_allclose(losses, total(logp), rtol=1e-4, atol=1e-4)
  expected = offline.slope(total, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_an_ordered_pair_is_dpo_without_a_reference():
  c, r = np.random.default_rng(0).standard_normal((2, 9)).astype('f')
  np.testing.assert_allclose(
    gflownet.ordered(c, r, 0.3), preference.logistic(c, r, 0.3, weight=1.0)
  )


def test_variance_of_two_is_a_quarter_of_rebel():
  scores, rewards = jnp.array([[0.7, -0.4]]), jnp.array([[1.0, 0.3]])
  live = jnp.ones((1, 2), bool)
  regression = Pairs(partial(preference.regression, scale=2.0), pairs.every)

  def both(loss):
    return jax.value_and_grad(lambda s: jnp.sum(loss(s, rewards, live)))(scores)

  variance = both(partial(gflownet.variance, weight=0.5))
  for x, y in zip(variance, both(regression)):
    np.testing.assert_allclose(x, y / 4, rtol=1e-5)


# On the trie of all responses.

VOCAB, LENGTH, WEIGHT = 3, 3, 0.5


@functools.cache
def _world():
  params = policy.init(jax.random.key(0), tasks=1, vocab=VOCAB, length=LENGTH)
  reference = policy.init(
    jax.random.key(1), tasks=1, vocab=VOCAB, length=LENGTH
  )
  response, mask = policy.all_responses(VOCAB, LENGTH)
  rollouts = policy.as_rollouts(response, mask)
  rewards = jax.random.uniform(jax.random.key(2), (len(response),))
  ref_logp = policy.score(reference, rollouts).logp
  return params, rollouts, rewards, ref_logp


def _balanced():
  """Log flows [N, T] and log-probs [N, T] in proportion to R, by summation."""
  _, rollouts, rewards, ref_logp = _world()
  log_reward = np.asarray(ref_logp.sum(1) + rewards / WEIGHT, 'd')
  response = np.asarray(rollouts.content.response)
  flow = np.zeros((len(response), LENGTH + 1))
  for i, row in enumerate(response):
    for t in range(LENGTH + 1):
      same = (response[:, :t] == row[:t]).all(1)
      flow[i, t] = np.log(np.exp(log_reward[same]).sum())
  return flow[:, :-1], np.diff(flow, axis=1)


@pytest.mark.parametrize(
  'fn',
  [
    gflownet.trajectory_balance,
    gflownet.detailed_balance,
    gflownet.sub_trajectory_balance,
  ],
)
def test_sampling_in_proportion_to_the_reward_balances(fn):
  _, rollouts, rewards, ref_logp = _world()
  flow, logp = _balanced()
  losses = fn(
    jnp.asarray(logp, jnp.float32),
    None,
    None,
    rollouts.loss_mask,
    values=jnp.asarray(flow, jnp.float32),
    ref_logp=ref_logp,
    rewards=rewards,
    weight=WEIGHT,
  )
  np.testing.assert_allclose(losses, 0, atol=1e-9)


def test_variance_descends_twice_the_divergence_on_policy():
  """With all responses at the policy's probabilities as the group."""
  params, rollouts, rewards, ref_logp = _world()
  log_reward = ref_logp.sum(1) + rewards / WEIGHT

  def logp(params):
    return policy.score(params, rollouts).logp.sum(1)

  chance = jnp.exp(logp(params))

  def sampled(params):
    cost = log_reward - logp(params)
    centred = cost - jax.lax.stop_gradient(jnp.sum(chance * cost))
    return jnp.sum(chance * centred**2)

  def divergence(params):
    own = logp(params)
    return jnp.sum(jnp.exp(own) * (own - log_reward))

  first, second = jax.grad(sampled)(params), jax.grad(divergence)(params)
  np.testing.assert_allclose(
    first['logits'], 2 * second['logits'], rtol=1e-3, atol=1e-5
  )
  # The loss of a group of all responses, each once, is that of equal chances.
  uniform = jnp.full_like(chance, 1 / len(chance))
  scores = logp(params) - ref_logp.sum(1)
  loss = gflownet.variance(
    scores[None],
    rewards[None],
    jnp.ones((1, len(chance)), bool),
    weight=WEIGHT,
  )
  cost = log_reward - logp(params)
  expected = jnp.sum(uniform * (cost - cost.mean()) ** 2)
  np.testing.assert_allclose(loss[0], expected, rtol=1e-4)


def test_stoppable_balance_equals_the_loops_in_both_arguments():
  (logp, _, mask), extras = _case()
  ends, earned = extras['log_probs'][..., 1], extras['prefix_reward']

  def total(logp, ends):
    losses = gflownet.stoppable_balance(logp, ends, earned, mask, decay=0.9)
    return jnp.sum(losses), losses

  def rule(logp, ends):
    rows = np.repeat(ends[..., None], 3, axis=-1)
    given = {'prefix_reward': earned, 'log_probs': rows}
    return oracle.stoppable_balance(logp, logp, mask, given, stop=1, decay=0.9)

  both = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
  (_, losses), slopes = both(*(jnp.asarray(x, 'f') for x in (logp, ends)))
  close = dict(rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(losses, rule(logp, ends), **close)
  for slope, own in zip(
    slopes,
    (
      offline.slope(lambda z: rule(z, ends), logp),
      offline.slope(lambda z: rule(logp, z), ends),
    ),
  ):
    np.testing.assert_allclose(slope, own, **close)


def test_a_policy_of_stoppable_prefixes_in_proportion_balances():
  """P(stop | prefix) = R(prefix) / flow(prefix), over prefixes of a chain."""
  reward = np.array([0.3, 1.2, 0.5, 2.0])  # after 0, 1, 2 and 3 tokens
  flow = np.cumsum(reward[::-1])[::-1]
  stop = np.log(reward / flow)
  log_probs = np.stack([stop, np.log1p(-np.exp(stop) + 1e-12)], 1)[None]
  logp = np.array([[log_probs[0, t, 1] for t in range(3)] + [stop[3]]])
  losses = gflownet.stoppable_balance(
    jnp.asarray(logp, jnp.float32),
    jnp.asarray(stop[None], jnp.float32),
    jnp.asarray(np.log(reward)[None], jnp.float32),
    jnp.ones((1, 4), bool),
  )
  np.testing.assert_allclose(losses, 0, atol=1e-9)


def test_equal_points_do_not_dominate_one_another():
  points = jnp.array([[[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]])
  live = jnp.array([[True, True, True, True]])
  np.testing.assert_array_equal(
    gflownet.undominated(points, live), [[True, True, True, False]]
  )
  alone = live.at[0, :2].set(False).at[0, 2].set(False)
  assert gflownet.undominated(points, alone)[0, 3]


def test_mean_balance_rests_at_the_reference_tilted_by_advantages():
  """Of one token; of more, at that geometric mean for each of them."""
  rng = np.random.default_rng(0)
  ref, a = rng.normal(size=(6, 1)), rng.normal(size=(6, 1))
  lengths = np.array([1, 1, 3, 3, 2, 0])[:, None]
  mask = np.arange(3) < lengths
  logp, old = ref + 2.0 * a - 0.7 + 0 * mask, 0 * mask - 4.0
  values = np.where(np.arange(3) == 0, 0.7, 9.0) + 0 * logp
  run = partial(
    gflownet.mean_balance,
    old_logp=old,
    advantages=a + 0 * logp,
    mask=mask,
    values=values,
    ref_logp=ref + 0 * logp,
    weight=2.0,
  )
  np.testing.assert_allclose(run(logp), 0, atol=1e-9)
  moved = run(logp - 0.1)
  ratio = np.exp(np.where(mask, logp - 0.1 - old, 0).sum(1))
  expected = np.minimum(ratio, 10.0) * 0.1**2 * mask.any(1)
  np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-9)
