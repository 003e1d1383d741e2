"""Reward models: their loss, its slope, and that it teaches to rate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.objectives import critics, rating
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import diagnostics
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec, Stats
from tests.oracles import rating as oracle

VOCAB, LENGTH = 3, 3


def rows(samples, groups, seed=0):
  """Rollouts of all kinds of lengths, rewards with ties, and values."""
  rng = np.random.default_rng(seed)
  count = samples * groups
  ends = rng.integers(1, LENGTH + 1, count)
  mask = np.arange(LENGTH) < ends[:, None]
  rollouts = policy.as_rollouts(
    rng.integers(0, VOCAB, mask.shape).astype(np.int32),
    mask,
    group=jnp.arange(count) // samples,
  )
  rewards = rng.integers(0, 3, count) / 2
  return rollouts, rewards, rng.standard_normal(mask.shape)


@pytest.mark.parametrize(
  ('samples', 'margin', 'centring'), [(2, 0.0, 0.0), (2, 1.5, 0.3), (4, 1, 0.1)]
)
def test_loss_and_slope_equal_loops_over_pairs(samples, margin, centring):
  rollouts, rewards, values = rows(samples, groups=5)
  recipe = recipes.build(
    'reward_model', samples=samples, margin=margin, centring=centring
  )
  program = Program(recipe, policy.score, optax.sgd(1.0))
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  credit, _, _ = program.assign((), rollouts, scores)
  batch = program.batch(rollouts, credit, fresh=True)

  def loss(values):
    stats = Stats(rollouts.logp, -rollouts.logp, after_values=values)
    return recipe.objective.loss(stats, batch, {})[0]

  values = jnp.asarray(values, jnp.float32)
  value, slope = jax.jit(jax.value_and_grad(loss))(values)
  hyper = {'margin': margin, 'centring': centring}
  given = np.asarray(rollouts.response_mask), rewards, samples
  exact = np.asarray(values, float)
  np.testing.assert_allclose(
    value, oracle.reward_model_loss(exact, *given, **hyper), rtol=1e-5
  )
  for i, t in np.ndindex(*exact.shape):
    step = np.zeros_like(exact)
    step[i, t] = 1e-5
    up, down = (
      oracle.reward_model_loss(exact + sign * step, *given, **hyper)
      for sign in (1, -1)
    )
    np.testing.assert_allclose(slope[i, t], (up - down) / 2e-5, atol=1e-6)


@pytest.mark.parametrize('correct', [0.5, 0.2])
def test_loss_and_slope_equal_loops_over_labelled_rows(correct):
  rollouts, rewards, values = rows(1, groups=7)
  recipe = recipes.build('unary_reward_model', correct=correct)
  program = Program(recipe, policy.score, optax.sgd(1.0))
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  credit, _, _ = program.assign((), rollouts, scores)
  batch = program.batch(rollouts, credit, fresh=True)

  def loss(values):
    stats = Stats(rollouts.logp, -rollouts.logp, after_values=values)
    return recipe.objective.loss(stats, batch, {})[0]

  values = jnp.asarray(values, jnp.float32)
  value, slope = jax.jit(jax.value_and_grad(loss))(values)
  exact = np.asarray(values, float)
  given = np.asarray(rollouts.response_mask), rewards
  expected = oracle.unary_reward_model_loss(exact, *given, correct=correct)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  for i, t in np.ndindex(*exact.shape):
    step = np.zeros_like(exact)
    step[i, t] = 1e-5
    up, down = (
      oracle.unary_reward_model_loss(exact + d, *given, correct=correct)
      for d in (step, -step)
    )
    np.testing.assert_allclose(slope[i, t], (up - down) / 2e-5, atol=1e-6)


def test_a_row_without_tokens_is_neither_liked_nor_disliked():
  mask = jnp.array([[True, True], [False, False]])
  heads = jnp.array([[9.0, 2.0], [9.0, 9.0]])
  for reward, sign in ((1.0, -1), (0.5, 1)):
    found = rating.reaction(
      heads, heads, None, mask, after_values=heads, rewards=jnp.full(2, reward)
    )
    expected = np.log1p(np.exp(2.0 * sign))
    np.testing.assert_allclose(found, [expected, 0], rtol=1e-5)


def test_a_response_is_read_at_its_last_token():
  mask = jnp.array([[True, True, False], [False, False, False]])
  values = jnp.arange(1.0, 7.0).reshape(2, 3)
  found = rating.last_value(values, values, mask, after_values=values)
  assert found.tolist() == [2, 0]


def test_every_label_is_fitted_at_the_last_token():
  mask = jnp.array([[True, True, False], [False, False, False]])
  answers = jnp.arange(12.0).reshape(2, 3, 2)
  score = jnp.array([[1.0, 5.0], [jnp.nan, 1.0]])

  def losses(answers, score=score):
    return rating.least_squares(
      None, None, None, mask, after_values=answers, components=score
    )

  np.testing.assert_allclose(losses(answers), [(1 + 4) / 2, 0])
  slope = jax.grad(lambda x: losses(x).sum())(answers)
  np.testing.assert_allclose(slope[0, 1], [1, -2])
  assert not slope[1].any() and not slope[0, ::2].any()
  assert critics.Labels(2).values(answers)[0].tolist() == [0.5, 2.5, 4.5]
  with pytest.raises(ValueError, match='2 labels .* 3 scores .*labels=3'):
    losses(answers, jnp.zeros((2, 3)))


def test_centring_does_not_move_the_gap_and_removes_the_shift():
  """At the minimum in both rewards they are opposite."""

  def loss(r):
    return rating.bradley_terry(r[0], r[1], jnp.float32(1), centring=0.1)

  r, slope = jnp.array([3.0, 2.0]), jax.jit(jax.grad(loss))
  for _ in range(2000):
    r = r - slope(r)
  np.testing.assert_allclose(r[0], -r[1], atol=1e-3)
  pairs = jnp.array([[5.0, 4.0], [1.0, 0.0]])
  shifted = rating.bradley_terry(*pairs.T, jnp.ones(2), centring=0.0)
  np.testing.assert_allclose(*shifted, rtol=1e-5)


@pytest.mark.parametrize('name', ['reward_model', 'ranking_reward_model'])
def test_rows_are_rated_in_the_order_of_their_rewards(name):
  recipe = dataclasses.replace(recipes.build(name, samples=4))
  rollouts, _, _ = rows(4, groups=8)
  # What is written decides: the share of tokens that are 2.
  share = jnp.mean(
    rollouts.content.response == 2, axis=1, where=rollouts.response_mask
  )
  program = Program(recipe, policy.score, optax.adam(0.1))
  params = policy.init(jax.random.key(0), tasks=1, vocab=VOCAB, length=LENGTH)
  state = program.init(params, Spec(32, 4, 1, LENGTH))
  scores = Scores(share[:, None], jnp.ones(1))
  learn = jax.jit(program.learn)
  for _ in range(60):
    credit, _, _ = program.assign((), rollouts, scores)
    state, _ = learn(state, {}, rollouts, credit, jax.random.key(0))
  ratings, logp = program.rate(state, {}, rollouts)
  found = diagnostics.compared(ratings, logp, share, rollouts.valid, samples=4)
  assert float(jnp.mean(found['preference/accuracy'])) > 0.9
  # It rates, and leaves what the policy would write as it was.
  np.testing.assert_array_equal(state.params['logits'], params['logits'])
