"""Every score, link, pair weight and list loss against loops."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import (
  grouped,
  listwise,
  preference,
  surrogates,
  unary,
)
from jaxrl_llm.objectives.grouped import GroupLoss, Pairs
from jaxrl_llm.reads import reads_of
from jaxrl_llm.selection import pairs
from tests.oracles import offline, scores
from tests.oracles import preference as oracle

SAMPLES = 4

_PAIRS = [
  (grouped.to_reference, preference.logistic, pairs.better, {}),
  (
    grouped.mean_likelihood,
    preference.logistic,
    pairs.better,
    {'weight': 2.0, 'smoothing': 0.2, 'offset': 0.4},
  ),
  (grouped.to_reference, preference.debiased, pairs.better, {'flip': 0.3}),
  (grouped.mean_to_reference, preference.square, pairs.each_better, {}),
  (grouped.likelihood, preference.hinge, pairs.better, {}),
  (
    grouped.mean_likelihood,
    preference.hinge,
    pairs.each_better,
    {'width': 0.0},
  ),
  (grouped.to_iterate, preference.regression, pairs.every, {'scale': 0.7}),
  (grouped.to_iterate, preference.soft_logistic, pairs.every, {'weight': 0.3}),
  (grouped.to_iterate, preference.self_play, pairs.better, {'weight': 0.5}),
  (grouped.to_iterate, preference.pairwise_gradient, pairs.every, {}),
  (grouped.to_iterate, preference.separately_clipped, pairs.every, {}),
  (grouped.to_iterate, preference.jointly_clipped, pairs.every, {}),
  (grouped.to_mixture, preference.square, pairs.best_and_worst, {}),
  (grouped.to_reference, preference.hinge, pairs.by_tournament, {}),
  (grouped.to_extrapolated, preference.logistic, pairs.better, {}),
  (grouped.to_iterate_in_turn, preference.regression, pairs.every, {}),
  (grouped.to_reference, preference.logistic, pairs.by_rank, {}),
  (grouped.to_reference, preference.logistic, pairs.demonstrated, {}),
  (grouped.mean_likelihood, preference.logistic, pairs.siblings, {}),
  (grouped.to_reference, preference.exact, pairs.better, {'confidence': 0.9}),
  (grouped.to_reference, preference.contrast, pairs.better, {'weight': 0.3}),
  (grouped.to_reference, preference.classify, pairs.better, {'weight': 0.3}),
  (grouped.to_reference, preference.anchored, pairs.better, {'weight': 0.3}),
  (grouped.to_reference, preference.anchored_down, pairs.better, {}),
  (grouped.to_reference, preference.discovered, pairs.better, {}),
  (grouped.to_alpha_divergence, preference.logistic, pairs.better, {}),
  (grouped.to_jensen_shannon, preference.logistic, pairs.better, {}),
  (grouped.powered_likelihood, preference.logistic, pairs.better, {}),
  (grouped.to_reference, preference.logistic, pairs.constrained, {}),
  (grouped.to_reference, preference.positive, pairs.better, {'penalty': 2.0}),
  (grouped.to_reference_by_length, preference.logistic, pairs.better, {}),
  (grouped.to_reference_past_shortest, preference.logistic, pairs.better, {}),
]
_LISTS = [
  (listwise.plackett_luce, {'weight': 0.5}),
  (listwise.softmax, {'weight': 0.5}),
  (listwise.point_square, {'weight': 0.5}),
  (listwise.point_logistic, {'weight': 0.5}),
  (listwise.group_equivalent, {'weight': 0.5, 'variance': 0.3}),
  (listwise.likelihood_contrast, {'sides': listwise.only_best}),
  (listwise.likelihood_contrast, {'sides': listwise.best_against_worst}),
  (listwise.likelihood_contrast, {'sides': listwise.best_against_sum}),
  (listwise.likelihood_contrast, {'sides': listwise.best_against_mean}),
]


def _name(x):
  return getattr(x, '__name__', None)


def batch(seed=0, rows=16, tokens=5, levels=4):
  """Arrays and extras f64, with ties, a row that failed, and an empty one."""
  rng = np.random.default_rng(seed)

  def normal():
    return rng.standard_normal((rows, tokens)).astype('f').astype('d')

  old = normal()
  logp = old + 0.3 * normal()
  mask = rng.random((rows, tokens)) < 0.8
  mask[-1] = False
  rewards = rng.integers(0, levels, rows) / levels * 1.0
  rewards[4:8] = 0.75
  extras = {
    'ref_logp': old + 0.5 * normal(),
    'rewards': rewards,
    'valid': np.arange(rows) != 2,
    'group': np.arange(rows) // SAMPLES,
    'turn': rng.integers(0, 2, (rows, tokens)),
    'resampled': np.arange(rows) // SAMPLES % 2,
    'offline': np.arange(rows) % SAMPLES == 1,
    'node_path': rng.integers(0, 2, (rows, 2)),
    'overlap': rng.random((rows, 2)).astype('f').astype('d'),
    'components': np.stack(
      [
        rng.integers(0, levels, rows) / levels * 1.0,
        (rng.random(rows) < 0.5) | (np.arange(rows) >= 12),
      ],
      axis=1,
    ),
    'preference': rng.random((rows, SAMPLES)).astype('f').astype('d'),
  }
  return tuple(map(_single, (logp, old))) + (mask,), {
    k: _single(v) for k, v in extras.items()
  }


def _single(x):
  return x.astype('f').astype('d') if x.dtype.kind == 'f' else x


@functools.cache
def _compiled(fn):
  def total(logp, old, mask, extras):
    losses = fn(logp, old, None, mask, **extras)
    return jnp.sum(losses), losses

  return jax.jit(jax.value_and_grad(total, has_aux=True))


def value_and_slope(fn, arrays, extras):
  given = reads_of(fn)
  (_, losses), slope = _compiled(fn)(
    *(np.asarray(x, 'f' if x.dtype.kind == 'f' else None) for x in arrays),
    {
      k: np.asarray(v, 'f' if v.dtype.kind == 'f' else None)
      for k, v in extras.items()
      if k in given
    },
  )
  return losses, slope


def _agree(fn, rule, arrays, extras):
  logp, old, mask = arrays
  losses, slope = value_and_slope(fn, arrays, extras)
  # float32 sums of some ten terms of size 10.
  close = dict(rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(losses, rule(logp), **close)
  np.testing.assert_allclose(slope, offline.slope(rule, logp), **close)


@pytest.mark.parametrize(('score', 'link', 'among', 'hyper'), _PAIRS, ids=_name)
@pytest.mark.parametrize('seed', [0, 1])
def test_pairs_equal_the_loops(score, link, among, hyper, seed):
  arrays, extras = batch(seed)
  logp, old, mask = arrays
  fn = GroupLoss(Pairs(partial(link, **hyper), among), score, SAMPLES)

  def rule(moved):
    return oracle.pairs(
      moved,
      logp,
      old,
      mask,
      extras,
      score=getattr(scores, score.__name__),
      link=partial(getattr(oracle, link.__name__), **hyper),
      among=getattr(oracle, among.__name__),
      gap=lambda i, j: extras['rewards'][i] - extras['rewards'][j],
      samples=SAMPLES,
    )

  assert np.any(rule(logp) != 0)
  _agree(fn, rule, arrays, extras)


@pytest.mark.parametrize(('loss', 'hyper'), _LISTS, ids=_name)
@pytest.mark.parametrize('seed', [0, 1])
def test_lists_equal_the_loops(loss, hyper, seed):
  arrays, extras = batch(seed)
  logp, old, mask = arrays
  fn = GroupLoss(partial(loss, **hyper), grouped.to_reference, SAMPLES)
  named = {k: _name(v) if callable(v) else v for k, v in hyper.items()}

  def rule(moved):
    return oracle.lists(
      moved,
      logp,
      old,
      mask,
      extras,
      score=scores.to_reference,
      loss=partial(getattr(oracle, loss.__name__), **named),
      samples=SAMPLES,
    )

  assert np.any(rule(logp) != 0)
  _agree(fn, rule, arrays, extras)


def test_the_gap_of_preferences_is_the_oracles_chance_less_a_half():
  arrays, extras = batch()
  logp, old, mask = arrays
  link = partial(preference.regression, scale=2.0)
  fn = GroupLoss(
    Pairs(link, pairs.every, grouped.of_preferences), grouped.to_iterate, 4
  )

  def rule(moved):
    return oracle.pairs(
      moved,
      logp,
      old,
      mask,
      extras,
      score=scores.to_iterate,
      link=partial(oracle.regression, scale=2.0),
      among=oracle.every,
      gap=lambda i, j: extras['preference'][i, j % SAMPLES] - 0.5,
      samples=SAMPLES,
    )

  _agree(fn, rule, arrays, extras)


def _functions():
  for score, link, among, hyper in _PAIRS:
    yield GroupLoss(Pairs(partial(link, **hyper), among), score, SAMPLES)
  for loss, hyper in _LISTS:
    yield GroupLoss(partial(loss, **hyper), grouped.to_reference, SAMPLES)


@pytest.mark.parametrize('fn', list(_functions()))
def test_no_row_no_token_and_no_difference_are_finite(fn):
  arrays, extras = batch()
  logp, old, mask = arrays
  for valid in (extras['valid'], np.zeros(len(logp), bool)):
    for chosen in (mask, np.zeros_like(mask)):
      for rewards in (0.0, 1.0):
        given = extras | {
          'valid': valid,
          'rewards': np.full(len(logp), rewards),
        }
        losses, slope = value_and_slope(fn, (logp, old, chosen), given)
        assert np.all(np.isfinite(losses)) and np.all(np.isfinite(slope))
        if not (valid.any() and chosen.any()):
          assert not np.any(losses) and not np.any(slope)


def test_what_a_row_that_does_not_count_holds_is_inert():
  (logp, old, mask), extras = batch()
  for fn in _functions():
    if 'turn' in reads_of(fn):
      continue
    clean = value_and_slope(fn, (logp, old, mask), extras)
    wild = logp.copy()
    wild[2] = 1e30
    dirty = value_and_slope(fn, (wild, old, mask), extras)
    for x, y in zip(clean, dirty):
      np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('hyper', [{}, {'gain': 1.3, 'loss': 0.7}])
def test_kto_equals_the_loop(seed, hyper):
  arrays, extras = batch(seed)
  logp, old, mask = arrays
  weights = np.abs(np.random.default_rng(seed).standard_normal(len(logp)))
  given = {k: extras[k] for k in ('ref_logp', 'rewards')} | {
    'row_weights': _single(weights)
  }

  def total(x, old, mask, extra):
    return jnp.sum(unary.kto(x, old, None, mask, share=None, **extra, **hyper))

  as_float = {k: np.asarray(v, 'f') for k, v in given.items()}
  value, slope = jax.jit(jax.value_and_grad(total))(
    np.asarray(logp, 'f'), np.asarray(old, 'f'), mask, as_float
  )

  def rule(moved):
    return oracle.kto(moved, logp, old, None, mask, **given, **hyper)

  np.testing.assert_allclose(value, rule(logp).sum(), rtol=1e-4)
  np.testing.assert_allclose(
    slope, offline.slope(rule, logp), rtol=1e-3, atol=1e-5
  )


def test_divergence_equals_the_loop():
  (logp, old, mask), extras = batch()
  given = {k: extras[k] for k in ('ref_logp', 'group', 'valid')}
  given['recorded'] = np.zeros(len(logp), bool)

  def total(x, ref_logp):
    losses = unary.divergence(
      x, None, None, mask, **given | {'ref_logp': ref_logp}
    )
    return jnp.sum(losses), losses

  (_, losses), slope = jax.value_and_grad(total, has_aux=True)(
    jnp.asarray(logp, jnp.float32), jnp.asarray(given['ref_logp'], jnp.float32)
  )

  def rule(moved):
    def h(z, i):
      return scores.to_reference(z, old, mask, i, extras)

    out = np.zeros(len(logp))
    live = given['valid'] & mask.any(1)
    for i in np.flatnonzero(live):
      same = live & (given['group'] == given['group'][i])
      others = [j for j in np.flatnonzero(same) if j != i]
      if others:
        mean = np.mean([h(logp, j) for j in others])
        out[i] = (h(logp, i) - mean) * h(moved, i)
    return out

  np.testing.assert_allclose(losses, rule(logp), rtol=1e-4, atol=1e-4)
  expected = offline.slope(rule, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_divergence_descends_the_kl_of_the_policy():
  """Over all pairs of draws from a policy on three responses."""
  start = jax.nn.log_softmax(jnp.array([0.3, -0.8, 0.5]))
  reference = jax.nn.log_softmax(jnp.array([-0.2, 0.9, 0.1]))
  group, valid = np.zeros(2, np.int32), np.ones(2, bool)

  def sampled(logits):
    logp, total = jax.nn.log_softmax(logits), 0.0
    for i in range(3):
      for j in range(3):
        rows = np.array([[i], [j]])
        losses = unary.divergence(
          logp[rows],
          None,
          None,
          np.ones((2, 1), bool),
          ref_logp=reference[rows],
          group=group,
          valid=valid,
          recorded=~valid,
        )
        total += jnp.exp(start[i] + start[j]) * jnp.mean(losses)
    return total

  def kl(logits):
    logp = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(logp) * (logp - reference))

  np.testing.assert_allclose(
    jax.grad(sampled)(start), jax.grad(kl)(start), atol=1e-6
  )


def test_a_total_adds_its_parts_and_asks_for_what_they_take():
  arrays, extras = batch()
  logp, old, mask = arrays
  advantages = np.random.default_rng(0).standard_normal(logp.shape)
  pair = GroupLoss(Pairs(preference.logistic), grouped.to_reference, SAMPLES)
  token = grouped.TokenMean(surrogates.clip)
  fn = grouped.Total((token, pair), (1.0, 0.3))
  assert reads_of(fn) == reads_of(pair) > {'ref_logp'}
  given = {k: jnp.asarray(extras[k]) for k in reads_of(fn)}
  rest = (logp, old, advantages, mask)
  clipped = surrogates.clip(*rest)
  for i in range(len(logp)):
    mean = np.mean(clipped[i][mask[i]]) if mask[i].any() else 0.0
    expected = mean + 0.3 * pair(*rest, **given)[i]
    np.testing.assert_allclose(fn(*rest, **given)[i], expected, rtol=1e-5)


def test_scores_have_their_plain_forms_as_limits():
  (logp, old, mask), extras = batch()
  logp, old = logp.astype('f'), old.astype('f')
  ref = {'ref_logp': extras['ref_logp'].astype('f')}
  plain = grouped.to_reference(logp, old, mask, **ref)
  same = grouped.to_alpha_divergence(logp, old, mask, **ref, alpha=1.0)
  np.testing.assert_array_equal(same, plain)
  near = grouped.to_alpha_divergence(logp, old, mask, **ref, alpha=0.999)
  np.testing.assert_allclose(near, plain, rtol=5e-3, atol=1e-3)
  mean = grouped.mean_likelihood(logp, old, mask)
  same = grouped.powered_likelihood(logp, old, mask, alpha=0.0)
  np.testing.assert_array_equal(same, mean)
  near = grouped.powered_likelihood(logp, old, mask, alpha=1e-3)
  np.testing.assert_allclose(near, mean, rtol=5e-3, atol=1e-3)


def test_log_odds_are_those_of_the_mean_chance_and_finite():
  (logp, old, mask), extras = batch()
  low = -np.abs(logp).astype('f')
  odds = grouped.log_odds(low, old, mask)
  for i in range(len(low) - 1):
    np.testing.assert_allclose(
      odds[i], scores.log_odds(low, old, mask, i, extras), rtol=1e-4, atol=1e-4
    )
  sure = grouped.log_odds(0 * low, old, mask)
  assert np.all(np.isfinite(sure))


def test_what_a_score_adds_to_the_log_ratio_can_be_nothing():
  (logp, old, mask), extras = batch()
  ref = {'ref_logp': extras['ref_logp'].astype('f')}
  plain = grouped.to_reference(logp, old, mask, **ref)
  same = grouped.to_reference_by_length(logp, old, mask, **ref, alpha=0.0)
  np.testing.assert_array_equal(same, plain)
  same = grouped.to_reference_past_shortest(
    logp,
    old,
    mask,
    **ref,
    group=extras['group'],
    valid=extras['valid'],
    alpha=1,
  )
  np.testing.assert_allclose(same, plain, rtol=1e-6)
