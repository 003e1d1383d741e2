"""Pairs of a few answers overoptimised by DPO, and imitation against it.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/rpo_overoptimisation.py

RPO (arXiv 2405.16436) claims that the likelihood of chosen answers beside DPO's
loss is a pessimism about answers that the data hardly cover, and keeps the
policy from being overoptimised.

The bandit of `hypo_coverage.py`: policies reference e^(features theta), 64
pairs of 16 of 64 arms, and arms that no pair shows are worse than they look.
SGD on all pairs, weight 0.1; `imitation` is RPO's weight relative to DPO's, 0
is DPO. Measured: the true reward along 800 steps, its highest and the fall from
there to the end, the mass on arms that no pair shows, the final KL to the
reference. Expected: DPO rises, then falls; with imitation the fall is smaller.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, hypo_coverage, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games

STEPS, EVERY, WEIGHT, RATE = 800, 40, 0.1, 2.0

FIGURE = Figure(
  y='true reward',
  x='step',
  series='imitation',
  title='true reward, with pairs of a quarter of the answers',
)


def cells():
  return over(imitation=[0.0, 0.03, 0.1, 0.3], seed=range(12))


def run(seeds, *, imitation):
  """Reward along training, and where the mass ends."""

  def train(key):
    features, log_ref, rewards, pairs = hypo_coverage.world(key)
    program = choices.linear(
      'rpo',
      features,
      log_ref,
      tx=optax.sgd(RATE),
      weight=WEIGHT,
      imitation=imitation,
    )
    path = choices.fit(
      program,
      jnp.zeros(features.shape[1]),
      pairs,
      steps=STEPS,
      measure=lambda theta: jax.nn.log_softmax(log_ref + features @ theta),
    )
    off = jnp.sum(jnp.where(hypo_coverage.COVERED, 0.0, jnp.exp(path[-1])))
    return jnp.exp(path) @ rewards, off, games.kl(path[-1], log_ref)

  reward, off, far = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'step': np.tile(steps, (len(seeds), 1)),
    'true reward': reward[:, EVERY - 1 :: EVERY],
    'highest': reward.max(1),
    'final': reward[:, -1],
    'fall': reward.max(1) - reward[:, -1],
    'mass off the pairs': off,
    'KL, nats': far,
  }
