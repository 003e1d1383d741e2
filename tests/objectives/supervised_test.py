import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import group as estimators
from jaxrl_llm.objectives import supervised
from jaxrl_llm.reads import reads_of
from tests.objectives import cases
from tests.oracles import supervised as oracle


def _arrays(fn, seed=0):
  arrays = cases.inputs(seed)
  return arrays, {k: cases.extras(arrays[-1])[k] for k in reads_of(fn)}


def _slope(arrays, extra, **hyper):
  logp, old, advantages, mask = cases.single(arrays)

  def total(logp):
    losses = supervised.implicit_negative(
      logp, old, advantages, mask, **extra, **hyper
    )
    return jnp.sum(jnp.where(mask, losses, 0)), losses

  (_, losses), slope = jax.value_and_grad(total, has_aux=True)(logp)
  return losses, slope


@pytest.mark.parametrize('spread', [0.0, 0.5])
@pytest.mark.parametrize('seed', [0, 1])
def test_implicit_negative_equals_the_loops(spread, seed):
  arrays, extra = _arrays(supervised.implicit_negative, seed)
  ours = _slope(arrays, extra, spread=spread)
  theirs = oracle.implicit_negative(*arrays, **extra, spread=spread)
  for a, b in zip(ours, theirs):
    a = np.where(arrays[-1], a, 0)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_reward_of_exactly_the_bound_is_a_failure():
  arrays, extra = _arrays(supervised.implicit_negative)
  half = extra | {'rewards': np.maximum(extra['rewards'], 0.5)}
  for a, b in zip(_slope(arrays, half), _slope(arrays, extra)):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('spread', 'estimator'),
  [
    (0.0, estimators.centre),
    (0.5, functools.partial(estimators.norm, epsilon=0.0, ddof=0)),
  ],
)
def test_on_policy_it_is_group_relative(spread, estimator):
  (logp, _, _, mask), extra = _arrays(supervised.implicit_negative)
  extra['rewards'] = np.array([1.0, 0, 0, 1, 1, 0, 1, 1])
  advantages = estimator(
    jnp.asarray(extra['rewards'], jnp.float32),
    jnp.asarray(extra['group']),
    jnp.asarray(extra['valid']),
  )
  _, slope = _slope((logp, logp, logp, mask), extra, spread=spread)
  counted = mask & extra['valid'][:, None]
  expected = -np.where(counted, np.asarray(advantages)[:, None], 0)
  np.testing.assert_allclose(np.where(counted, slope, 0), expected, rtol=1e-5)


def test_a_failure_stops_moving_ten_nats_above_the_old_policy():
  old, mask = np.zeros((2, 2)), np.ones((2, 2), bool)
  logp = np.array([[0.0, 0.0], [9.9, 10.1]])
  extra = {
    'rewards': np.array([1.0, 0.0]),
    'group': np.zeros(2, np.int32),
    'valid': np.ones(2, bool),
  }
  _, slope = _slope((logp, old, old, mask), extra)
  assert slope[1, 0] > 1e3 and slope[1, 1] == 0


@pytest.mark.parametrize('rewards', [0.0, 1.0])
def test_uniform_groups_far_from_the_old_policy_are_finite(rewards):
  (logp, _, a, mask), extra = _arrays(supervised.implicit_negative)
  extra['rewards'] = np.full(8, rewards)
  for move in (-200.0, 200.0):
    for x in _slope((logp + move, logp, a, mask), extra):
      assert np.all(np.isfinite(x))


@pytest.mark.parametrize(
  'fn',
  [
    supervised.balanced_signs,
    supervised.graded_signs,
    supervised.leftover_importance,
  ],
)
def test_gates_equal_the_loops(fn):
  arrays, extra = _arrays(fn)
  ours = jax.jit(fn)(*cases.single(arrays), **extra)
  theirs = getattr(oracle, fn.__name__)(*arrays, **extra)
  mask = arrays[-1]
  np.testing.assert_allclose(np.where(mask, ours, 0), theirs, rtol=1e-5)


@pytest.mark.parametrize('sign', [-1.0, 0.0, 1.0])
def test_balanced_signs_of_one_sign_are_finite(sign):
  (logp, old, a, mask), extra = _arrays(supervised.balanced_signs)
  arrays = (logp, old, sign * np.abs(a), mask)
  assert np.all(np.isfinite(supervised.balanced_signs(*arrays, **extra)))


def test_certain_grades_leave_balanced_signs_of_the_settled_side():
  arrays, extra = _arrays(supervised.graded_signs)
  mask, a = arrays[-1], arrays[2]
  extra['old_values'] = np.full(mask.shape, 50.0)
  ours = supervised.graded_signs(*cases.single(arrays), **extra)
  plain = supervised.balanced_signs(*cases.single(arrays), share=extra['share'])
  expected = np.where(mask & (a > 0), plain, 0)
  np.testing.assert_allclose(np.where(mask, ours, 0), expected, rtol=1e-6)
