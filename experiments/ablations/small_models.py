"""Soft actor-critic on a small learned model, fitted to the value or to states.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/small_models.py

VaGraM (arXiv 2204.01464) claims higher returns than squared errors where the
model is small, and where distracting dimensions are seen; and as good ones
elsewhere.

Swinging up a pendulum in 100 steps, 8 at a time, 1800 steps. Three models with
one hidden layer of 64 or 16 units; or of 32 units where 3 chaotic numbers are
seen beside the pendulum's 3. The learner is `ModelBased`, with 2 updates a step
of 128 transitions. Measured: the return of an episode as it learns and over the
last three; at random it is about -500, held up -90. Expected: alike with 64
units, higher with weighted errors in both other cases.
"""

import functools

import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.environments import distracted, pendulum
from jaxrl_llm.environments.base import Environment
from jaxrl_llm.learners import model_based, model_errors
from jaxrl_llm.learners.base import play

ROWS, HORIZON, STEPS = 8, 100, 1800
PLAIN = pendulum.Pendulum(tasks=64, horizon=HORIZON)
# What is seen, and the units of the model.
WORLDS: dict[str, tuple[Environment, int]] = {
  '64 units': (PLAIN, 64),
  '16 units': (PLAIN, 16),
  '32 units, distracted': (
    distracted.Distracted(PLAIN, 3, spread=1.0, gain=3.0),
    32,
  ),
}

FIGURE = Figure(
  y='return',
  x='episode',
  series='error',
  across='world',
  title='return of an episode with a small model',
)


def cells():
  return over(
    error=['squared', 'value_weighted'], world=list(WORLDS), seed=range(5)
  )


def run(seeds, *, error, world):
  """Returns of episodes as they are learned from."""
  environment, units = WORLDS[world]
  learner = model_based.ModelBased(
    error=getattr(model_errors, error),
    members=3,
    model_widths=(units,),
    widths=(64, 64),
    capacity=16_384,
    explore=800,
    plain=1600,
    updates=2,
    batch=128,
    discount=0.97,
    rate=1e-3,
    averaging=0.01,
  )
  tasks = jnp.arange(ROWS) * (PLAIN.tasks // ROWS)
  played = functools.partial(play, learner, environment, STEPS, tasks=tasks)
  rewards = tables.over_seeds(lambda key: played(key).outcome.reward[0], seeds)
  shape = len(seeds), STEPS // HORIZON, HORIZON, ROWS
  returns = rewards.reshape(shape).sum(axis=2).mean(axis=2)
  number = np.arange(1, shape[1] + 1)
  return {
    'episode': np.tile(number, (len(seeds), 1)),
    'return': returns,
    'at the end': returns[:, -3:].mean(axis=1),
  }
