import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import regret

LOSSES = np.random.default_rng(0).random((6, 3)).astype('f')
POLICIES = np.random.default_rng(1).dirichlet(np.ones(3), 6).astype('f')


def test_regrets_equal_their_loops():
  paid = sum(LOSSES[t] @ POLICIES[t] for t in range(6))
  fixed = min(sum(LOSSES[t, a] for t in range(6)) for a in range(3))
  moving = sum(min(LOSSES[t]) for t in range(6))
  np.testing.assert_allclose(
    regret.regret(LOSSES, POLICIES), paid - fixed, rtol=1e-5
  )
  np.testing.assert_allclose(
    regret.dynamic_regret(LOSSES, POLICIES), paid - moving, rtol=1e-5
  )


@pytest.mark.parametrize('hyper', [{}, {'focus': 3.0, 'power': 1.0}])
def test_regret_loss_equals_the_loop(hyper):
  regrets = np.array([0.5, -1.0, 2.0, 0.0])
  focus, power = hyper.get('focus', 1.0), hyper.get('power', 2.0)
  top = sum(max(r, 0) ** (power + focus) for r in regrets)
  expected = top / sum(max(r, 0) ** focus for r in regrets)
  found = regret.regret_loss(jnp.asarray(regrets, 'f'), **hyper)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_regret_loss_of_one_or_no_regret_and_of_the_worst_game():
  np.testing.assert_allclose(regret.regret_loss(jnp.array([3.0])), 9.0)
  none = jax.value_and_grad(regret.regret_loss)(jnp.array([-1.0, 0.0]))
  assert none[0] == 0 and np.all(np.isfinite(none[1]))
  worst = regret.regret_loss(jnp.array([0.5, 2.0]), focus=200.0)
  np.testing.assert_allclose(worst, 4.0, rtol=1e-5)


def test_on_simplex_is_the_nearest_law():
  rng = np.random.default_rng(0)
  for point in rng.standard_normal((5, 3)):
    found = np.asarray(regret.on_simplex(jnp.asarray(point, 'f')))
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    laws = rng.dirichlet(np.ones(3), 4000)
    nearest = np.min(np.sum((laws - point) ** 2, axis=1))
    assert np.sum((found - point) ** 2) <= nearest + 1e-6


def test_the_regularised_leader_has_regret_of_the_square_root_of_time():
  losses = jnp.asarray(np.random.default_rng(0).random((400, 3)), 'f')
  policies = regret.regularised_leader(losses, step_size=0.05)
  np.testing.assert_allclose(policies[0], 1 / 3, rtol=1e-5)
  # 1 / step + step T A / 2 bounds it.
  assert regret.regret(losses, policies) <= 1 / 0.05 + 0.05 * 400 * 3 / 2
