"""Training on regret finds follow-the-regularised-leader.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/regret_loss.py

Do LLM Agents Have Regret? (arXiv 2403.16843) claims that a linear attention
layer which is trained on the regret of its own play, without being shown what
to do, becomes follow-the-regularised-leader, and so has no regret.

A layer reads the losses so far and plays the point of the simplex nearest to
offset + sum of M loss, where M f32[3, 3] and the offset are learned from small
random starts by 600 steps of Adam on `regret_loss` of 64 fresh games of 40
rounds. Losses are normal with a mean of spread 0.5 for each action, or without
one, or of a mean that turns its sign in the middle. Measured on 500 other
games: the loss, and the regret, of the layer and of the leader whose step size
has the lowest loss on a grid; how far M is from -step (I - 1/3), relative to
its size, and the step; the lowest regret of all leaders; the regret of uniform
play; and the layer's dynamic regret, against the best action of each round.
Expected: the leader's form, step and loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import regret

ACTIONS, ROUNDS, GAMES, STEPS, TESTS = 3, 40, 64, 600, 500
SIZES = np.geomspace(0.02, 10, 16).astype(np.float32)
BIAS = {'none': (0.0, 0.0), 'constant': (0.5, 0.5), 'turning': (0.5, -0.5)}

FIGURE = Figure(
  y='regret on the way',
  x='step',
  series='losses',
  title='regret of a linear attention layer that is trained on it',
)


def cells():
  return over(losses=list(BIAS), seed=range(6))


def drawn(key, losses, count):
  """f32[count, ROUNDS, ACTIONS]: the losses of games."""
  mean_key, noise_key = jax.random.split(key)
  mean = jax.random.normal(mean_key, (count, 1, ACTIONS))
  turn = np.repeat(BIAS[losses], ROUNDS // 2)[:, None]
  return mean * turn + jax.random.normal(noise_key, (count, ROUNDS, ACTIONS))


def plays(layer, losses):
  """f32[ROUNDS, ACTIONS]: what the layer plays in one game."""
  seen = jnp.cumsum(losses, axis=0) - losses
  points = layer['offset'] + seen @ layer['matrix'].T
  return jax.vmap(regret.on_simplex)(points)


def regrets(layer, games):
  return jax.vmap(lambda x: regret.regret(x, plays(layer, x)))(games)


def run(seeds, *, losses):
  """Regret of the layer along training, and of its rivals."""
  tx = optax.adam(0.01)

  def train(key):
    start, test, learn = jax.random.split(key, 3)
    layer = {
      'matrix': 0.1 * jax.random.normal(start, (ACTIONS, ACTIONS)),
      'offset': jnp.zeros(ACTIONS),
    }
    held_out = drawn(test, losses, TESTS)

    def step(carry, key):
      layer, opt = carry
      games = drawn(key, losses, GAMES)

      def loss(layer):
        found = regrets(layer, games)
        return regret.regret_loss(found), jnp.mean(found)

      grads, mean = jax.grad(loss, has_aux=True)(layer)
      updates, opt = tx.update(grads, opt)
      return (optax.apply_updates(layer, updates), opt), mean

    keys = jax.random.split(learn, STEPS)
    (layer, _), path = jax.lax.scan(step, (layer, tx.init(layer)), keys)

    def led(size):
      play = jax.vmap(lambda x: regret.regularised_leader(x, step_size=size))
      return jax.vmap(regret.regret)(held_out, play(held_out))

    def measures(found):
      return jnp.stack([jnp.mean(found), regret.regret_loss(found)])

    uniform = jnp.full((ROUNDS, ACTIONS), 1 / ACTIONS)
    still = jax.vmap(lambda x: regret.regret(x, uniform))(held_out)
    form = -layer['matrix']
    form = form - jnp.mean(form, axis=0)  # what the simplex takes out
    centred = jnp.eye(ACTIONS) - 1 / ACTIONS
    size = jnp.sum(form * centred) / jnp.sum(centred**2)
    apart = jnp.linalg.norm(form - size * centred) / jnp.linalg.norm(form)
    against_all = jax.vmap(
      lambda x: regret.dynamic_regret(x, plays(layer, x)) / ROUNDS
    )
    return {
      'on the way': path,
      'layer': measures(regrets(layer, held_out)),
      'leader': jax.lax.map(lambda size: measures(led(size)), SIZES),
      'uniform': measures(still),
      'step size': size,
      'off the form': apart,
      'dynamic, a round': jnp.mean(against_all(held_out)),
    }

  found = tables.over_seeds(train, seeds)
  way = found['on the way'].reshape(len(seeds), -1, 20)
  leader, rows = found['leader'], np.arange(len(seeds))
  best = leader[:, :, 1].argmin(1)
  return {
    'step': np.tile(np.arange(20, STEPS + 1, 20), (len(seeds), 1)),
    'regret on the way': way.mean(2),
    'loss': found['layer'][:, 1],
    "the leader's": leader[rows, best, 1],
    'step size': found['step size'],
    "the leader's step": SIZES[best],
    'off the form': found['off the form'],
    'regret': found['layer'][:, 0],
    'that of the leader': leader[rows, best, 0],
    'lowest of leaders': leader[:, :, 0].min(1),
    'of uniform play': found['uniform'][:, 0],
    'dynamic, a round': found['dynamic, a round'],
  }
