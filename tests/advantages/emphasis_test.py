import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import emphasis
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle

SPEC = Spec(16, 4, 1, 6)


def _signs(seed):
  return np.random.default_rng(seed).choice([-1.0, 0.5, 2.0, 0.0], 16)


@pytest.mark.parametrize('seed', range(6))
def test_conflicts_equal_a_walk_from_both_ends(seed):
  rng = np.random.default_rng(seed)
  rollouts = cases.rollouts(seed)
  mask = np.asarray(rollouts.response_mask)
  response = np.where(mask, rng.integers(0, 2, mask.shape), 0)
  advantages, group = _signs(seed), np.asarray(rollouts.group)
  forward, backward = jax.jit(emphasis.conflicts)(
    response, mask, advantages, group
  )
  gain = np.where(advantages > 0, 2.0, 0.0)[:, None]
  ours = np.where(forward, gain, 1.0) * np.where(backward, gain, 1.0)
  expected = oracle.gtpo_factors(response, mask.sum(axis=1), advantages, group)
  np.testing.assert_array_equal(ours, expected)
  assert np.any(expected == 4.0) or np.any(expected == 0.0)


def _shape(stage, state, rollouts, rows):
  credit = initial_credit(rollouts, Scores(jnp.zeros((16, 1)), jnp.ones(1)))
  spread = jnp.where(rollouts.loss_mask, jnp.asarray(rows)[:, None], 0)
  credit = credit.replace(advantages=spread)
  return jax.jit(stage.update)(credit, rollouts, state)


def test_conflict_aware_stage_equals_its_formula():
  entropy = np.random.default_rng(1).random((16, 6)).astype(np.float32)
  rollouts = cases.rollouts(3, old_entropy=entropy)
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  rows = _signs(3).astype(np.float32)
  stage = emphasis.ConflictAware(entropy_weight=0.3)
  credit, state = _shape(stage, stage.init(SPEC), rollouts, rows)
  mask = np.asarray(rollouts.loss_mask)
  mean = np.array(
    [e[m].mean() if m.any() else 0 for e, m in zip(entropy, mask)]
  )
  delta = np.where(
    (mean > np.log(2)) & (mean[mask.any(axis=1)].mean() < np.log(2)), 0.0, 1.0
  )
  factor = oracle.gtpo_factors(
    np.asarray(rollouts.content.response),
    np.asarray(rollouts.response_mask).sum(axis=1),
    rows,
    np.asarray(rollouts.group),
  )
  expected = factor * (delta * (rows - 0.3 * mean))[:, None]
  expected = np.where(mask, expected, 0)
  np.testing.assert_allclose(credit.advantages, expected, atol=1e-5)
  np.testing.assert_allclose(
    state['entropy'], mean[mask.any(axis=1)].mean(), rtol=1e-5
  )


def test_without_conflicts_and_entropy_weight_advantages_stay():
  entropy = np.full((16, 6), 0.5, np.float32)
  rollouts = cases.rollouts(3, old_entropy=entropy)
  distinct = jnp.arange(96, dtype=jnp.int32).reshape(16, 6)
  rollouts = rollouts.replace(
    content=rollouts.content.replace(response=distinct)
  )
  rows = _signs(3).astype(np.float32)
  stage = emphasis.ConflictAware(entropy_weight=0.0)
  credit, _ = _shape(stage, stage.init(SPEC), rollouts, rows)
  expected = np.where(rollouts.loss_mask, rows[:, None], 0)
  np.testing.assert_array_equal(credit.advantages, expected)


def test_entropy_of_the_first_iteration_is_remembered():
  stage = emphasis.ConflictAware()
  state = stage.init(SPEC)
  for value in (0.5, 3.0):
    rollouts = cases.rollouts(old_entropy=np.full((16, 6), value, 'f'))
    credit, state = _shape(stage, state, rollouts, np.ones(16, 'f'))
  np.testing.assert_allclose(state['entropy'], 0.5)
  # By now every row is more random than log 2, and none may train.
  np.testing.assert_array_equal(credit.advantages, 0.0)


@pytest.mark.parametrize('strength', [1.7, 3.0])
def test_focus_equals_its_oracle(strength):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(16, 6, 5))
  log_probs = np.asarray(jax.nn.log_softmax(logits), np.float32)
  rollouts = cases.digested(cases.rollouts(), log_probs, emphasis.focus)
  advantages = rng.normal(size=(16, 6)).astype(np.float32)
  mask = np.asarray(rollouts.loss_mask)
  ours = emphasis.focus(advantages, rollouts, strength=strength)
  weights = oracle.tw_grpo(
    log_probs, mask, np.asarray(rollouts.group), strength
  )
  expected = advantages * weights
  np.testing.assert_allclose(ours[mask], expected[mask], rtol=1e-3, atol=1e-4)


def test_focus_on_equal_distributions_changes_nothing():
  log_probs = np.full((16, 6, 5), -np.log(5), np.float32)
  rollouts = cases.digested(cases.rollouts(), log_probs, emphasis.focus)
  ours = emphasis.focus(jnp.ones((16, 6)), rollouts)
  np.testing.assert_allclose(ours, 1.0, rtol=1e-5)


def test_focus_of_strength_one_changes_nothing():
  rng = np.random.default_rng(0)
  log_probs = np.asarray(jax.nn.log_softmax(rng.normal(size=(16, 6, 5))))
  rollouts = cases.digested(cases.rollouts(), log_probs, emphasis.focus)
  ours = emphasis.focus(jnp.ones((16, 6)), rollouts, strength=1.0)
  np.testing.assert_array_equal(ours, 1.0)


def test_constrained_weights_equal_their_oracle():
  rng = np.random.default_rng(0)
  others = -rng.exponential(1.0, (16, 6, 2)).astype(np.float32)
  rollouts = cases.rollouts(constraint_logp=others)
  advantages = rng.normal(size=(16, 6)).astype(np.float32)
  ours = emphasis.constrained_regression(
    advantages, rollouts, weights=(0.5, 1.5)
  )
  expected = oracle.constrained_weights(
    advantages, np.asarray(rollouts.logp), others, (0.5, 1.5)
  )
  mask = np.asarray(rollouts.loss_mask)
  np.testing.assert_allclose(ours[mask], expected[mask], rtol=1e-4)


def test_constrained_weights_fit_the_optimum_of_the_constrained_problem():
  # One state of four actions: b pi* is the regression's target, up to scale,
  # and no other distribution does better on E[A] - sum_i l_i KL(pi || pi_i).
  rng = np.random.default_rng(0)
  advantages = rng.normal(size=4)
  behaviour, first, second = rng.dirichlet(np.ones(4), 3)
  multipliers = (0.5, 1.5)
  others = np.log(np.stack([first, second], axis=-1)).astype(np.float32)
  rollouts = cases.rollouts(tokens=4, groups=1)
  full = jnp.ones((4, 4), bool)
  rollouts = rollouts.replace(
    logp=jnp.tile(jnp.log(behaviour), (4, 1)), response_mask=full,
    action_mask=full, valid=full[0],
    extras={'constraint_logp': jnp.tile(others, (4, 1, 1))},
  )  # fmt: skip
  weights = emphasis.constrained_regression(
    jnp.tile(advantages, (4, 1)), rollouts, weights=multipliers
  )[0]
  best = np.asarray(behaviour * weights, np.float64)
  best /= best.sum()

  def value(p):
    cost = sum(
      l * np.sum(p * np.log(p / q))
      for l, q in zip(multipliers, (first, second))
    )
    return p @ advantages - cost

  for other in rng.dirichlet(np.ones(4), 200):
    assert value(best) >= value(other) - 1e-6
