"""BAPO's moving bounds keep positive tokens and entropy in stale updates.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/bapo_balance.py

BAPO (arXiv 2510.18927, section 3) finds that off-policy updates are dominated
by negative advantages and that a fixed clip blocks the updates that would raise
the entropy. Its bounds move at every step, up to 0.8 and 2, until positive
tokens have half of the loss; entropy and reward then hold up on stale data.

The quiz of `quiz.py`, 8 questions, 8 groups of 8 answers to each, 40 iterations
of 4 to 64 minibatches with Adam: the more, the staler. Against BAPO with its
own constants, and with a target above half, stand the same loss with the fixed
bounds of PPO (0.8, 1.2) and of DAPO (0.8, 1.28). Measured: the part of the
gradient's coefficients that pushes up, on average over training (`positive`),
the entropy at the end and when the reward first reaches 0.9, and the reward on
average over training. Expected: BAPO has the larger positive part and entropy,
increasingly with staleness.
"""

import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over

BOUNDS = {
  'clip': {'target': 0.0, 'low': 0.8, 'high': 1.2},
  'clip_higher': {'target': 0.0, 'low': 0.8, 'high': 1.28},
  'bapo': {},
  'bapo_0.6': {'target': 0.6},
}

FIGURE = Figure(
  y='entropy at 0.9',
  x='minibatches',
  series='bounds',
  log='x',
  title='nats of an answer when the reward reaches 0.9',
)


def cells():
  return over(bounds=list(BOUNDS), minibatches=[4, 16, 64], seed=range(6))


def run(seeds, *, bounds, minibatches):
  """Balance of the gradient, entropy and reward."""
  program = tables.program_of(
    'bapo', tx=optax.adam(0.1), minibatches=minibatches, **BOUNDS[bounds]
  )
  names = ('policy/push_up', 'policy/push_down', 'policy/clip_fraction')
  curves = quiz.curves(lambda: program, seeds, metrics=names)
  reward, entropy = curves['reward'], curves['entropy']
  up, down, silenced = (curves[name].mean(1) for name in names)
  return {
    'positive': up / (up + down),
    'silenced': silenced,
    'entropy': entropy[:, -1],
    'entropy at 0.9': quiz.when(reward, entropy, 0.9),
    'mean reward': reward.mean(1),
  }
