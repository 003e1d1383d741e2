import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import update
from jaxrl_llm.objectives import base, costs, surrogates
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Batch, Scores, initial_credit


def test_single_is_one_step_of_the_optimiser():
  def grad_fn(params, batch):
    grads = jax.grad(lambda p: jnp.sum((p - batch) ** 2))(params)
    return grads, {'loss': jnp.float32(1)}

  tx = optax.sgd(0.25)
  params, target = jnp.array([3.0, 4.0]), jnp.zeros(2)
  after, _, metrics = update.single(
    grad_fn, tx, params, tx.init(params), target
  )
  np.testing.assert_allclose(after, [1.5, 2.0])
  assert metrics['grad/norm'] == 10 and metrics['grad/norm_l1'] == 14
  assert metrics['loss'] == 1


@pytest.mark.parametrize(('kl', 'taken'), [(0.0, 1), (0.01, 1), (0.011, 0)])
def test_a_step_past_the_limit_is_not_taken(kl, taken):
  """Neither parameters nor the optimiser's memory move."""

  def grad_fn(params, batch):
    return params - batch, {
      'loss': jnp.float32(1),
      'policy/kl': jnp.float32(kl),
    }

  tx = optax.sgd(0.25, momentum=0.9)
  params = jnp.array([3.0, 4.0])
  opt = tx.init(params)
  after, opt, metrics = update.within(
    grad_fn, tx, params, opt, jnp.zeros(2), limit=0.01
  )
  np.testing.assert_allclose(after, params * (0.75 if taken else 1))
  np.testing.assert_allclose(jax.tree.leaves(opt)[0], params * taken)
  assert metrics['steps/taken'] == taken and metrics['grad/norm'] == 5


def _bandit():
  """A trie policy, the trust-region objective, and a fresh batch of rows."""
  objective = base.policy_gradient(
    surrogates.importance, trust=base.Cost(costs.trust_kl)
  )
  params = policy.init(jax.random.key(0), tasks=1, vocab=3, length=2)
  task = jnp.zeros(1, jnp.int32)
  rows = policy.sample(params, jax.random.key(1), task, samples=64)
  rewards = jnp.sum(rows.content.response == 2, -1) * 1.0
  credit = initial_credit(rows, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(
    advantages=jnp.where(rows.loss_mask, (rewards - rewards.mean())[:, None], 0)
  )
  weights = rows.loss_mask / jnp.sum(rows.loss_mask)
  batch = Batch(
    rollouts=rows,
    credit=credit,
    old_logp=rows.logp,
    fresh=jnp.ones(64, bool),
    weights=weights,
    row_weights=jnp.full(64, 1 / 64),
    share=weights,
    signal=credit.advantages != 0,
  )

  def grad_fn(params, batch):
    def loss(params):
      stats = policy.score(params, batch.rollouts)
      own = jax.lax.stop_gradient(stats.logp)
      old = jnp.where(batch.fresh[:, None], own, batch.old_logp)
      return objective.loss(
        stats, batch.replace(old_logp=old), {'trust': jnp.float32(1)}
      )

    return jax.grad(loss, has_aux=True)(params)

  return params, batch, grad_fn


def test_an_optimizer_may_ask_for_hessian_products_at_another_point():
  params, batch, grad_fn = _bandit()
  vector = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size) * 1.0), params)
  vector = jax.tree.map(lambda v, x: v.reshape(x.shape), vector, params)
  point = jax.tree.map(lambda x, v: x + 0.1 * v, params, vector)

  def ask(updates, state, params, *, hessian_product):
    return hessian_product(point, vector), state

  tx = optax.GradientTransformationExtraArgs(lambda params: (), ask)
  after, _, _ = update.single(grad_fn, tx, params, (), batch)
  stale = batch.replace(fresh=jnp.zeros(64, bool))

  def slope(length):
    moved = jax.tree.map(lambda x, v: x + length * v, point, vector)
    return grad_fn(moved, stale)[0]

  ahead, behind = slope(1e-2), slope(-1e-2)
  for name in params:
    expected = (ahead[name] - behind[name]) / 2e-2
    found = after[name] - params[name]
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-4)


def _step(**hyper):
  params, batch, grad_fn = _bandit()
  tx = optax.sgd(1.0)

  @jax.jit
  def step(params, batch):
    return update.trust_region(
      grad_fn, tx, params, tx.init(params), batch, **hyper
    )

  after, _, metrics = step(params, batch)
  stale = batch.replace(fresh=jnp.zeros(64, bool))
  return params, after, metrics, grad_fn(after, stale)[1], grad_fn, batch


def test_trust_region_step_improves_and_stays_inside():
  _, _, metrics, after, _, _ = _step(limit=0.01)
  assert metrics['trust/tries'] <= 3
  assert after['loss/policy'] < metrics['loss/policy']
  # To second order the step lies on the boundary, before it is shrunk.
  assert 0.002 < after['loss/trust'] <= 0.01


def test_small_trust_region_steps_follow_the_exact_natural_gradient():
  before, after, metrics, _, grad_fn, batch = _step(limit=1e-4, damping=0.1)
  logits = before['logits']
  gradient = grad_fn(before, batch)[0]['logits'].ravel()

  def divergence(flat):
    params = {**before, 'logits': flat.reshape(logits.shape)}
    logp = policy.score(params, batch.rollouts).logp
    d = logp - policy.score(before, batch.rollouts).logp
    return jnp.sum(batch.weights * (jnp.exp(d) - 1 - d))

  fisher = jax.hessian(divergence)(logits.ravel())
  damped = fisher + 0.1 * jnp.eye(logits.size)
  natural = jnp.linalg.solve(damped, gradient)
  length = jnp.sqrt(2e-4 / (natural @ damped @ natural))
  moved = (after['logits'] - logits).ravel()
  tries = float(metrics['trust/tries'])
  expected = -natural * length * 0.5 ** (tries - 1)
  np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)


def test_a_step_that_is_too_long_is_halved_until_it_fits():
  """By x^2 / 2 it would be 2, but the divergence grows faster than that."""
  _, batch, _ = _bandit()

  def grad_fn(x, batch):
    wanted = jnp.any(batch.credit.advantages != 0)

    def loss(x):
      trust = jnp.sum(x**2 / 2 + 3 * x**4)
      gain = jnp.sum(x)
      return trust - wanted * gain, {'loss/policy': -gain, 'loss/trust': trust}

    return jax.grad(loss, has_aux=True)(x)

  tx, x = optax.sgd(1.0), jnp.zeros(1)
  after, _, metrics = update.trust_region(
    grad_fn, tx, x, tx.init(x), batch, limit=2.0, damping=0.0
  )
  # At 2 it is 50, at 1 it is 3.5, and at 1/2 it is 0.3.
  np.testing.assert_allclose(after, [0.5], rtol=1e-5)
  assert metrics['trust/tries'] == 3


def test_a_trust_region_nothing_fits_into_moves_nothing():
  before, after, metrics, _, _, _ = _step(limit=0.01, tries=0)
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert metrics['trust/step'] == 0


def test_no_advantage_moves_nothing():
  params, batch, grad_fn = _bandit()
  credit = batch.credit
  credit = credit.replace(advantages=jnp.zeros_like(credit.advantages))
  tx = optax.sgd(1.0)
  after, _, _ = update.trust_region(
    grad_fn, tx, params, tx.init(params), batch.replace(credit=credit)
  )
  jax.tree.map(np.testing.assert_array_equal, params, after)


def test_trust_region_without_its_cost_is_refused():
  def grad_fn(params, batch):
    return params, {'loss/policy': jnp.float32(0)}

  tx = optax.sgd(1.0)
  with pytest.raises(ValueError, match='needs the cost trust'):
    update.trust_region(grad_fn, tx, jnp.ones(2), tx.init(jnp.ones(2)), None)
