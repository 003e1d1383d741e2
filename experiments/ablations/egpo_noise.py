"""Extragradient on noisy preferences: a linear rate down to a floor.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/egpo_noise.py

EGPO (arXiv 2503.08942, theorems 1 and 2) claims that the KL to the regularised
equilibrium falls by 1 - eta beta in every step with eta = 1 / (beta + 3), and
that the last iterate stays robust when the win rates are noisy: it then falls
as fast to a floor that the noise sets.

The games of `nash_queries.py`, 10 actions and beta = 0.1, and rock, paper,
scissors against a uniform reference; every query of win rates has normal noise
of its own. `mirror` is online mirror descent with the same step, without the
look ahead, in which a step is one query. Measured: the KL after 100 steps over
that of the start, the same over the promised (1 - eta beta)^100, and the KL on
average over the last 500 of 1000 steps. Expected: a ratio to the promise of at
most 1 for EGPO without noise; floors that grow with the noise's variance.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import nash_mp_rate, nash_queries, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games

WEIGHT, STEPS = 0.1, 1000
RATE = 1 / (WEIGHT + 3)

FIGURE = Figure(
  y='floor of cyclic games, nats',
  x='noise',
  series='method',
  log='y',
  title='KL to the equilibrium, mean of steps 501 to 1000',
)


def cells():
  return over(
    method=['egpo', 'mirror'],
    noise=[0.0, 0.01, 0.03, 0.1, 0.3],
    seed=range(8),
  )


def _cyclic(key):
  ref = jnp.full(3, -np.log(3), jnp.float32)
  start = jax.nn.log_softmax(jax.random.normal(key, (3,)))
  return jnp.asarray(nash_mp_rate.GAME), start, ref


GAMES = {'random games': nash_queries.draw, 'cyclic games': _cyclic}


def _paths(draw, seeds, method, noise):
  """KL to the equilibrium f32[seeds, STEPS + 1] of games that are drawn."""
  drawn = [draw(jax.random.key(seed)) for seed in seeds]
  targets = [
    games.regularised_equilibrium(game, ref, weight=WEIGHT)
    for game, _, ref in drawn
  ]

  def train(key, game, start, ref, target):
    def step(policy, key):
      ahead_key, step_key = jax.random.split(key)

      def toward(opponent, key):
        gain = games.win_rate(game, opponent)
        gain = gain + noise * jax.random.normal(key, gain.shape)
        return games.anchored_step(
          policy, ref, gain, step_size=RATE, weight=WEIGHT
        )

      ahead = toward(policy, ahead_key)
      new = toward(ahead, step_key) if method == 'egpo' else ahead
      return new, games.kl(target, new)

    _, later = jax.lax.scan(step, start, jax.random.split(key, STEPS))
    return jnp.append(games.kl(target, start), later)

  return tables.over_seeds(train, seeds, *zip(*drawn), targets)


def run(seeds, *, method, noise):
  """KL after 100 steps, and where it stays."""
  result = {}
  for name, draw in GAMES.items():
    kl = _paths(draw, seeds, method, noise)
    fall = kl[:, 100] / kl[:, 0]
    promised = (1 - RATE * WEIGHT) ** 100
    result[f'fall over promise, {name}'] = fall / promised
    result[f'floor of {name}, nats'] = np.maximum(kl[:, -500:].mean(1), 1e-8)
  return result
