"""Clip-Cov and KL-Cov keep entropy that GRPO loses.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/covariance_gates.py

"The Entropy Mechanism" (arXiv 2505.22617, section 4) finds that a few tokens
of large covariance between log-prob and advantage drive the collapse of
entropy. Holding them back, by leaving some out of the gradient (Clip-Cov) or by
penalising their move (KL-Cov), keeps the entropy up, and the reward ends
higher, because reward is otherwise paid for with entropy.

The quiz of `quiz.py`, 8 questions, 8 groups of 8 answers to each, 60 iterations
of 8 minibatches with Adam; a minibatch has 256 tokens. `fraction` is the share
of tokens held back, 1/256 being one token, near the papers' 2e-4 and 2e-3;
GRPO has none. Measured: the entropy of an answer at the end, the expected
reward, and the entropy when the reward first reaches 0.9: a method that is
merely slow is no higher there. Expected: entropy above that of GRPO in both,
growing with the fraction; the reward cannot end much higher here, as GRPO
solves the quiz.
"""

import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, chain, over, product

TRACED = ('fraction',)

FIGURE = Figure(
  y='entropy at 0.9',
  x='fraction',
  series='method',
  title='nats of an answer when the reward reaches 0.9',
)


def cells():
  return product(
    chain(
      over(method=['grpo'], fraction=[0.0]),
      over(
        method=['clip_cov', 'kl_cov'],
        fraction=[1 / 256, 4 / 256, 16 / 256, 64 / 256],
      ),
    ),
    over(seed=range(6)),
  )


def run(seeds, *, method, fraction):
  """Entropy and reward of a run, and the entropy on the way."""

  def build(fraction):
    values = {'fraction': fraction} if method != 'grpo' else {'kl_weight': 0.0}
    return tables.program_of(
      method, tx=optax.adam(0.05), minibatches=8, **values
    )

  curves = quiz.curves(build, seeds, fraction, steps=60)
  reward, entropy = curves['reward'], curves['entropy']
  return {
    'entropy': entropy[:, -1],
    'reward': reward[:, -1],
    'mean reward': reward.mean(1),
    'entropy at 0.9': quiz.when(reward, entropy, 0.9),
  }
