"""Demonstrations save episodes: optimistic plans, held to a cloned policy.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/planned_demonstrations.py

Demonstration-regularised RL (arXiv 2310.17303, recalled) claims that the
episodes that are needed fall with the number of demonstrations, as 1 / N, where
planning is optimistic and held by a KL to the policy cloned from them.

A random environment of 12 states, 4 actions and 8 steps: each action leads to
three states, by chances of its own, and every pair of state and action pays 1
with a probability of its own in the last two steps alone, else nothing.
Demonstrated are 0 to 64 episodes of an optimal policy that takes any action in
one of ten steps. The plan of each of 2000 episodes is by what was seen until
then, with a bonus of 0.2 (H - h) / sqrt(n) and a KL of weight 0.1 to the clone,
without a demonstration the uniform policy. What pays is known.
Measured: the share of the way from the uniform policy to the optimum that the
policy of each episode goes, and the episodes until it is and stays, on average
over 50, above 0.8; 2000 if never. Expected: fewer with more demonstrations.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import mirror, optimism

STEPS, STATES, ACTIONS, EPISODES = 8, 12, 4, 2000
WEIGHT, SCALE, SLIP, WINDOW = 0.1, 0.2, 0.1, 50
FIGURE = Figure(
  y='reached', x='episode', series='demonstrations', title='of the optimum'
)


def cells():
  return over(demonstrations=[0, 1, 4, 16, 64], seed=range(8))


def made(key):
  """Dynamics, rewards and the first state's chances."""
  shape = STEPS, STATES, ACTIONS
  where, odds, pays = jax.random.split(key, 3)
  places = jax.random.randint(where, (*shape, 3), 0, STATES)
  share = jax.random.dirichlet(odds, jnp.ones(3), shape)
  dynamics = jnp.sum(jax.nn.one_hot(places, STATES) * share[..., None], axis=-2)
  late = (jnp.arange(STEPS) >= STEPS - 2)[:, None, None]
  return dynamics, late * jax.random.uniform(pays, shape), jnp.eye(STATES)[0]


def episode(key, dynamics, log_policy):
  """States and actions i32[STEPS], and the states after them."""

  def step(state, known):
    key, dynamics, log_policy = known
    acting, moving = jax.random.split(key)
    action = jax.random.categorical(acting, log_policy[state])
    after = jax.random.categorical(moving, jnp.log(dynamics[state, action]))
    return after, (state, action, after)

  keys = jax.random.split(key, STEPS)
  return jax.lax.scan(step, jnp.int32(0), (keys, dynamics, log_policy))[1]


def run(seeds, *, demonstrations):
  """How near the optimum the policy of each episode is."""
  time = jnp.arange(STEPS)

  def one(key):
    make, show, play = jax.random.split(key, 3)
    dynamics, rewards, start = made(make)
    uniform = jnp.full(rewards.shape, -jnp.log(ACTIONS * 1.0))
    nothing = jnp.zeros_like(rewards)
    best, values = optimism.planned(
      dynamics, rewards, nothing, uniform, weight=1e-3
    )
    shown = jnp.log((1 - SLIP) * jnp.exp(best) + SLIP / ACTIONS)
    keys = jax.random.split(show, max(demonstrations, 1))
    state, action, _ = jax.vmap(episode, (0, None, None))(keys, dynamics, shown)
    counts = nothing.at[time, state, action].add(1.0 * (demonstrations > 0))
    reference = mirror.cloned(counts)
    floor = optimism.earned(dynamics, rewards, uniform, start)
    most = optimism.earned(dynamics, rewards, best, start)

    def act(moves, key):
      log_policy, _ = optimism.planned(
        optimism.frequencies(moves),
        rewards,
        optimism.owed(jnp.sum(moves, axis=-1), scale=SCALE),
        reference,
        weight=WEIGHT,
      )
      state, action, after = episode(key, dynamics, log_policy)
      got = optimism.earned(dynamics, rewards, log_policy, start)
      return moves.at[time, state, action, after].add(1), got

    empty = jnp.zeros(dynamics.shape)
    got = jax.lax.scan(act, empty, jax.random.split(play, EPISODES))[1]
    clone = optimism.earned(dynamics, rewards, reference, start)
    return jax.tree.map(lambda x: (x - floor) / (most - floor), (got, clone))

  reached, clone = tables.over_seeds(one, seeds)
  windows = reached.reshape(len(seeds), -1, WINDOW).mean(axis=2)
  low = windows < 0.8
  last = np.where(low.any(1), low.shape[1] - low[:, ::-1].argmax(1), 0)
  return {
    'episode': np.tile(
      np.arange(1, windows.shape[1] + 1) * WINDOW, (len(seeds), 1)
    ),
    'reached': windows,
    'episodes to 0.8': last * WINDOW,
    'of the clone': clone,
    'at the end': windows[:, -1],
  }
