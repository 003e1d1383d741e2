import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.policies.language import truncation
from jaxrl_llm.policies.language.truncation import Sampling
from tests.oracles import truncation as oracle

_SETTINGS = [
  {},
  {'temperature': 0.6},
  {'top_k': 4},
  {'top_p': 0.7},
  {'min_p': 0.2},
  {'temperature': 1.4, 'top_k': 9, 'top_p': 0.8, 'min_p': 0.1},
  {'temperature': 0.7, 'support': 8},
  {'top_k': 3, 'top_p': 0.9, 'support': 6},
  {'temperature': 0.0},
  {'temperature': 0.0, 'support': 4},
]


_TRACED = []


@functools.partial(jax.jit, static_argnames='support')
def _draw(logits, uniform, sampling, support=0):
  _TRACED.append(support)
  return truncation.draw(logits, uniform, sampling, support=support)


def _drawn(logits, uniform, support=0, **values):
  sampling = Sampling(**values).checked()
  return _draw(jnp.asarray(logits), jnp.asarray(uniform), sampling, support)


def _logits(rows, vocab, seed=0):
  return np.random.default_rng(seed).normal(0, 2, (rows, vocab)).astype('f')


def _uniform(rows, seed=0):
  return jax.random.uniform(jax.random.key(seed), (rows, 2))


@pytest.mark.parametrize('values', _SETTINGS, ids=str)
def test_logp_and_mass_equal_the_oracle(values):
  logits = _logits(64, 37)
  got = _drawn(logits, _uniform(64), **values)
  for row, token, logp, mass in zip(logits, got.token, got.logp, got.log_mass):
    p, log_mass = oracle.probabilities(row, **values)
    np.testing.assert_allclose(logp, np.log(p[token]), atol=3e-6)
    np.testing.assert_allclose(mass, log_mass, atol=3e-6)


@pytest.mark.parametrize('values', _SETTINGS, ids=str)
def test_frequencies_follow_the_exact_distribution(values):
  """Chi-square at a fixed key: exceeded once in 10**5 by a right sampler."""
  draws, vocab = 20_000, 21
  row = _logits(1, vocab, seed=3)
  logits = np.repeat(row, draws, 0)
  tokens = np.asarray(_drawn(logits, _uniform(draws, 1), **values).token)
  p, _ = oracle.probabilities(row[0], **values)
  counts = np.bincount(tokens, minlength=vocab)
  assert not counts[p == 0].any()
  expected = draws * p[p > 0]
  statistic = np.sum((counts[p > 0] - expected) ** 2 / expected)
  degrees = len(expected) - 1
  assert statistic < degrees + 4.5 * np.sqrt(2 * degrees) + 9


@pytest.mark.parametrize('values', _SETTINGS[6:8] + _SETTINGS[9:], ids=str)
def test_support_is_the_kept_set(values):
  logits = _logits(16, 37)
  got = _drawn(logits, _uniform(16), **values)
  for row, ids, token in zip(logits, np.asarray(got.support), got.token):
    p, _ = oracle.probabilities(row, **values)
    kept = ids[ids >= 0]
    assert ids.shape == (values['support'],)
    assert set(kept) == set(np.flatnonzero(p))
    assert int(token) in kept
    assert list(row[kept]) == sorted(row[kept], reverse=True)


def test_greedy_takes_the_first_of_tied_tokens():
  logits = np.array([[0.0, 2.0, 2.0, 1.0], [-np.inf, -5.0, -5.0, -np.inf]], 'f')
  for support in (0, 3):
    got = _drawn(logits, _uniform(2), temperature=0.0, support=support)
    np.testing.assert_array_equal(got.token, [1, 1])
    np.testing.assert_array_equal(got.logp, [0.0, 0.0])
    np.testing.assert_array_equal(got.log_mass, [0.0, 0.0])


def test_ties_at_the_threshold_are_kept_together():
  logits = np.zeros((512, 8), 'f')
  for values in ({'top_k': 3}, {'top_p': 0.3}, {'min_p': 1.0}):
    got = _drawn(logits, _uniform(512), **values)
    assert set(np.asarray(got.token)) == set(range(8))
    np.testing.assert_allclose(got.logp, -np.log(8), rtol=1e-6)


@pytest.mark.parametrize(
  ('values', 'kept'),
  [
    # Weights 1, 1/2, 1/4, 1/4: half of the mass, three quarters, all.
    ({'top_p': 0.5}, 1),
    ({'top_p': 0.75}, 2),
    ({'top_p': 0.5 - 2**-20}, 1),
    ({'top_p': 0.5 + 2**-20}, 2),
    ({'top_p': 0.75 + 2**-20}, 4),
    ({'top_k': 1}, 1),
    ({'top_k': 2}, 2),
    ({'top_k': 3}, 4),
    ({'min_p': 0.5}, 2),
    ({'min_p': 0.5 + 2**-20}, 1),
    ({'min_p': 0.25}, 4),
  ],
  ids=str,
)
def test_a_threshold_that_is_met_exactly_is_met(values, kept):
  weights = np.array([[0.25, 1.0, 0.25, 0.5]], 'f')
  sampling = Sampling(**values).checked()
  got = np.asarray(truncation.truncate(jnp.asarray(weights), sampling))
  largest = np.sort(weights)[:, ::-1][:, :kept]
  np.testing.assert_array_equal(
    got, np.where(weights >= largest.min(), weights, 0)
  )
  assert np.count_nonzero(got) == kept


@pytest.mark.parametrize('seed', range(4))
def test_top_p_keeps_the_fewest_tokens_whose_mass_is_enough(seed):
  """Just below and just above the share of every number of tokens."""
  weights = np.random.default_rng(seed).random(37).astype('f')
  weights = np.sort(weights / weights.max())[::-1]
  share = np.cumsum(weights, dtype='d') / np.sum(weights, dtype='d')
  truncate = jax.jit(
    lambda p: truncation.truncate(weights[None], Sampling(top_p=p))
  )
  for number in range(1, 36):
    # Float32 sums of 37 weights are exact to about 1e-6.
    for side, kept in ((-2e-6, number), (2e-6, number + 1)):
      got = truncate(jnp.float32(share[number - 1] + side))[0]
      np.testing.assert_array_equal(
        got, np.where(np.arange(37) < kept, weights, 0)
      )


def test_settings_that_keep_all_are_off():
  logits = _logits(64, 37)
  plain = _drawn(logits, _uniform(64))
  for values in ({'top_k': 37}, {'top_k': 10**6}, {'top_p': 1.0}):
    got = _drawn(logits, _uniform(64), **values)
    jax.tree.map(np.testing.assert_array_equal, got, plain)
  np.testing.assert_array_equal(plain.log_mass, np.zeros(64))


def test_forbidden_tokens_are_never_drawn():
  logits = _logits(256, 40)
  logits[:, ::2] = -np.inf
  for values in ({}, {'top_k': 30}, {'top_p': 0.999}, {'support': 30}):
    got = _drawn(logits, _uniform(256), **values)
    assert np.all(np.asarray(got.token) % 2 == 1)
    assert np.all(np.isfinite(got.logp))
    if 'support' in values:
      assert np.all(np.sum(np.asarray(got.support) >= 0, -1) == 20)


def test_a_row_without_any_logit_counts_as_uniform():
  logits = np.full((64, 5), -np.inf, 'f')
  got = _drawn(logits, _uniform(64))
  assert len(set(np.asarray(got.token))) == 5
  np.testing.assert_allclose(got.logp, -np.log(5), rtol=1e-6)


@pytest.mark.parametrize('temperature', [1e-45, 1e-38, 1e-30, 1e-6, 1e6])
def test_extreme_temperatures_are_total(temperature):
  logits = _logits(64, 37) * 100
  logits[:, 5] = -np.inf
  got = _drawn(logits, _uniform(64), temperature=temperature, top_p=0.9)
  assert np.all(np.isfinite(got.logp)) and np.all(np.isfinite(got.log_mass))
  if temperature < 1:
    np.testing.assert_array_equal(got.token, np.argmax(logits, -1))


def test_the_ends_of_the_unit_interval_draw_the_ends_of_the_support():
  logits = np.zeros((2, 300), 'f')
  logits[:, [0, 1, 298, 299]] = -np.inf
  ends = np.array([[0.0, 0.0], [1 - 2.0**-23] * 2], 'f')
  np.testing.assert_array_equal(_drawn(logits, ends).token, [2, 297])


@settings(max_examples=60, deadline=None)
@given(
  logits=st.lists(
    st.floats(-60, 60, width=32) | st.just(-np.inf), min_size=12, max_size=12
  ),
  temperature=st.sampled_from([0.0, 1e-3, 0.5, 1.0, 5.0]),
  top_k=st.integers(0, 14),
  top_p=st.floats(0.01, 1.0),
  min_p=st.floats(0.0, 1.0),
  support=st.sampled_from([0, 1, 7]),
  seed=st.integers(0, 99),
)
def test_every_draw_is_from_its_own_support(logits, support, seed, **values):
  logits = np.array([logits] * 4, 'f')
  free = _drawn(logits, _uniform(4, seed), support=support, **values)
  assert np.all((0 <= free.token) & (free.token < 12))
  assert np.all(np.isfinite(free.logp)) and np.all(free.logp <= 1e-6)
  assert np.all(free.log_mass <= 0)
  if np.any(logits > -np.inf):
    assert np.all(logits[np.arange(4), free.token] > -np.inf)
  if support:
    assert np.all(np.any(free.support == free.token[:, None], -1))


def test_values_are_traced():
  _draw.clear_cache()
  _TRACED.clear()
  for values in _SETTINGS[:6]:
    _drawn(_logits(8, 37), _uniform(8), **values)
  _drawn(_logits(8, 37), _uniform(8), temperature=1, top_p=1, min_p=0)
  assert _TRACED == [0]


@pytest.mark.parametrize(
  'values',
  [{'temperature': -0.5}, {'top_k': -1}, {'top_p': 0.0}, {'min_p': 1.5}],
  ids=str,
)
def test_values_out_of_range_are_named(values):
  ((name, value),) = values.items()
  with pytest.raises(ValueError, match=f'{name} {value} must be'):
    Sampling(**values).checked()


def test_a_support_larger_than_the_vocabulary_is_named():
  with pytest.raises(ValueError, match=r'support 9 is not in \[0, 4\]'):
    _drawn(_logits(1, 4), _uniform(1), support=9)


@pytest.mark.parametrize(('share', 'least'), [(0.6, 1), (0.6, 9), (1.0, 2)])
def test_nucleus_has_the_share_and_the_number(share, least):
  logits = _logits(32, 37)
  found = np.asarray(truncation.nucleus(jnp.asarray(logits), share, least))
  wanted = [oracle.nucleus(row, share, least) for row in logits]
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  'values', [{}, {'temperature': 0.7, 'top_p': 0.8, 'support': 8}], ids=str
)
def test_only_what_is_allowed_is_drawn_and_all_else_counts_as_dropped(values):
  logits = _logits(32, 37)
  allowed = np.random.default_rng(1).random((32, 37)) < 0.3
  # A row whose likeliest tokens are all forbidden by far.
  logits[0] = np.where(allowed[0], logits[0] - 200, logits[0])
  support = values.get('support', 0)
  rest = {name: x for name, x in values.items() if name != 'support'}
  got = truncation.draw(
    jnp.asarray(logits),
    _uniform(32),
    Sampling(**rest).checked(),
    support=support,
    allowed=jnp.asarray(allowed),
  )
  assert allowed[np.arange(32), np.asarray(got.token)].all()
  for i, (token, logp) in enumerate(zip(got.token, got.logp)):
    p, log_mass = oracle.probabilities(logits[i], allowed=allowed[i], **values)
    np.testing.assert_allclose(logp, np.log(p[token]), atol=1e-5)
    np.testing.assert_allclose(got.log_mass[i], log_mass, rtol=1e-5, atol=1e-5)
    if support:
      kept = got.support[i][got.support[i] >= 0]
      assert sorted(kept.tolist()) == np.flatnonzero(p).tolist()


def test_a_rows_temperature_follows_its_entropy():
  """Each row is drawn as at the temperature that its entropy gives."""
  logits = _logits(32, 37) * np.linspace(0.1, 4, 32, dtype='f')[:, None]
  z = logits / 0.8
  p = np.exp(z - np.log(np.exp(z).sum(1, keepdims=True)))
  e = np.log(-(p * np.log(p)).sum(1))
  scale = (0.5, 0.6, -1.5)
  wanted = np.where(e > 0.5, (e - 0.5) / 0.6, (e - 0.5) / 1.5)
  heats = 0.8 * (1 + 0.4 * np.clip(wanted, -1, 1))
  assert (wanted < -1).any() and (wanted > 1).any()
  values = {'temperature': 0.8, 'top_p': 0.9}
  sampling = Sampling(**values, swing=0.4, scale=scale).checked()
  got = _draw(jnp.asarray(logits), _uniform(32), sampling)
  for row, heat, token, logp in zip(logits, heats, got.token, got.logp):
    p, _ = oracle.probabilities(row, **values | {'temperature': heat})
    np.testing.assert_allclose(logp, np.log(p[token]), atol=1e-4)
