import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import offline
from jaxrl_llm.reads import reads_of
from tests.objectives import cases
from tests.oracles import offline as oracle

_CASES = [
  (offline.contrastive, {}),
  (offline.contrastive, {'weight': 1.5}),
  (offline.advantage_regression, {'weight': 0.5}),
  (offline.proximal_regression, {'weight': 0.5}),
  (offline.centred_regression, {'weight': 0.5}),
  (offline.discriminative, {'hinge': 0.0}),
  (offline.discriminative, {'temperature': 0.3, 'hinge': 2.0}),
  (offline.mean_discriminative, {'hinge': 2.0, 'limit': 0.01}),
  (offline.pairwise_preference, {}),
  (offline.pairwise_preference, {'weight': 2.0, 'best': 2.0}),
]
_names = [f'{fn.__name__}-{hyper}' for fn, hyper in _CASES]


def _arrays(fn, seed=0):
  arrays = cases.inputs(seed)
  extra = {k: cases.extras(arrays[-1])[k] for k in reads_of(fn)}
  return arrays, extra


@functools.cache
def _compiled(fn, hyper):
  def total(logp, old, advantages, mask, extra):
    losses = fn(logp, old, advantages, mask, **extra, **dict(hyper))
    return jnp.sum(losses), losses

  return jax.jit(jax.value_and_grad(total, has_aux=True))


def _both(fn, arrays, extra, **hyper):
  compiled = _compiled(fn, tuple(hyper.items()))
  extra = dict(zip(extra, cases.single(extra.values())))
  (_, losses), slope = compiled(*cases.single(arrays), extra)
  return losses, slope


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
@pytest.mark.parametrize('seed', [0, 1])
def test_value_and_slope_equal_the_loops(fn, hyper, seed):
  (logp, old, a, mask), extra = _arrays(fn, seed)
  if 'hinge' in hyper:
    old = old + 0.3  # a move that the hinge sees

  def loss(moved):
    rule = getattr(oracle, fn.__name__)
    return rule(moved, logp, old, a, mask, **extra, **hyper)

  losses, slope = _both(fn, (logp, old, a, mask), extra, **hyper)
  # float32 sums of some ten terms of size 10.
  np.testing.assert_allclose(losses, loss(logp), rtol=1e-4, atol=1e-4)
  expected = oracle.slope(loss, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
def test_uniform_groups_and_empty_masks_are_finite(fn, hyper):
  (logp, old, a, mask), extra = _arrays(fn)
  for rewards in (0.0, 1.0):
    if 'rewards' in extra:
      extra['rewards'] = np.full(len(logp), rewards)
    for chosen in (mask, np.zeros_like(mask)):
      outcome = _both(fn, (logp, old, a, chosen), extra, **hyper)
      for x in outcome:
        assert np.all(np.isfinite(x))
  if 'share' not in extra:
    return
  extra['valid'] = np.zeros(len(logp), bool)
  losses, _ = _both(fn, (logp, old, a, mask), extra, **hyper)
  np.testing.assert_array_equal(losses, 0)


def test_contrastive_is_a_quarter_of_the_squared_difference_of_pairs():
  arrays, extra = _arrays(offline.contrastive)
  logp, _, _, mask = arrays
  weight = 0.7
  _, slope = _both(offline.contrastive, arrays, extra, weight=weight)

  def squares(moved):
    total = 0.0
    for g in np.unique(extra['group']):
      rows = np.flatnonzero((extra['group'] == g) & extra['valid'])
      for i in rows:
        for j in rows:
          if i == j:
            continue
          l = [
            ((moved[k] - extra['ref_logp'][k]) * mask[k]).sum() for k in (i, j)
          ]
          gap = extra['rewards'][i] - extra['rewards'][j]
          gap -= weight * (l[0] - l[1])
          total += gap**2 / (4 * weight) / (len(rows) - 1)
    return total

  expected = oracle.slope(squares, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_contrastive_at_the_reference_is_leave_one_out():
  (logp, old, a, mask), extra = _arrays(offline.contrastive)
  extra['ref_logp'] = logp
  _, slope = _both(offline.contrastive, (logp, old, a, mask), extra)
  for i in range(len(logp)):
    peers = (extra['group'] == extra['group'][i]) & extra['valid']
    peers[i] = False
    advantage = extra['rewards'][i] - extra['rewards'][peers].mean()
    expected = -advantage * mask[i] * extra['valid'][i]
    np.testing.assert_allclose(slope[i], expected, atol=1e-5)


def test_regression_rests_where_the_log_ratio_is_the_scaled_advantage():
  (logp, old, a, mask), extra = _arrays(offline.advantage_regression)
  length = np.maximum(mask.sum(-1, keepdims=True), 1)
  logp = extra['ref_logp'] + a / 0.1 / length
  losses, slope = _both(
    offline.advantage_regression, (logp, old, a, mask), extra, weight=0.1
  )
  np.testing.assert_allclose(losses, 0, atol=1e-5)
  np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_centred_regression_rests_at_the_tilted_policy_that_sampled():
  """Whoever that is, and whatever all rows of a group have in common."""
  (_, old, _, _), extra = _arrays(offline.centred_regression)
  old, mask = old[:, :1], np.ones((8, 1), bool)
  rewards = np.arange(8.0)
  level = np.array([rewards[extra['group'] == g].mean() for g in (0, 1)])
  a = (rewards - level[extra['group']])[:, None]
  extra['valid'] = np.ones(8, bool)
  logp = old + rewards[:, None] / 0.3 - 5.0 * extra['group'][:, None]
  losses, slope = _both(
    offline.centred_regression, (logp, old, a, mask), extra, weight=0.3
  )
  np.testing.assert_allclose(losses, 0, atol=1e-9)
  np.testing.assert_allclose(slope, 0, atol=1e-5)


@pytest.mark.parametrize(
  'fn', [offline.discriminative, offline.mean_discriminative]
)
def test_a_reward_of_exactly_the_bound_is_a_failure(fn):
  arrays, extra = _arrays(fn)
  half = extra | {'rewards': np.maximum(extra['rewards'], 0.5)}
  found = _both(fn, arrays, half, hinge=0.0)
  for a, b in zip(found, _both(fn, arrays, extra, hinge=0.0)):
    np.testing.assert_array_equal(a, b)


def test_discriminative_at_infinite_temperature_looks_at_the_mean():
  arrays, extra = _arrays(offline.discriminative)
  hot = _both(offline.discriminative, arrays, extra, temperature=1e3, hinge=0.0)
  mean = _both(offline.mean_discriminative, arrays, extra, hinge=0.0)
  # The next term is the scores' variance over twice the temperature.
  for a, b in zip(hot, mean):
    np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_the_soft_maximum_of_no_score_is_zero_and_has_no_slope():
  def value(scores):
    group, chosen = jnp.array([0, 0, 2]), jnp.array([False, False, True])
    return offline._softmax_score(scores, chosen, group, 0.5)

  scores = jnp.array([-1.0, -2.0, -3.0])
  np.testing.assert_allclose(value(scores), [0, 0, -3], rtol=1e-6)
  slope = jax.jacobian(value)(scores)
  np.testing.assert_allclose(slope, np.diag([0, 0, 1.0]), rtol=1e-6)


def test_one_pair_is_length_normalised_preference_optimisation():
  (logp, old, a, mask), extra = _arrays(offline.pairwise_preference)
  extra['rewards'] = np.zeros(8)
  extra['rewards'][4] = 0.5
  extra['group'] = np.arange(8)
  extra['group'][5] = 4
  losses, _ = _both(
    offline.pairwise_preference, (logp, old, a, mask), extra, weight=0.3
  )
  rho = [
    ((logp - extra['ref_logp'])[i] * mask[i]).sum() / mask[i].sum()
    for i in (4, 5)
  ]
  expected = np.log1p(np.exp(-0.3 * (rho[0] - rho[1])))
  np.testing.assert_allclose(losses[0], expected, rtol=1e-5)


def test_a_step_without_a_pair_falls_back_on_single_rows():
  """Those that are right in all up, the others down, without beta."""
  (logp, old, a, mask), extra = _arrays(offline.pairwise_preference)
  extra['group'] = np.arange(8)
  extra['rewards'] = np.array([1.0, 0.0] * 4)
  losses, slope = _both(
    offline.pairwise_preference, (logp, old, a, mask), extra, weight=0.3
  )
  live = np.asarray(extra['valid']) & mask.any(axis=1)
  assert 1 < live.sum() < 8
  for i in range(8):
    rho = ((logp - extra['ref_logp'])[i] * mask[i]).sum() / max(
      mask[i].sum(), 1
    )
    sign = 1 if i % 2 == 0 else -1
    expected = np.log1p(np.exp(-sign * rho)) if live[i] else 0.0
    np.testing.assert_allclose(losses[i], expected, rtol=1e-5)
    if live[i]:
      t = np.flatnonzero(mask[i])[0]
      assert sign * slope[i, t] < 0
