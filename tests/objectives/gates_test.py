import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import gates, surrogates
from jaxrl_llm.reads import reads_of
from jaxrl_llm.selection import weights
from tests.objectives import cases
from tests.oracles import gates as oracle
from tests.oracles import surrogates as surrogate_oracle

_CASES = [
  (gates.two_side, {}),
  (gates.one_side, {}),
  (gates.one_side, {'low': 0.1, 'high': 0.6}),
  (gates.ring, {}),
  (gates.ring, {'far_low': 0.3, 'far_high': 0.3}),
  (gates.sequence_one_side, {}),
  (gates.sequence_one_side, {'low': 0.2, 'high': 0.1}),
  (gates.exponential_advantage, {'temperature': 0.5}),
  (gates.gains, {}),
  (gates.leftover_tokens, {'clip': 0.3}),
  (gates.chance, {}),
  (gates.doubt, {}),
  (gates.doubt, {'most': 0.5}),
  (gates.shaped_chance, {'gamma': 0.3}),
  (gates.truncated_importance, {}),
  (gates.sequence_truncated_importance, {'cap': 5.0}),
  (gates.masked_importance, {}),
  (gates.masked_importance, {'floor': 0.8, 'cap': 1.2}),
  (gates.sequence_masked_importance, {'floor': 0.7, 'cap': 1.3}),
  (gates.product_masked_importance, {}),
  (gates.product_masked_importance, {'floor': 0.3, 'cap': 9.0}),
]


@pytest.mark.parametrize(('fn', 'hyper'), _CASES)
@pytest.mark.parametrize('seed', [0, 1])
def test_values_equal_the_loops(fn, hyper, seed):
  cases.check_loops(oracle, fn, hyper, seed, rtol=1e-5)


@pytest.mark.parametrize(
  'fn',
  [
    gates.truncated_importance,
    gates.sequence_truncated_importance,
    gates.masked_importance,
    gates.sequence_masked_importance,
    gates.product_masked_importance,
  ],
)
def test_a_sampler_that_equals_the_learner_needs_no_correction(fn):
  logp, old, advantages, mask = cases.single(cases.inputs())
  weights = fn(logp, old, advantages, mask, sampler_logp=old)
  np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize(
  ('fn', 'hyper'),
  [
    (gates.sequence_one_side, {'low': 0.1, 'high': 0.1}),
    (gates.sequence_truncated_importance, {'cap': 1.5}),
    (gates.sequence_masked_importance, {'floor': 0.9, 'cap': 1.1}),
    (gates.product_masked_importance, {'cap': 1.6}),
  ],
)
def test_gates_of_whole_responses_do_not_count_padding(fn, hyper):
  """Two tokens at a ratio of 1.3: outside, unless blanks are averaged in."""
  mask = np.arange(8) < np.array([[2], [8]])
  d = np.where(mask, np.log(1.3), 0.0)
  zeros, ones = np.zeros(mask.shape), np.ones(mask.shape)
  extra = {'sampler_logp': -d} if reads_of(fn) else {}
  now = zeros if extra else d
  gate = np.asarray(
    fn(*cases.single([now, zeros, ones, mask]), **extra, **hyper)
  )
  expected = {'sequence_truncated_importance': 1.5}.get(fn.__name__, 0.0)
  np.testing.assert_allclose(gate[mask], expected, rtol=1e-6)


def test_one_sided_importance_has_the_gradient_of_clip():
  logp, old, advantages, mask = cases.single(cases.inputs())
  rest = (old, advantages, mask)
  bounds = {'low': 0.2, 'high': 0.3}

  def gated(logp):
    gate = gates.one_side(jax.lax.stop_gradient(logp), *rest, **bounds)
    weighted = surrogates.clip_weight(logp, *rest, low=1.0, high=np.inf)
    return jnp.sum(mask * gate * weighted)

  def clipped(logp):
    return jnp.sum(mask * surrogates.clip(logp, *rest, **bounds))

  np.testing.assert_allclose(
    jax.grad(gated)(logp), jax.grad(clipped)(logp), rtol=1e-5
  )


def test_likelihood_gated_by_the_chance_has_the_gradient_of_the_chance():
  logp = jnp.log(jnp.array([[0.1, 0.6]]))
  rest = 0 * logp, 1 + 0 * logp, logp < 0

  def loss(logp):
    gate = gates.chance(jax.lax.stop_gradient(logp), *rest)
    return jnp.sum(gate * surrogates.score_function(logp, *rest))

  expected = jax.grad(lambda x: -jnp.sum(jnp.exp(x)))(logp)
  np.testing.assert_allclose(jax.grad(loss)(logp), expected, rtol=1e-6)


def test_top_covariance_picks_the_largest():
  (logp, _, advantages, mask), _ = cases.arrays_of(gates.one_side)
  share = mask / mask.sum()
  cov = surrogate_oracle.covariances(logp, advantages, share)
  expected = sorted(cov, key=cov.get, reverse=True)[: int(0.2 * len(cov))]
  chosen = gates.top_covariance(
    *cases.single([logp, advantages, share]), fraction=0.2
  )
  assert {tuple(i) for i in np.argwhere(chosen)} == {
    tuple(int(x) for x in it) for it in expected
  }


def _clip_cov(arrays, extra, **hyper):
  return gates.unclipped_covariance(
    *cases.single(arrays), **extra, least=0.0, most=5.0, **hyper
  )


def test_clip_cov_silences_the_asked_number_of_candidates():
  arrays, extra = cases.arrays_of(gates.unclipped_covariance)
  logp, old, advantages, mask = arrays
  gate = np.asarray(_clip_cov(arrays, extra, fraction=0.1))
  cov = surrogate_oracle.covariances(logp, advantages, extra['share'])
  passes = oracle.one_side(logp, old, advantages, mask)
  candidates = {it for it, c in cov.items() if 0.0 < c < 5.0 and passes[it]}
  assert len(candidates) > 3
  silent = {tuple(i) for i in np.argwhere(gate == 0)}
  assert silent <= {tuple(int(x) for x in it) for it in candidates}
  assert len(silent) == max(int(0.1 * mask.sum()), 1)
  assert set(np.unique(gate)) == {0.0, 1.0}


def test_clip_cov_takes_all_candidates_when_there_are_too_few():
  arrays, extra = cases.arrays_of(gates.unclipped_covariance)
  logp, old, advantages, mask = arrays
  cov = surrogate_oracle.covariances(logp, advantages, extra['share'])
  passes = oracle.one_side(logp, old, advantages, mask)
  candidates = [it for it, c in cov.items() if 0.0 < c < 5.0 and passes[it]]
  gate = _clip_cov(arrays, extra, fraction=1.0)
  assert int(np.sum(gate == 0)) == len(candidates)


def test_clip_cov_draws_by_content_not_by_slot():
  arrays, extra = cases.arrays_of(gates.unclipped_covariance)
  order = np.random.default_rng(3).permutation(len(arrays[0]))
  moved = [x[order] for x in arrays]
  moved_extra = {k: x[order] for k, x in extra.items()}
  gate = _clip_cov(arrays, extra, fraction=0.1)
  np.testing.assert_array_equal(
    np.asarray(gate)[order], _clip_cov(moved, moved_extra, fraction=0.1)
  )


def test_draws_are_those_of_the_hash_in_whole_numbers():
  """Of machine and version they must not depend: a run is gone on with."""
  tokens, task = np.array([[0, 1, 40000], [7, 151000, 2]]), [0, 3]
  found = gates._draws(jnp.asarray(tokens), jnp.asarray(task))
  for i, t in np.ndindex(2, 3):
    h = (task[i] + 1) * 2246822519
    for column, token in enumerate(tokens[i, : t + 1].tolist()):
      word = (token + 1) * 2654435761 * (2 * column + 1) % 2**32
      h += word * (word // 2**15 | 1)
    h %= 2**32
    for bits, factor in ((16, 2146121005), (15, 2221713035)):
      h = (h ^ h >> bits) * factor % 2**32
    assert found[i, t] == ((h ^ h >> 16) >> 8) / 2**24


def test_draws_are_uniform_and_differ_between_prefixes():
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, 1000, (64, 32))
  draws = np.asarray(gates._draws(tokens, np.arange(64)))
  assert np.unique(draws).size > 0.999 * draws.size
  # 2048 uniform draws: the mean's standard error is 0.0064.
  assert abs(draws.mean() - 0.5) < 0.03
  counts, _ = np.histogram(draws, 8, (0, 1))
  assert counts.min() > 180 and counts.max() < 340


def test_a_guides_tokens_leave_the_policys_gradient():
  arrays = cases.inputs()
  guide = np.random.default_rng(0).random(arrays[-1].shape) < 0.5
  gate = gates.own_tokens(*cases.single(arrays), guide=guide)
  np.testing.assert_array_equal(gate, 1.0 - guide)


def test_a_product_gives_each_gate_what_it_takes():
  first = functools.partial(gates.unclipped_covariance, fraction=0.2)
  second = functools.partial(gates.truncated_importance, cap=1.1)
  product = gates.Product(first, second)
  assert product.reads == {'share', 'tokens', 'task', 'sampler_logp'}
  arrays, extra = cases.arrays_of(product)
  sampler_logp = extra.pop('sampler_logp')
  some = np.asarray(first(*arrays, **extra))
  weights = oracle.truncated_importance(
    *arrays, sampler_logp=sampler_logp, cap=1.1
  )
  found = np.asarray(product(*arrays, sampler_logp=sampler_logp, **extra))
  mask = np.asarray(arrays[-1])
  np.testing.assert_allclose(found[mask], (some * weights)[mask], rtol=1e-5)


@pytest.mark.parametrize(
  'by', [weights.best_alone, weights.best_and_worst, weights.best_and_random]
)
def test_a_filter_leaves_as_many_rows_as_there_are(by):
  logp, old, advantages, mask = cases.single(cases.inputs())
  rows = len(mask)
  rewards = jnp.arange(rows) % 3 * 1.0
  group, valid = jnp.arange(rows) // 2, jnp.arange(rows) != 1
  drawn = gates.filtered(
    logp,
    old,
    advantages,
    mask,
    rewards=rewards,
    group=group,
    valid=valid,
    by=by,
  )
  each = np.where(valid, by(rewards, group, valid), 0)
  count = np.bincount(group, valid)[group]
  np.testing.assert_allclose(
    drawn, np.where(mask, (count * each)[:, None], 0), rtol=1e-6
  )
  np.testing.assert_allclose(
    np.bincount(group, count * each), np.bincount(group, valid), rtol=1e-6
  )
