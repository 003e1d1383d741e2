"""The duality gap that a preference query buys, in random games.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/nash_queries.py

Nash-MP (arXiv 2505.19731) and EGPO (arXiv 2503.08942) claim that their last
iterates approach the regularised equilibrium at a linear rate, where Nash-MD
(arXiv 2312.00886) and INPO (arXiv 2407.00617) promise 1 / N and SPPO (arXiv
2405.00675), self-play without a reference, promises only its average.

Games of 10 actions, log-odds of i against j normal and scaled by 2, beta =
0.05; reference and start the softmax of normal logits. The methods, their step
sizes and what a query is are those of `nash_mp_rate.py`. Measured by queries:
the duality gap of the regularised game, and the exploitability in the game
without regulariser at the end. Expected: Nash-MP and EGPO lowest at the end.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import nash_mp_rate, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games

ACTIONS, WEIGHT = 10, 0.05

FIGURE = Figure(
  y='duality gap',
  x='queries',
  series='method',
  log='y',
  title='duality gap of the regularised game',
)


def cells():
  return over(method=list(nash_mp_rate.METHODS), seed=range(8))


def draw(key, *, actions=ACTIONS, scale=2.0):
  """A random game, and log-probabilities of a start and a reference."""
  strength, start, ref = jax.random.split(key, 3)
  odds = scale * jax.random.normal(strength, (actions, actions))
  upper = jnp.triu(odds, 1)
  game = jax.nn.sigmoid(upper - upper.T)
  start, ref = (
    jax.nn.log_softmax(jax.random.normal(k, (actions,))) for k in (start, ref)
  )
  return game, start, ref


def run(seeds, *, method):
  """The gap by queries, and the exploitability at the end."""
  cost = nash_mp_rate.METHODS[method][2]
  kept = slice(None, None, 20 // cost)

  def play(key):
    game, start, ref = draw(key)
    _, policies = nash_mp_rate.path(method, game, start, ref, weight=WEIGHT)
    gap = jax.vmap(
      lambda p: games.regularised_gap(game, p, ref, weight=WEIGHT)
    )(policies)
    return gap, games.exploitability(game, policies[-1])

  gap, exploitability = tables.over_seeds(play, seeds)
  # Gaps of float32 log-probabilities are no smaller than about 1e-7.
  gap = np.maximum(gap, 1e-7)
  count = len(gap[0, kept])
  return {
    'queries': np.tile(20 * np.arange(count), (len(seeds), 1)),
    'duality gap': gap[:, kept],
    'gap at 100': gap[:, 100 // cost],
    'gap at 500': gap[:, -1],
    'exploitability': exploitability,
  }
