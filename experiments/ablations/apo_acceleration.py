"""Momentum in the space of policies: APO against iterative DPO.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/apo_acceleration.py

Accelerated Preference Optimization (arXiv 2410.06293) extrapolates the policy
after each iteration of DPO with the last policy as reference. It claims a
suboptimality of order (1 - momentum) / t after t iterations, where iterative
DPO has 1 / t: the step is worth 1 / (1 - momentum) steps.

A bandit of 8 arms with normal rewards, from a uniform policy, weight 10.
`exact` solves each iteration's problem in closed form; `sampled` is the
recipes `accelerated_dpo` and `iterative_dpo`, 64 groups of 8 answers an
iteration, each pair of them ordered by rewards with Bradley and Terry's noise,
4 minibatches of SGD. Measured: how far the log-odds of the best against the
worst arm went, over what iterative DPO's exact steps go, at the end of 100
iterations, and the reward lost, on average over them. Expected: a ratio near
1 / (1 - momentum) for exact steps, and a lower loss of sampled ones.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games, policy

ARMS, STEPS, WEIGHT = 8, 100, 10.0

FIGURE = Figure(
  y='reward lost',
  x='iteration',
  series='momentum',
  log='xy',
  title='reward lost to the best arm, exact steps',
)


def cells():
  return over(momentum=[0.0, 0.3, 0.5, 0.8], seed=range(8))


def exact(rewards, momentum):
  """Log-policies f32[STEPS, ARMS] of closed-form iterations."""

  def step(carry, _):
    now, before = carry
    new, hat = games.accelerated_step(
      now, before, rewards, weight=WEIGHT, momentum=momentum
    )
    return (new, hat), new

  start = jnp.full(ARMS, -jnp.log(ARMS * 1.0))
  return jax.lax.scan(step, (start, start), None, length=STEPS)[1]


def sampled(rewards, key, momentum):
  """Log-policies f32[STEPS, ARMS] of the recipes."""
  values = {'momentum': momentum} if momentum else {}
  recipe = 'accelerated_dpo' if momentum else 'iterative_dpo'
  program = tables.program_of(
    recipe, tx=optax.sgd(0.3), weight=WEIGHT, samples=8, **values
  )

  def step(state, key):
    draw, judge, update = jax.random.split(key, 3)
    rollouts = policy.sample(state.params, draw, jnp.zeros(64, int), samples=8)
    # Gumbel noise makes the higher of two rewards Bradley and Terry's choice.
    noise = jax.random.gumbel(judge, rollouts.valid.shape)
    worth = rewards[rollouts.content.response[:, 0]] + noise
    state, _ = tables.learn(program, state, rollouts, worth, update)
    return state, choices.log_policy(state.params)

  state = tables.begin(program, choices.table(jnp.zeros(ARMS)), prompts=64)
  return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]


def run(seeds, *, momentum):
  """Distance travelled and reward lost."""

  def train(key):
    worth, learn = jax.random.split(key)
    rewards = jax.random.normal(worth, (ARMS,))
    high, low = jnp.argmax(rewards), jnp.argmin(rewards)
    plain = STEPS * (rewards[high] - rewards[low]) / WEIGHT
    paths = exact(rewards, momentum), sampled(rewards, learn, momentum)
    return [
      (
        jnp.max(rewards) - jnp.exp(path) @ rewards,
        (path[-1, high] - path[-1, low]) / plain,
      )
      for path in paths
    ]

  (lost, speed), (lost_sampled, _) = tables.over_seeds(train, seeds)
  kept = np.unique(np.geomspace(1, STEPS, 20).astype(int))
  return {
    'iteration': np.tile(kept, (len(seeds), 1)),
    'reward lost': np.maximum(lost, 1e-6)[:, kept - 1],
    'speed': speed,
    'mean lost': lost.mean(1),
    'mean lost, sampled': lost_sampled.mean(1),
    'final lost, sampled': lost_sampled[:, -1],
  }
