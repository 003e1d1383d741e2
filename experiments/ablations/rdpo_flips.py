"""Flipped labels: DPO, its conservative form and the unbiased one.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/rdpo_flips.py

rDPO (arXiv 2403.00409) claims that its loss, unbiased under labels that are
flipped at a known rate, learns the policy of clean labels, where DPO (arXiv
2305.18290) and cDPO, which smooths them, are biased; with n pairs its error is
of the order of 1 / ((1 - 2 flip) sqrt n).

A bandit of 8 arms, normal rewards in nats of odds, a uniform reference and
beta = 1: with clean labels the optimum is the softmax of the rewards. Pairs of
random arms, labelled by Bradley and Terry and then flipped; cDPO and rDPO know
the rate. Adam on all pairs, its rate falling to 0. Measured: total variation
to the optimum, and the expected reward that the optimum's exceeds. Expected:
an error that grows with flips for DPO and more so for cDPO; for rDPO one that
shrinks with the number of pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over

ARMS, STEPS = 8, 400
RATE = {'dpo': '', 'cdpo': 'smoothing', 'rdpo': 'flip'}

FIGURE = Figure(
  y='total variation of 2000',
  x='flip',
  series='recipe',
  title='distance to the optimum of clean labels, 2000 pairs',
)


def cells():
  return over(recipe=list(RATE), flip=[0.0, 0.1, 0.2, 0.3, 0.4], seed=range(6))


def run(seeds, *, recipe, flip):
  """Distance to the optimum, and what is lost in reward."""
  values = {RATE[recipe]: flip} if RATE[recipe] else {}
  rate = optax.linear_schedule(0.05, 0.0, STEPS)
  program = tables.program_of(recipe, tx=optax.adam(rate), weight=1.0, **values)

  def of(count):
    def train(key):
      worth, pair, other, judge = jax.random.split(key, 4)
      rewards = jax.random.normal(worth, (ARMS,))
      optimum = jax.nn.softmax(rewards)
      first = jax.random.randint(pair, (count,), 0, ARMS)
      apart = jax.random.randint(other, (count,), 1, ARMS)
      pairs = jnp.stack([first, (first + apart) % ARMS], axis=1)
      pairs = choices.judged(judge, pairs, rewards, flip=flip)
      start = choices.table(jnp.zeros(ARMS))
      learned = jnp.exp(choices.fit(program, start, pairs, steps=STEPS)[-1])
      distance = jnp.sum(jnp.abs(learned - optimum)) / 2
      return distance, rewards @ (optimum - learned)

    return tables.over_seeds(train, seeds)

  result = {}
  for count in (500, 2000):
    distance, loss = of(count)
    result[f'total variation of {count}'] = distance
    result[f'reward lost of {count}'] = loss
  return {name: np.asarray(x) for name, x in result.items()}
