import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import exploration
from jaxrl_llm.digests import at
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import exploration as oracle

SPEC = Spec(16, 4, 1, 6)


def _rows(seed=0):
  rng = np.random.default_rng(seed)
  return jax.nn.log_softmax(rng.standard_normal((16, 6, 5)).astype('f'))


_PLAIN = exploration.TemperedMix()


def _given(reward='binary', seed=0, stage=_PLAIN, **extras):
  rng, rows = np.random.default_rng(seed), _rows(seed)
  rollouts = cases.rollouts(seed, **extras)
  logp = at(rows, rollouts.content.response)
  rollouts = rollouts.replace(extras={**rollouts.extras, 'old_logp': logp})
  rollouts = cases.digested(rollouts, rows, stage)
  rewards = cases.rows(reward, seed)[0]
  credit = initial_credit(rollouts, Scores(rewards[:, None], np.ones(1)))
  advantages = rng.standard_normal((16, 6)).astype('f')
  credit = credit.replace(
    rewards=jnp.asarray(rewards),
    advantages=jnp.where(rollouts.loss_mask, advantages, 0),
  )
  return rollouts, credit


@pytest.mark.parametrize('target', [0.3, 1.55])
@pytest.mark.parametrize('seed', [0, 1])
def test_tempered_mix_equals_the_loops_for_two_iterations(seed, target):
  rollouts, credit = _given(seed=seed)
  stage = exploration.TemperedMix(target=target)
  state, entropy = stage.init(SPEC), 0.0
  for _ in range(2):
    after, state = jax.jit(stage.update)(credit, rollouts, state)
    expected, entropy = oracle.tempered_mix(
      credit.advantages,
      credit.rewards,
      rollouts.valid,
      np.asarray(rollouts.loss_mask),
      np.asarray(_rows(seed), np.float64),
      rollouts.content.response,
      entropy,
      target=target,
    )
    np.testing.assert_allclose(after.advantages, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state, entropy, rtol=1e-5)


def test_at_its_target_the_entropy_leaves_advantages_alone():
  rollouts, credit = _given()
  stage = exploration.TemperedMix(target=1.0)
  after, _ = stage.update(credit, rollouts, jnp.float32(1.0))
  np.testing.assert_array_equal(after.advantages, credit.advantages)


def test_at_temperature_one_successes_are_reinforced():
  stage = exploration.TemperedMix(target=10.0, hot=1.0, most=1e6)
  rollouts, credit = _given(stage=stage)
  credit = credit.replace(advantages=jnp.zeros((16, 6)))
  after, _ = stage.update(credit, rollouts, stage.init(SPEC))
  good = np.asarray(credit.rewards) > 0.05
  rate = np.sum(good & rollouts.valid) / np.sum(rollouts.valid)
  x = 10.0 / rate
  expected = x / (1 + x) * (good[:, None] & rollouts.loss_mask)
  np.testing.assert_allclose(after.advantages, expected, rtol=1e-5)


def test_without_a_success_or_a_row_nothing_is_mixed():
  rollouts, credit = _given()
  stage = exploration.TemperedMix()
  # The bound itself is no success.
  failed = credit.replace(rewards=jnp.full(16, stage.correct))
  after, _ = stage.update(failed, rollouts, stage.init(SPEC))
  np.testing.assert_array_equal(after.advantages, credit.advantages)
  empty = rollouts.replace(valid=jnp.zeros(16, bool))
  after, state = stage.update(credit, empty, jnp.float32(0.7))
  np.testing.assert_array_equal(after.advantages, 0)
  np.testing.assert_allclose(state, 0.7)


def test_tempering_moves_the_entropy_of_a_bandit_towards_its_target():
  """One step along E[r grad log policy] under the tempered policy."""
  logits = jnp.array([2.0, 1.0, 0.5, 0.0])
  rewards = jnp.array([1.0, 1.0, 1.0, 0.0])

  def entropy(logits):
    p = jax.nn.softmax(logits)
    return -jnp.sum(p * jnp.log(p))

  def step(heat):
    p, tempered = jax.nn.softmax(logits), jax.nn.softmax(logits / heat)
    mean = jnp.sum(tempered * rewards)
    return entropy(logits + 0.1 * (tempered * rewards - mean * p))

  assert step(1.2) > step(1.0) > step(0.8)


@pytest.mark.parametrize('heat', [1.2, 0.8])
@pytest.mark.parametrize(('share', 'most'), [(2, 60), (2, 1), (1, 60)])
@pytest.mark.parametrize('reward', cases.NAMES[:2])
def test_tempered_successes_equal_the_loops(reward, share, most, heat):
  heats = np.where(np.arange(16) // 4 >= 4 - share, heat, 1.0).astype('f')
  rollouts, credit = _given(reward, heat=heats)
  stage = exploration.TemperedSuccesses(most=most)
  after, _ = stage.update(credit, rollouts, stage.init(SPEC))
  rows, keep = oracle.tempered_successes(
    np.asarray(credit.rewards, np.float64),
    np.asarray(rollouts.group),
    np.asarray(rollouts.valid),
    heats,
    most=most,
  )
  expected = np.where(rollouts.loss_mask, rows[:, None], 0)
  np.testing.assert_allclose(after.advantages, expected, rtol=1e-4, atol=1e-5)
  kept = np.where(rollouts.valid, after.keep, 0)
  np.testing.assert_allclose(kept, keep, rtol=1e-6)


def test_the_temperature_is_hot_up_to_the_target():
  entropies = jnp.array([0.0, 0.3, 0.31])
  heat = exploration.steering_temperature(entropies, 0.3)
  np.testing.assert_allclose(heat, [1.2, 1.2, 0.8])
