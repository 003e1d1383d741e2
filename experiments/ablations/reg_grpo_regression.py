"""Regressing log-ratios on advantages against clipping the ratio.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/reg_grpo_regression.py

DeepVideo-R1 (arXiv 2506.07464, section 4.1) replaces GRPO's clipped objective
by a regression of the group's normalised log-ratios on its normalised rewards.
It claims that without minimum and clip no gradient vanishes, and that the
policy learns more from the same data.

The quiz of `quiz.py`, 8 questions, 8 groups of 8 answers to each, 40 iterations
of 1 to 64 minibatches with Adam at one rate, both without a KL cost. On policy
the published loss is 0 / 0; a spread of 1e-4 nats^2 makes it GRPO's direction.
Measured: the expected reward on average over training and at the end, the
entropy, and the divergence of a step from the policy that sampled. Expected:
alike for one minibatch; Reg-GRPO ahead where the clip silences tokens.
"""

import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over

FIGURE = Figure(
  y='mean reward',
  x='minibatches',
  series='recipe',
  log='x',
  title='expected reward over training',
)


def cells():
  return over(
    recipe=['grpo', 'reg_grpo'], minibatches=[1, 4, 16, 64], seed=range(6)
  )


def run(seeds, *, recipe, minibatches):
  """Reward over training and at the end, entropy, and size of the move."""
  program = tables.program_of(
    recipe, tx=optax.adam(0.1), minibatches=minibatches, kl_weight=0.0
  )
  curves = quiz.curves(lambda: program, seeds, metrics=('policy/kl',))
  return {
    'mean reward': curves['reward'].mean(1),
    'reward': curves['reward'][:, -1],
    'entropy': curves['entropy'][:, -1],
    'kl': curves['policy/kl'].mean(1),
  }
