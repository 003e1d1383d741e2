"""A step changes the entropy by minus the covariance of log-prob and change.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/entropy_covariance.py

"The Entropy Mechanism" (arXiv 2505.22617, lemma 1 and theorems 1 and 2) states
for a softmax over actions that, to first order in the change z of its logits,
H' - H = -Cov_{a ~ pi}(log pi(a), z(a)). With advantages A, z is eta pi A for
the policy gradient and eta A for the natural one.

Exact, without sampling: the mean of 64 policies over 16 actions, their logits
normal of spread 2 and their rewards normal. Measured: |H' - H + Cov| summed
over policies, over the sum of |Cov|. Expected: it shrinks in proportion to eta,
so that the identity is exact in the limit, and small at the step sizes of
training. The policy gradient is taken by the registered REINFORCE with rows
weighed by their probability.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import mirror, policy

POLICIES, ACTIONS = 64, 16
TRACED = ('rate',)

FIGURE = Figure(
  y='relative error',
  x='rate',
  series='update',
  log='xy',
  title='error of the covariance identity',
)


def cells():
  return over(
    update=['policy_gradient', 'natural'],
    rate=[0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
    seed=range(4),
  )


def run(seeds, *, update, rate):
  """Relative error of the identity and the mean change it predicts."""

  def measure(key, rate):
    first, second = jax.random.split(key)
    params = policy.init(
      first, tasks=POLICIES, vocab=ACTIONS, length=1, scale=2.0
    )
    rewards = jax.random.normal(second, (POLICIES, ACTIONS))
    before = jax.nn.log_softmax(params['logits'][:, 0])
    chance = jnp.exp(before)
    advantage = rewards - jnp.sum(chance * rewards, -1, keepdims=True)
    if update == 'natural':
      after = mirror.mirror_step(before, advantage, step_size=rate)
      change = rate * advantage
    else:
      change = rate * exact_gradient(params, chance * advantage)
      after = jax.nn.log_softmax(before + change)
    predicted = -jnp.sum(
      chance
      * (before - jnp.sum(chance * before, -1, keepdims=True))
      * (change - jnp.sum(chance * change, -1, keepdims=True)),
      axis=-1,
    )
    moved = entropy(after) - entropy(before)
    error = jnp.sum(jnp.abs(moved - predicted)) / jnp.sum(jnp.abs(predicted))
    return error, jnp.mean(predicted)

  error, predicted = tables.over_seeds(measure, seeds, rate)
  return {'relative error': error, 'predicted change': predicted}


def exact_gradient(params, weighted):
  """f32[A, V]: REINFORCE on every action once, rewards times probability."""
  action = np.tile(np.arange(ACTIONS), POLICIES)[:, None]
  task = jnp.repeat(jnp.arange(POLICIES), ACTIONS)
  rollouts = policy.as_rollouts(action, np.ones_like(action), task=task)
  program = tables.program_of('reinforce', samples=ACTIONS)
  step = tables.gradient(
    program, params, rollouts, weighted.ravel(), prompts=POLICIES
  )
  # A recipe averages over rows.
  return step[:, 0] * POLICIES * ACTIONS


def entropy(log_policy):
  return -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
