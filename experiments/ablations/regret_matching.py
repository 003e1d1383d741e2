"""Regret matching averages to an equilibrium that best responses circle.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/regret_matching.py

LSPO (arXiv 2502.04686) plays a game of latent strategies by regret
minimisation, whose average strategy tends to an equilibrium by the root of the
rounds (Hart and Mas-Colell 2000; Zinkevich et al. 2007), where a policy that
answers its own last self goes in circles.

Zero-sum games of 10 actions with skew-symmetric normal log-odds of spread 2.
`matching` is regret matching, of which the last strategy and the average count;
`responses` answers its last self, and `fictitious play` its own average, with
the response that is regularised towards the uniform strategy by 0.02. Measured:
exploitability along 3000 rounds; its slope on both logarithms from 30 rounds
on; total variation of the last strategy to the equilibrium, by linear
programming. `kuhn` is counterfactual regret minimisation in Kuhn poker, whose
exploitability is by trying all pure strategies; nothing in it is random.
Expected: a slope of -1/2 or steeper of the averages alone.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, chain, over
from jaxrl_llm.tabular import games, poker

ACTIONS, ROUNDS, WEIGHT = 10, 3000, 0.02
METHODS = (
  'matching, average',
  'matching, last',
  'responses',
  'fictitious play',
)
POINTS = np.unique(np.geomspace(1, ROUNDS, 24).astype(int))

FIGURE = Figure(
  y='exploitability',
  x='round',
  series='method',
  log='xy',
  title='random games, and Kuhn poker',
)


def cells():
  return chain(
    over(method=METHODS, seed=range(8)), over(method=['kuhn'], seed=range(3))
  )


def random_game(key):
  """f32[A, A] of chances to win."""
  odds = 2 * jax.random.normal(key, (ACTIONS, ACTIONS))
  return jax.nn.sigmoid((odds - odds.T) / np.sqrt(2))


def path(method, game):
  """f32[ROUNDS, A]: log-strategies, one a round."""
  uniform = jnp.full(ACTIONS, -np.log(ACTIONS), jnp.float32)

  def matching(carry, number):
    regrets, average = carry
    new = games.regret_matching_step(
      regrets, lambda sigma: game @ sigma, average, number
    )
    last = jnp.log(jnp.maximum(games.matched(new[0]), 1e-30))
    return new, new[1] if method == 'matching, average' else last

  def responding(average, number):
    new = games.best_response(game, average, uniform, weight=WEIGHT)
    if method == 'fictitious play':
      share = 1 / number
      new = jnp.log((1 - share) * jnp.exp(average) + share * jnp.exp(new))
    return new, new

  numbers = jnp.arange(1.0, ROUNDS + 1)
  # Off the uniform strategy, at which some games would rest.
  start = jnp.zeros(ACTIONS).at[0].set(1.0)
  if method.startswith('matching'):
    return jax.lax.scan(matching, (start, uniform), numbers)[1]
  return jax.lax.scan(responding, jnp.log(start + 1e-6), numbers)[1]


def run(seeds, *, method):
  """Exploitability along the rounds."""
  if method == 'kuhn':
    solved = [poker.exploitability(poker.solve(int(n))) for n in POINTS]
    return summary(np.tile(solved, (len(seeds), 1)))

  def play(key):
    game = random_game(key)
    strategies = path(method, game)
    found = jax.vmap(lambda p: games.exploitability(game, p))(strategies)
    return found, game, strategies[-1]

  found, game, last = tables.over_seeds(play, seeds)
  exact = np.stack([games.equilibrium(g) for g in game])
  apart = np.abs(np.exp(last) - exact).sum(1) / 2
  return summary(found[:, POINTS - 1]) | {'total variation': apart}


def summary(found):
  """The results of exploitabilities [S, points]."""
  found, late = np.maximum(found, 1e-6), POINTS >= 30
  slopes = np.polyfit(np.log(POINTS[late]), np.log(found[:, late]).T, 1)[0]
  return {
    'round': np.tile(POINTS, (len(found), 1)),
    'exploitability': found,
    'at the end': found[:, -1],
    'slope': slopes,
  }
