"""Recorded choices between answers of one token, and learning from them.

Answers are arms of a bandit. Recorded pairs are rows in twos, chosen before
rejected, with the rewards 1 and 0 that the recipes of offline pairs expect.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Rollouts, Spec


def judged(key, pairs, worth, *, flip=0.0):
  """Pairs i32[J, 2] with the chosen arm first.

      P(a before b) = sigmoid(worth_a - worth_b), then flipped with chance flip

  Args:
    pairs: i32[J, 2] arms. worth: f32[arms], in nats of odds.
  """
  choose, turn = jax.random.split(key)
  gap = worth[pairs[:, 0]] - worth[pairs[:, 1]]
  first = jax.random.bernoulli(choose, jax.nn.sigmoid(gap))
  wrong = jax.random.bernoulli(turn, flip, first.shape)
  return jnp.where((first ^ wrong)[:, None], pairs, pairs[:, ::-1])


def rows(pairs) -> Rollouts:
  """The rollouts of pairs, two rows each."""
  count = len(pairs)
  group = jnp.repeat(jnp.arange(count, dtype=jnp.int32), 2)
  response = pairs.reshape(-1, 1)
  return policy.as_rollouts(response, jnp.ones((2 * count, 1)), group=group)


def table(logits):
  """The parameters of a policy over arms f32[arms]."""
  zeros = jnp.zeros((1, 1))
  return {'logits': logits[None, None], 'values': zeros}


def log_policy(params):
  """f32[arms]: log-probabilities of the policy."""
  return jax.nn.log_softmax(params['logits'][0, 0])


def linear(name, features, log_ref, *, tx, **values) -> Program:
  """A recipe for policies reference e^(features theta), theta the parameters.

  What one pair teaches carries over to arms of similar features.

  Args:
    features: f32[arms, F]. log_ref: f32[arms].
  """

  def scorer(theta, rollouts, needs):
    return policy.score(table(log_ref + features @ theta), rollouts, needs)

  return Program(recipes.build(name, **values), scorer, tx)


def fit(program, params, pairs, *, steps: int, measure=log_policy):
  """`steps` optimizer steps on all pairs, from the reference `params`.

  Args:
    measure: f(params) -> pytree, stacked over the steps.
  """
  rollouts = rows(pairs)
  rewards = jnp.tile(jnp.array([1.0, 0.0]), len(pairs))

  def step(state, key):
    state, _ = tables.learn(program, state, rollouts, rewards, key)
    return state, measure(state.params)

  state = program.init(params, Spec(2 * len(pairs), 2, 1, 1))
  return jax.lax.scan(step, state, jax.random.split(jax.random.key(0), steps))[
    1
  ]
