"""Demonstrations save pulls: a KL to the policy that was cloned from them.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/cloned_demonstrations.py

Demonstration-regularised RL (arXiv 2310.17303, recalled) claims that with N
demonstrations of a good policy, cloned and held to by a KL, an error of epsilon
takes of the order of 1 / (epsilon^2 N) pulls.

32 contexts with 8 actions, normal rewards. The expert is softmax(reward / 0.1);
the clone counts its actions, 0 to 64 a context, with one added to each. The
rewards are known by the mean of pulls with noise of spread 1, shared evenly by
the actions of a context, and the policy is clone e^(mean / weight), with the
weight of a grid that loses least over the contexts: what is shown is the best
case of each. Measured: regret by pulls a context, that without any pull, and
the pulls at which it first is 0.2 and 0.1. Expected: pulls in proportion to
1 / N.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import mirror

CONTEXTS, ACTIONS, SHARPNESS = 32, 8, 0.1
PULLS = np.geomspace(1, 4096, 25).astype(np.float32)
WEIGHTS = np.geomspace(0.01, 30, 24).astype(np.float32)

FIGURE = Figure(
  y='regret',
  x='pulls',
  series='demonstrations',
  log='xy',
  title='regret of a context by its pulls and demonstrations',
)


def cells():
  return over(demonstrations=[0, 1, 2, 4, 8, 16, 64], seed=range(12))


def run(seeds, *, demonstrations):
  """Regret by the number of pulls."""

  def one(key):
    reward, shown, noise = jax.random.split(key, 3)
    rewards = jax.random.normal(reward, (CONTEXTS, ACTIONS))
    acted = jax.random.categorical(
      shown, rewards / SHARPNESS, shape=(max(demonstrations, 1), CONTEXTS)
    )
    counts = jnp.sum(jax.nn.one_hot(acted, ACTIONS), axis=0)
    clone = mirror.cloned(counts if demonstrations else 0 * counts)
    unit = jax.random.normal(noise, rewards.shape)
    most = jnp.max(rewards, axis=1)

    def lost(log_policy):
      return jnp.mean(most - jnp.sum(jnp.exp(log_policy) * rewards, axis=1))

    def with_pulls(pulls):
      seen = rewards + unit * jnp.sqrt(ACTIONS / pulls)

      def held(weight):
        return lost(mirror.mirror_step(clone, seen, step_size=1 / weight))

      return jnp.min(jax.vmap(held)(WEIGHTS))

    return jax.vmap(with_pulls)(PULLS), lost(clone)

  regret, cloned = tables.over_seeds(one, seeds)

  def needed(limit):
    below = regret <= limit
    first = np.where(below.any(1), below.argmax(1), len(PULLS) - 1)
    return PULLS[first]

  return {
    'pulls': np.tile(PULLS, (len(seeds), 1)),
    'regret': regret,
    'of the clone': cloned,
    'pulls to 0.2': needed(0.2),
    'pulls to 0.1': needed(0.1),
  }
