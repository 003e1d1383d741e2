"""A KL to the last policy averages the errors of values; entropy does not.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/averaged_errors.py

Leverage the Average (arXiv 2003.14089) claims that a KL to the last policy
makes policy iteration a soft optimum of averaged values, so that errors which
differ from step to step cancel, where entropy alone lets each of them through.
The step is the one of MDPO's off-policy loss (arXiv 2005.09814), which contains
both: with equal weights of KL and entropy it is SAC's.

64 states of 8 actions, normal values, seen with fresh normal noise of 0.5 in
every step; entropy weight 0.2, KL weights of 1 to 32 times it, from the uniform
policy. The policy is then softmax(w / 0.2) of a moving average w of the values,
whose variance is 1 / (2 ratio - 1) that of one. Measured: KL to
softmax(value / 0.2) over the last 200 of 600 steps, in units of that with equal
weights; and the steps until without noise it is below 0.1. Expected:
1 / (2 ratio - 1) nearly, at steps that grow with the ratio.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games, mirror

STATES, ACTIONS, NOISE, ENTROPY = 64, 8, 0.5, 0.2
STEPS, LAST = 600, 200
TRACED = ('ratio',)

FIGURE = Figure(
  y='error',
  x='ratio',
  series='',
  log='xy',
  title='KL to the soft optimum by KL weight / entropy weight',
)


def cells():
  return over(ratio=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], seed=range(8))


def run(seeds, *, ratio):
  """Distance to the soft optimum with noise, and its speed without."""

  def train(key, ratio):
    value_key, key = jax.random.split(key)
    values = jax.random.normal(value_key, (STATES, ACTIONS))
    best = jax.nn.log_softmax(values / ENTROPY)

    def path(ratio, noise):
      def step(log_policy, key):
        seen = values + noise * jax.random.normal(key, values.shape)
        log_policy = mirror.soft_mirror_step(
          log_policy,
          seen,
          kl_weight=ratio * ENTROPY,
          entropy_weight=ENTROPY,
        )
        return log_policy, jnp.mean(games.kl(log_policy, best))

      start = jnp.full(values.shape, -np.log(ACTIONS), jnp.float32)
      return jax.lax.scan(step, start, jax.random.split(key, STEPS))[1]

    at_once = jnp.mean(path(1.0, NOISE)[-LAST:])
    floor = jnp.mean(path(ratio, NOISE)[-LAST:])
    return floor, floor / at_once, jnp.sum(path(ratio, 0.0) > 0.1)

  floor, relative, slow = tables.over_seeds(train, seeds, ratio)
  return {
    'error': floor,
    'relative error': relative,
    'predicted': 1 / (2 * np.broadcast_to(ratio, floor.shape) - 1),
    'steps to 0.1': slow.astype(float),
  }
