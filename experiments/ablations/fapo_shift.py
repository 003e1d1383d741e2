"""Right answers by flawed steps: a help at first, unlearned later.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/fapo_shift.py

FAPO (arXiv 2510.22543) claims that right answers with flawed steps are a
shortcut that speeds early learning up, that outcome rewards never leave it, and
that its penalty moves on to clean answers by itself once they are frequent.

A bandit of three kinds of arms: 1 clean, 3 flawed, 12 wrong; both of the first
kinds are right. The policy begins with the chances of the cell on the clean
arm, with 0.2 on the flawed ones. `fapo` with penalties of 0 (outcome rewards),
1 (the paper's) and 2 (a flawed answer is as bad as a wrong one), 16 groups of 8
answers, 300 iterations of Adam. Measured: the chances of clean and of right
answers at the end, and of right ones on average over the first 30. Expected:
without a penalty the flawed arms stay; with it the clean arm wins, at little
cost to early accuracy for 1, and at more for 2.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

FLAWED, WRONG = 3, 12
GROUPS, SAMPLES, STEPS, EARLY = 16, 8, 300, 30
TRACED = ('clean',)

FIGURE = Figure(
  y='clean at the end',
  x='clean',
  series='penalty',
  log='x',
  title='chance of a clean answer, by that at the start',
)


def cells():
  return over(
    penalty=[0.0, 1.0, 2.0], clean=[0.003, 0.01, 0.03, 0.1], seed=range(8)
  )


def run(seeds, *, penalty, clean):
  """Chances of clean and right answers."""
  program = tables.program_of(
    'fapo',
    tx=optax.adam(0.03),
    samples=SAMPLES,
    penalty=penalty,
    minibatches=1,
  )

  def train(key, clean):
    flawed = jnp.full(FLAWED, 0.2 / FLAWED)
    wrong = jnp.full(WRONG, (0.8 - clean) / WRONG)
    chance = jnp.concatenate([clean[None], flawed, wrong])

    def step(state, key):
      draw, update = jax.random.split(key)
      rollouts = policy.sample(
        state.params, draw, jnp.zeros(GROUPS, int), samples=SAMPLES
      )
      arm = rollouts.content.response[:, 0]
      right = (arm <= FLAWED) * 1.0
      extras = rollouts.extras | {'flawed': (arm > 0) * right}
      rollouts = rollouts.replace(extras=extras)
      state, _ = tables.learn(program, state, rollouts, right, update)
      return state, jnp.exp(choices.log_policy(state.params))

    state = tables.begin(
      program, choices.table(jnp.log(chance)), prompts=GROUPS
    )
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  path = np.asarray(tables.over_seeds(train, seeds, clean))
  right = path[..., : FLAWED + 1].sum(-1)
  return {
    'clean at the end': path[:, -1, 0],
    'right at the end': right[:, -1],
    'right at first': right[:, :EARLY].mean(1),
  }
