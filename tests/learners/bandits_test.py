import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl_llm.environments import bandit, base
from jaxrl_llm.learners import bandits
from jaxrl_llm.learners.base import play
from tests.oracles import learners as oracle

KEY = jax.random.key(0)
COINS = bandit.Bernoulli(((0.2, 0.5, 0.8),))
NORMAL = bandit.Gaussian(((0.2, 0.5, 0.8),), spread=0.5)
LEARNERS = [
  (bandits.UCB1(), COINS),
  (bandits.BetaThompson(), COINS),
  (bandits.GaussianThompson(spread=0.5, prior_mean=0.3), NORMAL),
]
played = jax.jit(play, static_argnums=(0, 1, 2), static_argnames='seeds')


@functools.cache
def regret(learner, environment, steps, seeds):
  """f64[seeds, steps]: what each run has given away so far."""
  found = played(learner, environment, steps, KEY, seeds=seeds)
  return environment.regret([0], found.action)[:, :, 0]


def keys_of(seed, steps):
  """The keys with which `play` acts and steps, [steps] each."""
  root = jax.random.fold_in(KEY, seed)
  keys = jax.vmap(
    lambda t: jax.random.split(jax.random.fold_in(root, t), 3)[:2]
  )(jnp.arange(steps))
  return keys[:, 0], keys[:, 1]


def rewards_of(environment, keys):
  """f64[steps, K]: what a pull of each arm would have paid."""
  arms = environment.spec.action.count
  state = environment.reset(jnp.array([0]), KEY)

  def pull(key, arm):
    return environment.step(state, arm[None], key)[1].reward[0]

  every = jax.vmap(jax.vmap(pull, (None, 0)), (0, None))
  return np.float64(every(keys, jnp.arange(arms)))


@pytest.mark.parametrize('scale', [1.0, 0.3])
@pytest.mark.parametrize('environment', [COINS, NORMAL])
def test_ucb1_pulls_what_its_loop_pulls_on_the_same_draws(environment, scale):
  found = played(bandits.UCB1(scale), environment, 100, KEY, seeds=3)
  for seed in range(3):
    rewards = rewards_of(environment, keys_of(seed, 100)[1])
    expected = oracle.ucb1(rewards, scale)
    assert found.action[seed, :, 0].tolist() == expected


@pytest.mark.parametrize(('learner', 'environment'), LEARNERS[1:])
def test_thompson_pulls_what_its_loop_pulls_on_the_same_draws(
  learner, environment
):
  steps = 30
  found = played(learner, environment, steps, KEY, seeds=1)
  acting, moving = keys_of(0, steps)
  keys = jax.vmap(base.row_keys, (0, None))(acting, jnp.zeros(1, jnp.int32))

  @jax.jit
  def beta(key, won, lost):
    return jax.random.beta(key, 1 + won, 1 + lost)

  def draw(t, count, total):
    if environment is COINS:
      won = total.astype('f')
      return beta(keys[t, 0], won, count.astype('f') - won)
    precision = 1 / 1.0 + count / 0.5**2
    mean = (0.3 + total / 0.5**2) / precision
    noise = np.float64(jax.random.normal(keys[t, 0], (3,)))
    return mean + noise / np.sqrt(precision)

  expected = oracle.thompson(rewards_of(environment, moving), draw)
  assert found.action[0, :, 0].tolist() == expected


def ucb1_chances(won, lost):
  count = [w + l for w, l in zip(won, lost)]
  return np.eye(len(won))[oracle.ucb1_arm(count, won)]


@pytest.mark.parametrize(
  ('learner', 'chances', 'steps'),
  [
    (bandits.UCB1(), ucb1_chances, 40),
    (bandits.BetaThompson(), oracle.beta_chances, 12),
  ],
)
def test_mean_regret_is_the_exact_expectation(learner, chances, steps):
  means = (0.3, 0.7)
  expected = oracle.expected_regret(means, steps, chances)
  found = regret(learner, bandit.Bernoulli((means,)), steps, 4000)[:, -1]
  error = found.std() / np.sqrt(found.size)
  # Four standard errors: wrong once in 16,000 seeds.
  assert abs(found.mean() - expected) < 4 * error
  # So many seeds tell it from a uniform choice, at least.
  assert expected + 8 * error < 0.2 * steps


STEPS, SEEDS = 4096, 32


@pytest.mark.parametrize(('learner', 'environment'), LEARNERS)
def test_regret_grows_like_the_logarithm_of_time(learner, environment):
  found = regret(learner, environment, STEPS, SEEDS).mean(axis=0)
  early, middle, late = (found[n - 1] for n in (256, 1024, 4096))
  # Equal steps of log(n): growth by n itself would be four times as much.
  assert late - middle < 1.8 * (middle - early)
  # And a tenth of what pulling at random gives away.
  assert late < 0.3 * STEPS / 10


def test_ucb1_keeps_its_bound_and_thompson_is_better():
  gaps = np.array([0.3, 0.6])
  upper = regret(bandits.UCB1(), COINS, STEPS, SEEDS).mean(axis=0)
  time = np.arange(1, STEPS + 1)
  bound = np.sum(8 / gaps) * np.log(time) + (1 + np.pi**2 / 3) * np.sum(gaps)
  assert np.all(upper[2:] <= bound[2:])
  thompson = regret(bandits.BetaThompson(), COINS, STEPS, SEEDS).mean(axis=0)
  assert thompson[-1] < upper[-1] / 2
  # No good learner has less in the long run (Lai and Robbins, 1985).
  mean, best = np.array([0.2, 0.5]), 0.8
  kl = mean * np.log(mean / best) + (1 - mean) * np.log((1 - mean) / 0.2)
  assert thompson[-1] > 0.5 * np.sum(gaps[::-1] / kl) * np.log(STEPS)


@pytest.mark.parametrize('won', [(3, 1, 0), (8, 9, 4)])
def test_thompson_pulls_by_the_chance_to_be_best(won):
  lost = (2, 1, 1)
  state = {
    'count': jnp.array([w + l for w, l in zip(won, lost)]),
    'total': jnp.array(won, jnp.float32),
  }
  rows = jnp.zeros(20_000, jnp.int32)
  arms, _ = jax.jit(bandits.BetaThompson().act)(state, rows, KEY)
  found = np.bincount(arms, minlength=3) / rows.size
  # 0.0035 is a standard error of a half.
  np.testing.assert_allclose(found, oracle.beta_chances(won, lost), atol=0.015)


def test_gaussian_thompson_pulls_by_the_chance_to_be_best():
  learner = bandits.GaussianThompson(2.0, prior_mean=1.0, prior_spread=0.5)
  state = {'count': jnp.array([0, 3]), 'total': jnp.array([0.0, 6.0])}
  precision = np.array([4.0, 4.0 + 3 / 4])
  mean = np.array([4.0, 4.0 + 6 / 4]) / precision
  rows = jnp.zeros(20_000, jnp.int32)
  arms, _ = jax.jit(learner.act)(state, rows, KEY)
  gap = (mean[0] - mean[1]) / np.sqrt(np.sum(1 / precision))
  np.testing.assert_allclose(
    np.mean(arms == 0), stats.norm.cdf(gap), atol=0.015
  )


@pytest.mark.parametrize(('learner', 'environment'), LEARNERS)
def test_states_keep_their_types_and_what_is_no_arm_is_no_pull(
  learner, environment
):
  start = learner.init(environment.spec, KEY)
  state = environment.reset(jnp.zeros(4, jnp.int32), KEY)
  observation = environment.observe(state)
  action, held = jax.jit(learner.act)(start, observation, KEY)
  assert action.shape == (4,) and action.dtype == jnp.int32
  _, outcome = environment.step(state, action, KEY)
  update = jax.jit(learner.update)
  whole = update(held, observation, action, outcome)
  for old, new in zip(jax.tree.leaves(start), jax.tree.leaves(whole)):
    assert (old.shape, old.dtype) == (new.shape, new.dtype)
  spoiled = outcome.replace(reward=outcome.reward.at[:2].set(jnp.nan))
  action = action.at[:2].set(jnp.array([3, -1]))
  some = update(held, observation, action, spoiled)
  assert np.sum(whole['count']) == 4 and np.sum(some['count']) == 2
  assert np.all(np.isfinite(some['total']))


def test_later_rows_know_what_earlier_rows_pull():
  learner = bandits.UCB1()
  act = jax.jit(learner.act)
  arms, _ = act(learner.init(COINS.spec, KEY), jnp.zeros(7, jnp.int32), KEY)
  assert arms.tolist() == [0, 1, 2, 0, 1, 2, 0]
  state = {
    'count': jnp.array([4, 4, 400]), 'total': jnp.array([2.0, 2.4, 40.0]),
  }  # fmt: skip
  arms, _ = act(state, jnp.zeros(3, jnp.int32), KEY)
  # One more pull of the second arm lowers its bound below that of the first.
  assert arms.tolist() == [1, 0, 1]


def test_without_a_bonus_ucb1_is_greedy():
  learner = bandits.UCB1(scale=0.0)
  state = {
    'count': jnp.array([1, 9, 5]), 'total': jnp.array([0.5, 6.0, 3.0]),
  }  # fmt: skip
  arms, _ = learner.act(state, jnp.zeros(2, jnp.int32), KEY)
  assert arms.tolist() == [1, 1]


def test_equal_learners_are_one_static_argument():
  assert hash(bandits.UCB1(2.0)) == hash(
    dataclasses.replace(bandits.UCB1(), scale=2.0)
  )
