"""Entries that read an oracle's preferences, through the whole iteration."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.tabular import games, policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec
from tests import battery_cases as battery
from tests import thinned

NAMES = ['spo', 'online_ipo', 'nash_mp']


def _case(recipe):
  """The battery's rows, with the chances of an oracle."""
  rollouts, scores = battery.case_of(recipe)
  samples, rows = recipe.plan.contract.samples, rollouts.valid.shape[0]
  odds = np.random.default_rng(0).standard_normal((rows // samples, samples, 1))
  chance = 1 / (1 + np.exp(np.swapaxes(odds, 1, 2) - odds))
  preference = jnp.asarray(chance.reshape(rows, samples), jnp.float32)
  return battery.Case(rollouts, scores.replace(preference=preference))


@pytest.mark.parametrize('name', NAMES)
def test_an_oracles_preferences_decide_and_microbatches_do_not(name):
  recipe = battery.twice(name)
  case, move = _case(recipe), battery.move_of(recipe)
  whole, split = (
    jax.jit(battery.iteration(recipe, pieces))(
      battery.begin(recipe), move, case
    )[1]
    for pieces in (1, 4)
  )
  battery.assert_finite(whole)
  battery.assert_same(whole, split)
  judged = battery.usual(name)
  moved = jnp.abs(whole.gradients['logits'] - judged.gradients['logits'])
  assert float(jnp.max(moved)) > 1e-6


# Two tokens of two kinds: every response and every opponent, enumerated.

RESPONSES, MASK = map(jnp.asarray, policy.all_responses(2, 2))
GAME = jnp.array(
  [[0.5, 0.9, 0.2, 0.6], [0.1, 0.5, 0.7, 0.3], [0.8, 0.3, 0.5, 1.0],
   [0.4, 0.7, 0.0, 0.5]]
)  # fmt: skip
START, REFERENCE = (
  policy.init(jax.random.key(seed), tasks=1, vocab=2, length=2)
  for seed in (0, 1)
)


def _logp(params):
  """f32[4, 2]: log-probs of all responses, token by token."""
  return policy.score(params, policy.as_rollouts(RESPONSES, MASK)).logp


def _mixture(share):
  """f32[4]: the chance of each response under the token-wise mixture."""
  logits = (1 - share) * START['logits'] + share * REFERENCE['logits']
  # A geometric mixture of softmaxes is the softmax of mixed logits.
  return jnp.exp(jnp.sum(_logp(START | {'logits': logits}), axis=1))


def _slope(recipe, pair):
  """The gradient of the loss on one response and one opponent's."""
  rollouts = policy.as_rollouts(
    RESPONSES[pair], MASK[pair], group=jnp.zeros(2, jnp.int32)
  )
  own = jnp.array([True, False])
  rollouts = rollouts.replace(
    action_mask=rollouts.action_mask & own[:, None],
    logp=policy.score(START, rollouts).logp,
    extras={'opponent': ~own},
  )
  scores = Scores(jnp.zeros((2, 1)), jnp.ones(1), GAME[pair][:, pair])
  program = Program(recipe, policy.score, optax.sgd(1.0))
  spec = Spec(2, 2, 1, 2)
  state = program.init(REFERENCE, spec).replace(params=START)
  rollouts = program.score(state, {}, rollouts)
  credit, _, _ = program.assign(state.method['credit'], rollouts, scores)
  moved, _ = program.learn(state, {}, rollouts, credit, jax.random.key(0))
  return START['logits'] - moved.params['logits']


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_nash_md_ascends_the_game_against_the_mixture(share):
  """The expected update is the exact gradient of the regularised game."""
  weight = 0.3
  recipe = recipes.build('nash_md', samples=2, share=share, kl_weight=weight)
  slope = jax.jit(partial(_slope, recipe))
  chances = jnp.exp(jnp.sum(_logp(START), axis=1))
  mixture = _mixture(share)
  expected = sum(
    chances[i] * mixture[j] * slope(jnp.array([i, j]))
    for i in range(4)
    for j in range(4)
  )

  def loss(logits):
    both = (_logp(START | {'logits': logits}), _logp(REFERENCE))
    logp, ref = (jnp.sum(x, axis=1) for x in both)
    return weight * games.kl(logp, ref) - jnp.exp(logp) @ GAME @ mixture

  exact = jax.grad(loss)(START['logits'])
  np.testing.assert_allclose(expected, exact, atol=1e-6)
  assert np.max(np.abs(exact)) > 0.01


# The same responses as whole rows of a table, to rest at an equilibrium.


def _as_table(log_policy):
  """Logits of the policy that has these log-probs of the four responses."""
  joint = jnp.exp(log_policy).reshape(2, 2)
  nodes = [jnp.log(joint.sum(axis=1)), *jnp.log(joint)]
  return START | {'logits': jnp.stack(nodes)[None]}


def _expected_slope(name, log_policy, *, opponents=0, **values):
  """The mean slope over the responses of a group, all of the policy's own.

  Args:
    opponents: rows of a group that somebody else wrote, here the policy.
  """
  samples = 2 + opponents
  recipe = recipes.build(name, samples=samples, **values)
  params = _as_table(log_policy)
  chances = np.exp(np.asarray(log_policy, np.float64))
  groups = jnp.array(
    [
      [i, j, *[k] * opponents]
      for i in range(4)
      for j in range(4)
      for k in range(4)
    ]
  )
  odds = np.prod(chances[np.asarray(groups)[:, :3]], axis=1)
  own = jnp.tile(jnp.arange(samples) < 2, len(groups))
  rows = (groups if opponents else groups[:, :2]).reshape(-1)
  rollouts = policy.as_rollouts(
    RESPONSES[rows],
    MASK[rows],
    group=jnp.repeat(jnp.arange(len(groups)), samples),
  )
  rollouts = rollouts.replace(
    action_mask=rollouts.action_mask & own[:, None],
    logp=policy.score(params, rollouts).logp,
    extras={'opponent': ~own},
  )
  members = rows.reshape(-1, samples)
  chance = GAME[members[:, :, None], members[:, None, :]]
  scores = Scores(
    jnp.zeros((len(rows), 1)), jnp.ones(1), chance.reshape(-1, samples)
  )
  program = Program(recipe, policy.score, optax.sgd(1.0))
  state = program.init(REFERENCE, Spec(len(rows), samples, 1, 2))
  state = state.replace(params=params)
  rollouts = program.score(state, {}, rollouts)
  credit, _, _ = program.assign(state.method['credit'], rollouts, scores)
  # A group counts as often as the policy makes it.
  odds = jnp.repeat(jnp.asarray(odds, jnp.float32), samples) * len(groups)
  credit = credit.replace(keep=credit.keep * odds)
  moved, _ = program.learn(state, {}, rollouts, credit, jax.random.key(0))
  return params['logits'] - moved.params['logits']


@pytest.mark.parametrize(
  ('name', 'values'),
  thinned.every(
    2,
    [
      ('inpo', {'share': 0.25, 'weight': 2.0}),
      ('inpo', {'share': 1.0, 'weight': 0.5}),
      ('online_ipo', {'weight': 0.5}),
      ('egpo', {'weight': 0.5, 'opponents': 2}),
    ],
  ),
)
def test_methods_rest_at_the_regularised_equilibrium_alone(name, values):
  """Whose weight is tau: of INPO share times eta."""
  weight = values.get('share', 1.0) * values['weight']
  ref = jnp.sum(_logp(REFERENCE), axis=1)
  target = games.regularised_equilibrium(GAME, ref, weight=weight)
  slope = _expected_slope(name, jnp.asarray(target, jnp.float32), **values)
  # Rounding of losses of order one, times their number.
  assert float(jnp.max(jnp.abs(slope))) < 2e-6
  away = _expected_slope(name, jnp.sum(_logp(START), axis=1), **values)
  assert float(jnp.max(jnp.abs(away))) > 0.01
