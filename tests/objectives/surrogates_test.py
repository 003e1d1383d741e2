import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import digests
from jaxrl_llm.objectives import adaptive, aggregate, sequence, surrogates
from jaxrl_llm.reads import reads_of
from tests.objectives import cases
from tests.oracles import surrogates as oracle

# float32 against float64: about 1e-6 of terms of size 10.
_close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)

_CASES = [
  (surrogates.score_function, {}),
  (surrogates.importance, {}),
  (surrogates.importance_weight, {}),
  (surrogates.clip, {}),
  (surrogates.clip, {'low': 0.1, 'high': 0.5}),
  (surrogates.clip_weight, {}),
  (surrogates.clip_weight, {'low': 0.2, 'high': 0.2}),
  (surrogates.dual_clip, {'bound': 1.5}),
  (surrogates.dual_clip, {'bound': math.inf}),
  (surrogates.carried_clip, {}),
  (surrogates.carried_clip, {'down': 0.3, 'up': 0.6, 'bound': 1.4}),
  (surrogates.flipped_clip, {}),
  (surrogates.flipped_clip, {'low': 0.4, 'high': 0.1, 'bound': 1.3}),
  (surrogates.quadratic, {}),
  (surrogates.pulled, {}),
  (surrogates.shaped_offline, {}),
  (surrogates.shaped_offline, {'gamma': 0.4}),
  (surrogates.soft_clip, {}),
  (surrogates.soft_clip, {'up': 0.3, 'down': 4.0}),
  (sequence.sequence_clip, {}),
  (sequence.sequence_clip, {'low': 0.3, 'high': 0.3}),
  (sequence.geometric_clip, {}),
  (sequence.product_clip, {}),
  (sequence.product_clip, {'low': 0.6, 'high': 1.5}),
  (sequence.hybrid_clip, {'weight': 0.3, 'sequence_high': 0.3}),
  (sequence.entropy_hybrid_clip, {'sequence_low': 0.3}),
  (adaptive.elastic_clip, {}),
  (adaptive.elastic_clip, {'micro': 0.0, 'macro': 2.0}),
  (adaptive.heterogeneous_clip, {}),
  (adaptive.heterogeneous_clip, {'bound': 1.4}),
  (adaptive.balanced_clip, {}),
  (adaptive.balanced_clip, {'target': 0.2}),
  (adaptive.balanced_clip, {'target': 0.6}),
  (adaptive.covariance_penalty, {}),
  (adaptive.covariance_penalty, {'fraction': 0.3, 'weight': 2.0}),
]
_names = [f'{fn.__name__}-{hyper}' for fn, hyper in _CASES]


def _taken(fn, mask):
  return {k: cases.extras(mask)[k] for k in reads_of(fn)}


@functools.cache
def _compiled(fn, hyper):
  def total(logp, old, advantages, mask, extra):
    losses = fn(logp, old, advantages, mask, **extra, **dict(hyper))
    return jnp.sum(jnp.where(mask, losses, 0)), losses

  return jax.jit(jax.value_and_grad(total, has_aux=True))


def _both(fn, *arrays, extra=None, **hyper):
  """Losses and slopes on the mask, by the function and jax.grad."""
  compiled = _compiled(fn, tuple(hyper.items()))
  (_, losses), slope = compiled(*arrays, extra or {})
  return losses, slope


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
@pytest.mark.parametrize('seed', [0, 1])
def test_value_and_slope_equal_the_loops(fn, hyper, seed):
  arrays = cases.inputs(seed)
  mask = arrays[-1]
  extra = _taken(fn, mask)
  expected = getattr(oracle, fn.__name__)(*arrays, **extra, **hyper)
  extra = dict(zip(extra, cases.single(extra.values())))
  losses, slope = _both(fn, *cases.single(arrays), extra=extra, **hyper)
  _close(jnp.where(mask, losses, 0), expected[0])
  _close(slope, expected[1])


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
def test_every_value_is_finite_far_from_the_old_policy(fn, hyper):
  logp, old, advantages, mask = cases.single(cases.inputs())
  extra = _taken(fn, mask)
  extra = dict(zip(extra, cases.single(extra.values())))
  for move in (-300.0, 300.0):
    losses, slope = _both(
      fn, old + move, old, advantages, mask, extra=extra, **hyper
    )
    assert np.all(np.isfinite(losses)) and np.all(np.isfinite(slope))


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
def test_an_empty_mask_is_finite(fn, hyper):
  logp, old, advantages, mask = cases.single(cases.inputs())
  mask = np.zeros_like(mask)
  extra = _taken(fn, np.ones_like(mask))
  extra = dict(zip(extra, cases.single(extra.values())))
  if 'share' in extra:
    extra['share'] = np.zeros_like(logp)
  losses, slope = _both(fn, logp, old, advantages, mask, extra=extra, **hyper)
  assert np.all(np.isfinite(losses))
  np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
def test_on_policy_the_slope_is_the_score_function(fn, hyper):
  logp, _, advantages, mask = cases.single(cases.inputs())
  extra = _taken(fn, mask)
  extra = dict(zip(extra, cases.single(extra.values())))
  if fn is adaptive.heterogeneous_clip:
    hyper = hyper | {'redistribution': 0.0}
  if 'offline' in extra:
    extra['offline'] = np.zeros(len(logp), bool)  # no row is another policy's
  _, slope = _both(fn, logp, logp, advantages, mask, extra=extra, **hyper)
  expected = -np.where(mask, advantages, 0)
  # jnp.maximum of two equal branches passes half of each: equal in sum.
  _close(slope, expected)


def test_dual_clip_without_a_bound_is_clip():
  arrays = cases.single(cases.inputs())
  ours = surrogates.dual_clip(*arrays, bound=math.inf)
  np.testing.assert_array_equal(ours, surrogates.clip(*arrays))


def test_carried_clip_that_carries_nothing_has_the_slope_of_dual_clip():
  arrays = cases.single(cases.inputs())
  _, ours = _both(surrogates.carried_clip, *arrays, down=0.0, up=0.0, bound=2.0)
  _, theirs = _both(surrogates.dual_clip, *arrays, bound=2.0)
  _close(ours, theirs)


def test_a_token_pushed_up_that_has_fallen_is_pushed_the_harder():
  old = np.zeros((1, 2), np.float32)
  logp = np.log(np.array([[0.5, 1.1]], np.float32))
  rest = np.ones((1, 2), np.float32), np.ones((1, 2), bool)
  _, slope = _both(surrogates.flipped_clip, logp, old, *rest)
  _close(slope, [[-2.0, -1 / 1.1]])


def _spread(said, logp, mix=0.3):
  """One right and one wrong row, of which the last token is uncertain."""
  mask = jnp.ones((2, 3), bool)
  return surrogates.spread_clip(
    logp,
    jnp.zeros((2, 3)),
    jnp.array([[1.0], [-1.0]]) * mask,
    mask,
    candidates=jnp.array([[[4, 2, -1]] * 3, [[5, 4, 2]] * 3]),
    entropy=jnp.array([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9]]),
    tokens=jnp.array([[4, 4, 4], [5, 5, 5]]),
    mix=mix,
    push=2.0,
    **{digests.OF_CANDIDATES: said},
  )


def test_spread_clip_lifts_candidates_of_right_rows_without_another_value():
  said, logp = jnp.full((2, 3, 3), -2.0), jnp.full((2, 3), 0.1)
  r = np.exp(0.1)
  _close(_spread(said, logp), [[-r, -r, -r], [r, r, 2 * r]])

  def total(said, logp):
    return jnp.sum(_spread(said, logp))

  candidates, own = jax.grad(total, (0, 1))(said, logp)
  # The mix is shared by the two that there are, on the uncertain token alone.
  wanted = np.zeros((2, 3, 3))
  wanted[0, 2, :2] = -0.3 / 2 * r
  _close(candidates, wanted)
  _close(own, [[-r, -r, -0.7 * r], [r, r, 2 * r]])


def test_spread_clip_of_no_candidates_is_the_clip():
  said, logp = jnp.zeros((2, 3, 3)), jnp.full((2, 3), 0.5)
  clipped = surrogates.clip(
    logp, 0 * logp, jnp.ones((2, 3)), jnp.ones((2, 3), bool)
  )
  _close(_spread(said, logp, mix=0.0)[0], clipped[0])


def test_the_parabola_rests_one_width_from_the_old_policy():
  old = np.zeros((1, 2), np.float32)
  advantages = np.array([[2.0, -3.0]], np.float32)
  logp = np.log(np.array([[1.3, 0.7]], np.float32))
  mask = np.ones((1, 2), bool)
  _, slope = _both(surrogates.quadratic, logp, old, advantages, mask, width=0.3)
  _close(slope, 0.0)
  free = surrogates.quadratic(logp, old, advantages, mask, width=math.inf)
  _close(free, surrogates.importance(logp, old, advantages, mask))


def test_the_spring_rests_at_the_advantage_over_its_weight():
  advantages = np.array([[2.0, -3.0]], np.float32)
  old, mask = np.zeros((1, 2), np.float32), np.ones((1, 2), bool)
  _, slope = _both(
    surrogates.pulled, advantages / 4, old, advantages, mask, weight=4.0
  )
  _close(slope, 0.0)


def test_soft_clip_at_small_temperature_is_importance_weighting():
  arrays = cases.single(cases.inputs())
  slopes = _both(surrogates.soft_clip, *arrays, up=1e-3, down=1e-3)[1]
  _, expected = _both(surrogates.importance, *arrays)
  # sigmoid's slope differs from 1/4 by tau^2 (r - 1)^2 / 16, r up to 5.
  np.testing.assert_allclose(slopes, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  'fn', [sequence.sequence_clip, sequence.geometric_clip]
)
def test_the_token_form_has_the_gradient_of_the_sequence_form(fn):
  logp, old, advantages, mask = cases.single(cases.inputs())
  rows = len(logp)
  weights = aggregate.sequence_mean(mask * 1.0, np.ones(rows), np.arange(rows))

  def token_form(logp):
    wide = {'low': 5.0, 'high': 5.0}
    return jnp.sum(weights * fn(logp, old, advantages, mask, **wide))

  def sequence_form(logp):
    length = np.maximum(mask.sum(-1), 1)
    mean = jnp.sum(mask * (logp - old), -1) / length
    live = mask.any(-1)
    return -jnp.sum(jnp.exp(mean) * advantages[:, 0] * live) / live.sum()

  _close(jax.grad(token_form)(logp), jax.grad(sequence_form)(logp))


@pytest.mark.parametrize('fn', [sequence.sequence_clip, sequence.product_clip])
def test_a_clip_of_whole_responses_is_clip_for_one_token(fn):
  arrays = [x[:, :1] for x in cases.single(cases.inputs())]
  arrays[-1] = np.ones_like(arrays[-1])
  bounds = {'low': 0.2, 'high': 0.3}
  ours = _both(fn, *arrays, **bounds)
  theirs = _both(surrogates.clip, *arrays, **bounds)
  for a, b in zip(ours, theirs):
    _close(a, b)


@pytest.mark.parametrize(
  ('weight', 'branch'), [(1.0, surrogates.clip), (0.0, sequence.sequence_clip)]
)
def test_hybrid_clip_ends_in_its_branches(weight, branch):
  arrays = cases.single(cases.inputs())
  ours = _both(sequence.hybrid_clip, *arrays, weight=weight)
  for a, b in zip(ours, _both(branch, *arrays)):
    _close(a, b)


def test_elastic_clip_without_elasticity_is_clip():
  arrays = cases.single(cases.inputs())
  extra = _taken(adaptive.elastic_clip, arrays[-1])
  ours = adaptive.elastic_clip(*arrays, **extra, micro=0.0, macro=0.0)
  np.testing.assert_allclose(ours, surrogates.clip(*arrays), rtol=1e-6)


def test_heterogeneous_clip_at_equal_entropies_is_dual_clip():
  arrays = cases.single(cases.inputs())
  extra = _taken(adaptive.heterogeneous_clip, arrays[-1])
  extra['entropy'] = np.full(arrays[0].shape, 0.7, np.float32)
  ours = adaptive.heterogeneous_clip(*arrays, **extra)
  theirs = surrogates.dual_clip(*arrays, bound=10.0)
  np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_elastic_clip_takes_a_reward_of_exactly_the_bound_for_a_failure():
  arrays = cases.single(cases.inputs())
  extra = _taken(adaptive.elastic_clip, arrays[-1])
  half = extra | {'rewards': np.maximum(extra['rewards'], 0.5)}
  expected = adaptive.elastic_clip(*arrays, **extra)
  found = adaptive.elastic_clip(*arrays, **half)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('entropy', [np.nan, np.inf])
def test_heterogeneous_clip_does_not_look_at_entropies_off_the_tokens(entropy):
  arrays = cases.single(cases.inputs())
  extra = _taken(adaptive.heterogeneous_clip, arrays[-1])
  expected = adaptive.heterogeneous_clip(*arrays, **extra)
  counts = extra['share'] > 0
  extra['entropy'] = np.where(counts, extra['entropy'], entropy)
  found = adaptive.heterogeneous_clip(*arrays, **extra)
  np.testing.assert_array_equal(found[counts], expected[counts])
  assert np.all(np.isfinite(found))


def test_balanced_clip_keeps_its_bounds_when_there_is_nothing_to_balance():
  arrays = cases.single(cases.inputs())
  arrays[2] = np.abs(arrays[2])
  extra = cases.extras(arrays[-1])['share'].astype(np.float32)
  ours = adaptive.balanced_clip(*arrays, share=extra)
  theirs = surrogates.clip(*arrays, low=0.4, high=0.2)
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
  ('low_most', 'high_most'),
  # Whole steps of 0.05, and a last one that is cut short.
  [(0.8, 2.0), (0.83, 1.21)],
)
def test_balanced_clip_opens_to_its_limits_without_positive_tokens(
  low_most, high_most
):
  _, _, advantages, mask = cases.single(cases.inputs())
  share = cases.extras(mask)['share'].astype(np.float32)
  bounds = adaptive.balanced_bounds(
    np.ones_like(share),
    -np.abs(advantages),
    share,
    low=0.6,
    low_most=low_most,
    high=1.2,
    high_most=high_most,
    step=0.05,
    target=0.5,
  )
  np.testing.assert_allclose(bounds, [low_most, high_most], rtol=1e-6)


def test_undersampled_equals_the_loops():
  arrays = cases.inputs()
  expected = oracle.undersampled(*arrays)
  losses, slope = _both(surrogates.undersampled, *cases.single(arrays))
  _close(jnp.where(arrays[-1], losses, 0), expected[0])
  _close(slope, expected[1])


def test_undersampled_moves_a_bandit_from_its_data_to_its_target():
  logits = jnp.array([0.3, -0.2, 0.5, 0.0])
  target = jax.nn.log_softmax(logits)
  data = jnp.array([0.4, 0.3, 0.2, 0.1])

  def loss(logits, data):
    logp = jax.nn.log_softmax(logits)[:, None]
    rest = target[:, None], jnp.zeros((4, 1)), jnp.ones((4, 1), bool)
    losses = surrogates.undersampled(logp, *rest)
    return jnp.sum(data[:, None] * losses)

  slope = jax.grad(loss)(logits, data)
  np.testing.assert_allclose(slope, data - jnp.exp(target), atol=1e-6)
  even = jax.grad(loss)(logits, jnp.exp(target))
  np.testing.assert_allclose(even, 0, atol=1e-6)
