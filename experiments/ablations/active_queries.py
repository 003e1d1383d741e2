"""Comparisons that are asked for only in doubt.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/active_queries.py

PR-LSVI (arXiv 2310.14554) draws rewards from a posterior, as Thompson sampling
does, and asks people to compare two draws' choices only where draws are
expected to disagree about them. It claims a regret of the root of the rounds
with far fewer questions, how few being set by a threshold of doubt.

A linear bandit: 300 rounds, each with 16 fresh arms of 4 normal features, true
rewards linear with weights of norm 4. Two draws from the normal posterior, of
precision Sigma around the fitted weights, each choose an arm. Where the doubt
in the difference of these arms' features is above the threshold, Bradley and
Terry answer, Sigma grows, and the weights are fitted to all answers with a unit
prior. `by chance` asks as often, by a coin: with the share of rounds that `in
doubt` asked in. Measured: the regret of the mean of both arms and the
questions, along the rounds. Expected: fewer questions at little more regret
than with a threshold of 0, which always asks, and less regret than by chance.
"""

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.rewards import learned

ROUNDS, ARMS, FEATURES, NORM = 300, 16, 4, 4.0
TRACED = ('threshold',)

FIGURE = Figure(
  y='regret',
  x='threshold',
  series='asked',
  title='regret of 300 rounds by the threshold of doubt',
)


def cells():
  return over(
    asked=['in doubt', 'by chance'],
    threshold=[0.0, 0.5, 1.0, 1.5, 2.0],
    seed=range(12),
  )


def fitted(theta, precision, compared, asked, answers):
  """Ten steps to the most likely weights, of the answers so far.

  Of Newton, with the largest slope of a sigmoid, 1/4, which cannot overshoot.
  """
  bend = (3 * jnp.eye(FEATURES) + precision) / 4
  for _ in range(10):
    odds = jax.nn.sigmoid(compared @ theta)
    slope = theta - jnp.where(asked, answers - odds, 0.0) @ compared
    theta = theta - jnp.linalg.solve(bend, slope)
  return theta


def play(key, threshold, chance):
  """Regret of every round, and where something was asked.

  Args:
    chance: of asking, whatever the doubt; -1 asks in doubt.
  """
  truth_key, key = jax.random.split(key)
  truth = jax.random.normal(truth_key, (FEATURES,))
  truth = NORM * truth / jnp.linalg.norm(truth)

  def step(carry, inputs):
    theta, precision, compared, asked, answers = carry
    key, number = inputs
    arm, draw, judge, coin = jax.random.split(key, 4)
    arms = jax.random.normal(arm, (ARMS, FEATURES))
    # Columns of the inverse's root: both draws are normal with Sigma^-1.
    root = jnp.linalg.inv(jnp.linalg.cholesky(precision)).T
    draws = theta + jax.random.normal(draw, (2, FEATURES)) @ root.T
    chosen = arms[jnp.argmax(arms @ draws.T, axis=0)]
    worth = chosen @ truth
    gap = chosen[0] - chosen[1]
    won = jax.random.bernoulli(judge, jax.nn.sigmoid(gap @ truth))
    doubtful = learned.doubt(gap, precision) >= threshold
    ask = jnp.where(chance < 0, doubtful, jax.random.uniform(coin) < chance)
    precision = learned.informed(precision, gap[None], ask[None])
    compared = compared.at[number].set(gap)
    asked = asked.at[number].set(ask)
    answers = answers.at[number].set(won * 1.0)
    theta = fitted(theta, precision, compared, asked, answers)
    lost = jnp.max(arms @ truth) - jnp.mean(worth)
    return (theta, precision, compared, asked, answers), (lost, ask)

  nothing = jnp.zeros(ROUNDS)
  carry = (
    jnp.zeros(FEATURES),
    jnp.eye(FEATURES),
    jnp.zeros((ROUNDS, FEATURES)),
    nothing > 0,
    nothing,
  )
  inputs = jax.random.split(key, ROUNDS), jnp.arange(ROUNDS)
  return jax.lax.scan(step, carry, inputs)[1]


def run(seeds, *, asked, threshold):
  """Regret and questions, early and in all."""

  def both(key, threshold):
    lost, ask = play(key, threshold, -1.0)
    if asked == 'by chance':
      return play(key, threshold, jnp.mean(ask))
    return lost, ask

  lost, ask = tables.over_seeds(both, seeds, threshold)
  return {
    'regret': lost.sum(1),
    'questions': ask.sum(1).astype(float),
    'questions of the last half': ask[:, ROUNDS // 2 :].sum(1).astype(float),
    'late regret a round': lost[:, -100:].mean(1),
  }
