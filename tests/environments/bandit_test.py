import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import bandit

KEY = jax.random.key(0)
MEANS = ((0.1, 0.7, 0.4), (0.9, 0.2, 0.5))


def pulls(environment, count=20_000):
  """f32[tasks, K, count]: rewards of every arm of every instance."""
  tasks, arms = np.shape(environment.means)
  task, arm = np.divmod(np.arange(tasks * arms * count) // count, arms)
  state = environment.reset(jnp.asarray(task, jnp.int32), KEY)
  _, outcome = environment.step(state, jnp.asarray(arm), KEY)
  return np.asarray(outcome.reward).reshape(tasks, arms, count)


@pytest.mark.parametrize(
  ('environment', 'spread'),
  [
    (bandit.Bernoulli(MEANS), np.sqrt(np.array(MEANS) * (1 - np.array(MEANS)))),
    (bandit.Gaussian(MEANS, spread=0.3), 0.3),
  ],
)
def test_rewards_have_their_means_and_spreads(environment, spread):
  found = pulls(environment)
  # 20,000 draws: five standard errors.
  bound = 5 * spread / np.sqrt(20_000)
  assert np.all(np.abs(found.mean(axis=-1) - MEANS) < bound)
  np.testing.assert_allclose(found.std(axis=-1), spread * np.ones((2, 3)),
                             atol=0.02)  # fmt: skip


def test_bernoulli_rewards_are_zero_or_one_and_certain_arms_certain():
  found = pulls(bandit.Bernoulli(((0.0, 0.5, 1.0),)), 1000)[0]
  assert set(np.unique(found)) == {0.0, 1.0}
  assert not found[0].any() and found[2].all()


def test_the_best_arm_and_what_the_others_give_away():
  environment = bandit.Bernoulli(MEANS)
  np.testing.assert_array_equal(environment.best, [1, 0])
  np.testing.assert_allclose(environment.optimal_return, [0.7, 0.9])
  regret = environment.regret([0, 1], [[0, 1], [1, 1], [2, 0]])
  np.testing.assert_allclose(regret, [[0.6, 0.7], [0.6, 1.4], [0.9, 1.4]])


def test_instances_that_are_none_are_refused():
  with pytest.raises(ValueError, match=r'\[1, 2\] arms'):
    bandit.Gaussian(((0.1,), (0.1, 0.2)))
  with pytest.raises(ValueError, match='chances'):
    bandit.Bernoulli(((0.5, 1.5),))
