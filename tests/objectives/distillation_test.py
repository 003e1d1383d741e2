"""Divergences from a teacher's distributions, by their candidates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.digests import OF_CANDIDATES
from jaxrl_llm.objectives import distillation

VOCAB = 5


def rows(seed, size=VOCAB):
  """Log-probs f32[3, 4, V] of two policies, and each row's likeliest by one."""
  rng = np.random.default_rng(seed)
  p, q = (rng.dirichlet(np.ones(VOCAB), (3, 4)) for _ in range(2))
  return np.log(p), np.log(q), np.argsort(-q, axis=-1)[..., :size]


def divergence(fn, log_p, log_q, named, **hyper):
  def at(x):
    found = jnp.take_along_axis(x, jnp.maximum(named, 0), axis=-1)
    return jnp.where(named >= 0, found, 0.0)

  given = {
    'candidates': jnp.asarray(named),
    'teacher_candidates': at(jnp.float32(log_q)),
    OF_CANDIDATES: at(log_p),
  }
  return fn(None, None, **given, **hyper)


def kl(a, b):
  return np.sum(a * np.log(a / b), axis=-1)


def generalised(p, q, beta):
  if beta in (0, 1):
    return kl(p, q) if beta else kl(q, p)
  m = beta * q + (1 - beta) * p
  return beta * kl(q, m) + (1 - beta) * kl(p, m)


@pytest.mark.parametrize('beta', [0.0, 0.1, 0.5, 1.0])
def test_all_candidates_give_the_divergence_of_whole_rows(beta):
  log_p, log_q, named = rows(0)
  fn = functools.partial(distillation.generalised_divergence, beta=beta)
  found = divergence(fn, jnp.float32(log_p), log_q, named)
  wanted = generalised(np.exp(log_p), np.exp(log_q), beta)
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize('beta', [0.3, 0.5])
def test_slope_in_logits_is_that_of_the_paper(beta):
  """(1 - beta) p (log p / m - its mean), whether all are candidates or not."""
  log_p, log_q, named = rows(1)
  fn = functools.partial(distillation.generalised_divergence, beta=beta)

  def loss(logits):
    return jnp.sum(divergence(fn, jax.nn.log_softmax(logits), log_q, named))

  slope = jax.grad(loss)(jnp.float32(log_p))
  p, m = np.exp(log_p), beta * np.exp(log_q) + (1 - beta) * np.exp(log_p)
  gap = log_p - np.log(m)
  mean = np.sum(p * gap, axis=-1, keepdims=True)
  np.testing.assert_allclose(slope, (1 - beta) * p * (gap - mean), atol=2e-6)


@pytest.mark.parametrize('beta', [0.0, 0.5, 1.0])
def test_fewer_candidates_give_no_more(beta):
  """Data processing: a bucket of tokens tells two policies apart less well."""
  fn = functools.partial(distillation.generalised_divergence, beta=beta)
  log_p, log_q, _ = rows(2)
  found = [
    divergence(fn, jnp.float32(log_p), log_q, rows(2, size)[2])
    for size in range(1, VOCAB + 1)
  ]
  # The rest is at least 1e-6, times logarithms of up to 15.
  assert np.all(np.diff(found, axis=0) >= -3e-5)
  assert np.all(np.asarray(found[0]) >= -1e-6)


def test_both_ends_are_what_it_tends_to():
  log_p, log_q, named = rows(3)
  both = functools.partial(
    divergence, distillation.generalised_divergence, jnp.float32(log_p), log_q
  )
  near = both(named, beta=1e-4) / 1e-4
  np.testing.assert_allclose(near, both(named, beta=0.0), rtol=0.01, atol=5e-3)
  near = both(named, beta=1 - 1e-4) / 1e-4
  np.testing.assert_allclose(near, both(named, beta=1.0), rtol=0.01, atol=5e-3)


def test_renormalised_is_both_ways_among_the_candidates():
  log_p, log_q, named = rows(4, size=3)
  fn = distillation.renormalised_divergence
  found = divergence(fn, jnp.float32(log_p), log_q, named, forward=0.3)
  p, q = (np.take_along_axis(np.exp(x), named, axis=-1) for x in (log_p, log_q))
  p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
  np.testing.assert_allclose(found, 0.3 * kl(q, p) + 0.7 * kl(p, q), rtol=2e-5)


def test_partial_is_the_candidates_terms_and_has_a_floor():
  log_p, log_q, named = rows(5, size=2)
  log_p[0, 0, named[0, 0, 0]] = -30.0
  fn = distillation.partial_divergence

  def loss(log_p):
    return jnp.sum(divergence(fn, log_p, log_q, named))

  found = divergence(fn, jnp.float32(log_p), log_q, named)
  p, q = (np.take_along_axis(x, named, axis=-1) for x in (log_p, log_q))
  wanted = np.sum(np.exp(q) * (q - np.maximum(p, -10.0)), axis=-1)
  np.testing.assert_allclose(found, wanted, rtol=2e-5)
  slope = jax.grad(loss)(jnp.float32(log_p))
  assert slope[0, 0, named[0, 0, 0]] == 0
  assert np.count_nonzero(slope) == 3 * 4 * 2 - 1


def test_partial_pays_for_more_on_the_candidates_than_the_teacher_has():
  log_p, log_q = np.log([[0.6, 0.4, 1e-9]]), np.log([[0.5, 0.3, 0.2]])
  named = np.array([[0, 1]])
  fn = distillation.partial_divergence
  found = divergence(fn, jnp.float32(log_p), log_q, named)
  wanted = 0.5 * np.log(0.5 / 0.6) + 0.3 * np.log(0.3 / 0.4)
  np.testing.assert_allclose(found, [wanted], rtol=1e-5)
  assert wanted < 0


@pytest.mark.parametrize(
  'name',
  [
    *('generalised_divergence', 'renormalised_divergence'),
    'partial_divergence',
  ],
)
def test_agreement_and_no_candidates_are_zero_with_finite_slopes(name):
  log_p, _, named = rows(6, size=3)
  named[0] = -1
  fn = getattr(distillation, name)

  def loss(log_p):
    return jnp.sum(divergence(fn, log_p, jax.lax.stop_gradient(log_p), named))

  value, slope = jax.value_and_grad(loss)(jnp.float32(log_p))
  assert abs(value) < 1e-5 and np.all(np.isfinite(slope))
