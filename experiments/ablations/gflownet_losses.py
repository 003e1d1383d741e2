"""Losses of generative flow networks, by the error that is left.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/gflownet_losses.py

Trajectory balance (arXiv 2201.13259), SubTB (arXiv 2209.12782) and the
forward-looking loss (arXiv 2302.01687) are each claimed to bring the sampler
faster to its target than detailed balance (arXiv 2111.09266), on grids.

Their grid as text: an answer is three digits of 8, one after another, 512 in
all, with the grid's reward: 0.01, 0.5 more if every digit lies outside the
middle half, 2 more if every digit is 1 or 6, 8 answers. The target is
proportional to it, the start uniform. Energies of prefixes, which the
forward-looking loss lives on, do not exist in this task. All recipes see 32
answers of the policy itself per step, one rate of Adam for logits and flows.
Measured: the L1 distance sum |policy - target|, of 2 at most, along training,
and steps until it is 0.2. Expected: TB and SubTB ahead of detailed balance.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

DIGITS, LENGTH, STEPS, EVERY, RATE = 8, 3, 1000, 40, 0.05
RECIPES = (
  'trajectory_balance',
  'vargrad',
  'detailed_balance',
  'sub_trajectory_balance',
  'forward_looking',
  'led_gfn',
)
NUMBERS, MASK = policy.all_responses(DIGITS, LENGTH)

FIGURE = Figure(
  y='L1 distance',
  x='step',
  series='recipe',
  log='y',
  title='distance to the target of 512 answers',
)


def cells():
  return over(recipe=RECIPES, seed=range(4))


def log_reward(digits):
  """f32[...]: the grid's log-reward of digits [..., LENGTH]."""
  away = jnp.abs(digits / (DIGITS - 1) - 0.5)
  outside = jnp.all(away > 0.25, axis=-1)
  mode = jnp.all((away > 0.3) & (away < 0.4), axis=-1)
  return jnp.log(0.01 + 0.5 * outside + 2.0 * mode)


def run(seeds, *, recipe):
  """L1 distance along training on the policy's own answers."""
  rate = optax.linear_schedule(RATE, 0.0, STEPS)
  program = tables.program_of(
    recipe, tx=optax.adam(rate), weight=1.0, samples=32
  )
  answers = policy.as_rollouts(NUMBERS, MASK)
  target = jax.nn.softmax(log_reward(NUMBERS))

  def reward(rollouts, question):
    del question
    return log_reward(rollouts.content.response)

  def train(key):
    start = policy.init(key, tasks=1, vocab=DIGITS, length=LENGTH, scale=0.0)

    def step(state, key):
      question = jnp.zeros(1, jnp.int32)
      return tables.iterate(program, state, question, reward, key)[0], None

    def measured(state, keys):
      state, _ = jax.lax.scan(step, state, keys)
      chance = jnp.exp(jnp.sum(policy.score(state.params, answers).logp, 1))
      return state, jnp.sum(jnp.abs(chance - target))

    state = tables.begin(program, start, prompts=1)
    keys = jax.random.split(key, (STEPS // EVERY, EVERY))
    return jax.lax.scan(measured, state, keys)[1]

  distance = tables.over_seeds(train, seeds)
  reached = distance <= 0.2
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  first = np.where(reached.any(1), steps[reached.argmax(1)], STEPS)
  return {
    'step': np.tile(steps, (len(seeds), 1)),
    'L1 distance': distance,
    'at 400': distance[:, 400 // EVERY - 1],
    'at the end': distance[:, -1],
    'steps to 0.2': first,
  }
