from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.rewards import constraints
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, initial_credit

ROWS = 8


def _case(seed=0):
  rng = np.random.default_rng(seed)
  mask = np.arange(3) < rng.integers(1, 4, ROWS)[:, None]
  rollouts = policy.as_rollouts(np.zeros((ROWS, 3), int), mask)
  extras = {
    'greedy_reward': rng.random(ROWS),
    'old_logp': rng.standard_normal((ROWS, 3)),
    'ref_logp': rng.standard_normal((ROWS, 3)),
  }
  extras = {k: jnp.asarray(v, jnp.float32) for k, v in extras.items()}
  valid = jnp.asarray(np.arange(ROWS) != 5)
  rollouts = rollouts.replace(valid=valid, extras=extras)
  components = np.stack(
    [rng.random(ROWS), rng.random(ROWS) < 0.7, rng.random(ROWS) < 0.7], axis=1
  )
  scores = Scores(jnp.asarray(components, jnp.float32), jnp.ones(3))
  credit = initial_credit(rollouts, scores)
  return rollouts, credit.replace(rewards=credit.components[:, 0])


@pytest.mark.parametrize('kind', ['with_room', 'within'])
@pytest.mark.parametrize('seed', range(3))
def test_constrained_rewards_equal_the_loop(kind, seed):
  rollouts, credit = _case(seed)
  most = 1.5
  fn = partial(getattr(constraints, kind), most=most)
  found, _ = constraints.Constrained(fn).update(credit, rollouts, ())
  extras = {k: np.asarray(v, 'd') for k, v in rollouts.extras.items()}
  components = np.asarray(credit.components, 'd')
  for i in range(ROWS):
    kl = sum(
      extras['old_logp'][i, t] - extras['ref_logp'][i, t]
      for t in np.flatnonzero(np.asarray(rollouts.loss_mask)[i])
    )
    factor = {
      'with_room': max(0.0, 1 - kl / most),
      'within': float(kl <= most),
    }[kind]
    base = extras['greedy_reward'][i]
    gain = 1 / (1 + np.exp(base - components[i, 0]))
    passed = rollouts.valid[i] and all(components[i, 1:] > 0.5)
    expected = gain * factor if passed else 0.0
    np.testing.assert_allclose(found.rewards[i], expected, atol=1e-6)


def test_a_row_that_does_not_count_gets_no_reward_whatever_the_rule_gives():
  rollouts, credit = _case()
  stage = constraints.Constrained(lambda rewards, passed, rollouts: 1 + rewards)
  found, _ = stage.update(credit, rollouts, ())
  expected = np.where(rollouts.valid, 1 + credit.rewards, 0)
  np.testing.assert_array_equal(found.rewards, expected)


def test_batch_mean_is_over_the_rows_that_count():
  rewards = jnp.array([1.0, 3.0, 9.0])
  valid = jnp.array([True, True, False])
  found = constraints.minus_batch_mean(rewards, jnp.arange(3), valid)
  np.testing.assert_allclose(found, [-1, 1, 0])
  none = constraints.minus_batch_mean(rewards, jnp.arange(3), valid & False)
  np.testing.assert_array_equal(none, 0)


def test_the_best_accepted_row_is_found_where_a_sigmoid_is_full():
  """sigmoid(20) and sigmoid(30) are both 1 in float32."""
  rollouts, credit = _case()
  rollouts = rollouts.replace(
    group=jnp.arange(ROWS) // 4, valid=jnp.arange(ROWS) != 2
  )
  near = {**rollouts.extras, 'ref_logp': rollouts.extras['old_logp']}
  rollouts = rollouts.replace(extras=near)
  passed = jnp.array([1, 1, 1, 0, 0, 0, 0, 0.0])
  components = jnp.stack([passed, passed, passed], axis=1)
  credit = credit.replace(
    keep=jnp.ones(ROWS),
    components=components,
    rewards=jnp.array([20, 25, 40, 30, 1, 2, 3, 4.0]),
  )
  found, _ = constraints.BestAccepted().update(credit, rollouts, ())
  assert found.keep.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
  # Nor is a row too far from the reference.
  far = near['old_logp'] - jnp.where(jnp.arange(ROWS) == 1, 20.0, 0)[:, None]
  rollouts = rollouts.replace(extras={**near, 'ref_logp': far})
  found, _ = constraints.BestAccepted(10.0).update(credit, rollouts, ())
  assert found.keep.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
