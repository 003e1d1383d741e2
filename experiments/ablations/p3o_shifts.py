"""Rewards shifted by prompt: P3O does not see them, PPO does.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/p3o_shifts.py

P3O (arXiv 2310.00212) claims to be invariant to rewards that differ by a
number of the prompt alone, which preferences cannot tell apart, where PPO
(arXiv 1707.06347) is not: its critic must learn the number first.

16 questions with 8 answers of normal rewards each, a uniform start; to the
rewards of each question a normal number is added, times the shift. `p3o` and
its two clipped forms without KL cost, and `ppo` with its critic, all on 16 x 8
answers an iteration, 4 minibatches, one epoch, the same Adam. Measured: the
true reward on average over 60 iterations and at the end, of about 1.42 at most,
and the largest difference of it along training from the same seed without
shift. Expected: P3O the same up to float32; PPO less at large shifts.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, ARMS, SAMPLES, STEPS = 16, 8, 8, 60
PAIRWISE = {'samples': SAMPLES, 'kl_weight': 0.0, 'epochs': 1}
VALUES: dict[str, dict[str, Any]] = {
  'p3o': PAIRWISE,
  'p3o_separate': PAIRWISE,
  'p3o_joint': PAIRWISE,
  'ppo': {'samples': SAMPLES, 'epochs': 1},
}
SHIFTS = [0.0, 1.0, 3.0, 10.0, 30.0]
TRACED = ('shift',)

FIGURE = Figure(
  y='reward over training',
  x='shift',
  series='recipe',
  title='true reward under shifts of the reward by question',
)


def cells():
  return over(recipe=list(VALUES), shift=SHIFTS, seed=range(6))


def run(seeds, *, recipe, shift):
  """True reward with the shift, and how far it is from that without."""
  program = tables.program_of(recipe, tx=optax.adam(0.05), **VALUES[recipe])

  def train(key, shift):
    worth_key, shift_key, learn = jax.random.split(key, 3)
    worth = jax.random.normal(worth_key, (QUESTIONS, ARMS))
    moved = worth + shift * jax.random.normal(shift_key, (QUESTIONS, 1))

    def reward(rollouts, question):
      return moved[question, rollouts.content.response[:, 0]]

    def step(state, key):
      question = jnp.arange(QUESTIONS)
      state, _ = tables.iterate(program, state, question, reward, key)
      chance = jax.nn.softmax(state.params['logits'][:, 0])
      return state, jnp.mean(jnp.sum(chance * worth, axis=-1))

    start = policy.init(learn, tasks=QUESTIONS, vocab=ARMS, length=1, scale=0.0)
    state = tables.begin(program, start, prompts=QUESTIONS)
    return jax.lax.scan(step, state, jax.random.split(learn, STEPS))[1]

  curve = tables.over_seeds(train, seeds, shift)
  plain = tables.over_seeds(train, seeds, np.zeros(len(seeds)))
  return {
    'reward over training': curve.mean(1),
    'final reward': curve[:, -1],
    'change': np.abs(curve - plain).max(1),
  }
