"""A limit on the variance of the ratio in place of the clip.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/r2vpo_clip.py

R2VPO (arXiv 2601.03320) holds the variance of the ratio to a limit by dual
ascent and clips nothing: tokens that a clip would silence still teach. It
claims a higher final reward than clipped methods from the same, also stale,
data.

The quiz of `quiz.py` with one answer in 100 right, 8 questions, 8 groups of 8
answers to each, 60 iterations of 16 minibatches with Adam. The rate of the dual
step, which is not published, is 100 here: the multiplier has 20 iterations to
act. Measured: the variance of the ratio while the policy learns, in iterations
5 to 25, the multiplier then, and the reward on average and at the end; GRPO's
clip, drawn at limit 1, logs the same variance. Expected: a variance at the
limit where it binds, that is with a multiplier above 0, and more reward than
GRPO at limits that let the variance be GRPO's.
"""

import dataclasses

import numpy as np
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, chain, over, product
from jaxrl_llm.control import Constant
from jaxrl_llm.objectives import base, costs, surrogates

TRACED = ('limit',)
RATE, STEPS, BUSY = 100.0, 60, slice(5, 25)

FIGURE = Figure(
  y='mean reward',
  x='limit',
  series='method',
  log='x',
  title='expected reward over training',
)


def cells():
  return product(
    chain(
      over(method=['r2vpo'], limit=[0.0003, 0.001, 0.003, 0.01, 0.03]),
      over(method=['grpo'], limit=[1.0]),
    ),
    over(seed=range(6)),
  )


def run(seeds, *, method, limit):
  """Variance of the ratio, its multiplier, and reward."""

  def build(limit):
    tx = optax.adam(0.05)
    if method == 'r2vpo':
      return tables.program_of(
        'r2vpo', tx=tx, limit=limit, rate=RATE, minibatches=16
      )
    program = tables.program_of('grpo', tx=tx, minibatches=16)
    # A coefficient of 0 that is a controller logs its cost.
    variance = base.Cost(costs.ratio_variance, Constant(0.0))
    objective = base.policy_gradient(surrogates.clip, variance=variance)
    recipe = dataclasses.replace(program.recipe, objective=objective)
    return dataclasses.replace(program, recipe=recipe)

  names = ('loss/variance', 'coef/variance')
  curves = quiz.curves(
    build, seeds, limit, steps=STEPS, solves=0.01, metrics=names
  )
  busy = {name: curves[name][:, BUSY].mean(1) for name in names}
  return {
    'variance': busy['loss/variance'],
    'multiplier': busy['coef/variance'],
    'over limit': np.maximum(busy['loss/variance'] / limit - 1, 0),
    'mean reward': curves['reward'].mean(1),
    'reward': curves['reward'][:, -1],
    'entropy': curves['entropy'][:, -1],
  }
