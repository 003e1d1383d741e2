import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import segments, tokens
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle


def _values(seed=1):
  return np.random.default_rng(seed).normal(size=(16, 6)).astype(np.float32)


@pytest.mark.parametrize('interval', [1, 2, 5])
@pytest.mark.parametrize('threshold', [0.9, 0.4])
def test_chain_equals_its_oracle(threshold, interval):
  rollouts = cases.rollouts(prefix_value=_values())
  rewards = np.linspace(-1, 1, 16).astype(np.float32)
  ours = segments.chain(
    rewards, rollouts, threshold=threshold, interval=interval
  )
  mask = np.asarray(rollouts.loss_mask)
  expected = oracle.chain_segments(
    rewards, _values(), np.asarray(rollouts.logp), mask, threshold, interval
  )
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_segments_of_a_row_add_up_to_its_reward_less_the_first_value():
  rollouts = cases.rollouts(prefix_value=_values())
  rewards = np.linspace(-1, 1, 16).astype(np.float32)
  ours = np.asarray(segments.chain(rewards, rollouts, interval=2))
  start = np.asarray(
    segments.starts(rollouts.logp, rollouts.loss_mask, interval=2)
  )
  for i in np.flatnonzero(start.any(axis=1)):
    first = np.flatnonzero(start[i])[0]
    total = ours[i][start[i]].sum()
    np.testing.assert_allclose(
      total, rewards[i] - _values()[i, first], atol=1e-5
    )


def test_sure_responses_have_no_segment():
  rollouts = cases.rollouts(prefix_value=_values())
  rollouts = rollouts.replace(logp=jnp.zeros((16, 6)))
  np.testing.assert_array_equal(segments.chain(np.ones(16), rollouts), 0.0)


def _act(stage, rollouts, rewards):
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(rewards=rewards)
  state = stage.init(Spec(16, 4, 1, 6))
  return jax.jit(stage.update)(credit, rollouts, state)[0]


@pytest.mark.parametrize('trace', [1.0, 0.8])
def test_actions_equal_their_oracle(trace):
  end = np.random.default_rng(2).random((16, 6)) < 0.5
  rollouts = cases.rollouts(old_values=_values(), action_end=end)
  rewards = np.where(rollouts.valid, np.linspace(-1, 1, 16), 0).astype('f')
  credit = _act(segments.ActionGAE(0.8, trace), rollouts, rewards)
  mask = np.asarray(rollouts.loss_mask)
  expected = oracle.poad(rewards, _values(), mask, end, 0.8, trace)
  np.testing.assert_allclose(credit.advantages, expected, atol=1e-5)
  targets = expected + np.where(mask, _values(), 0)
  np.testing.assert_allclose(credit.targets, targets, atol=1e-5)


def test_actions_of_one_token_are_ordinary_gae():
  end = np.ones((16, 6), bool)
  rollouts = cases.rollouts(old_values=_values(), action_end=end)
  rewards = np.linspace(-1, 1, 16).astype(np.float32)
  actions = _act(segments.ActionGAE(0.9, 0.8), rollouts, rewards)
  plain = _act(tokens.GAE(0.9, 0.8), rollouts, rewards)
  np.testing.assert_array_equal(actions.advantages, plain.advantages)


def test_length_of_an_actions_name_does_not_discount_it():
  end = np.zeros((16, 6), bool)
  rollouts = cases.rollouts(old_values=np.zeros((16, 6), 'f'), action_end=end)
  rewards = np.ones(16, np.float32)
  credit = _act(segments.ActionGAE(0.5, 1.0), rollouts, rewards)
  expected = jnp.where(rollouts.loss_mask, 1.0, 0.0)
  np.testing.assert_allclose(credit.advantages, expected)
