"""Pairs of similar answers: how likely the better one of them becomes.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/bounded_negatives.py

BNF (arXiv 2410.04834) claims that DPO makes chosen answers less likely together
with rejected ones, since what it pushes down has no bound, and that a loss
whose slopes die out below the reference does not, with nothing to tune and at
no loss of reward.

128 arms in twins: 8 normal features, of which twins differ by a part, `apart`;
policies reference e^(features theta), a uniform reference, rewards linear in
the features. Pairs are the first 16 twins, the better one chosen. SGD, 600
steps at a rate by which the KL ends at a nat or more. Measured where the KL to
the reference is first 0.3 nats, or in the end: the mean change of log-probs of
chosen and of rejected answers, the part of pairs whose chosen one has become
less likely, and the reward beyond the reference's. `dpo` has a weight of 0.1,
`rpo` the likelihood beside it (`rpo_sequence_mean`, 0.1 and 0.2). Expected:
chosen answers fall for DPO, the more the closer twins are, and not for BNF.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games
from jaxrl_llm.types import Spec

TWINS, PAIRS, FEATURES, STEPS, NATS = 64, 16, 8, 600, 0.3
RECIPES = {
  'dpo': ('dpo', {'weight': 0.1}, 1.0),
  'rpo': ('rpo_sequence_mean', {'weight': 0.1, 'imitation': 0.2}, 2.0),
  'bnf': ('bnf', {}, 0.1),
}
FIGURE = Figure(
  y='chosen, nats',
  x='apart',
  series='learner',
  log='x',
  title='how the log-probs of chosen answers change, at 0.3 nats',
)


def cells():
  return over(learner=list(RECIPES), apart=[0.1, 0.3, 1.0], seed=range(8))


def world(key, apart):
  """Features f32[2 TWINS, FEATURES], rewards, and pairs i32[PAIRS, 2]."""
  middle, part, direction = jax.random.split(key, 3)
  shape = (TWINS, FEATURES)
  half = apart * jax.random.normal(part, shape)
  base = jax.random.normal(middle, shape)
  features = jnp.stack([base + half, base - half], 1).reshape(-1, FEATURES)
  rewards = features @ jax.random.normal(direction, (FEATURES,))
  pairs = jnp.arange(2 * PAIRS).reshape(PAIRS, 2)
  better = rewards[pairs[:, 0]] > rewards[pairs[:, 1]]
  pairs = jnp.where(better[:, None], pairs, pairs[:, ::-1])
  return features, rewards / jnp.sqrt(FEATURES), pairs


def run(seeds, *, learner, apart):
  """What became of chosen and rejected answers."""
  name, values, rate = RECIPES[learner]

  def train(key):
    features, rewards, pairs = world(key, apart)
    log_ref = jnp.full(2 * TWINS, -jnp.log(2 * TWINS))
    tx = optax.sgd(rate)
    program = choices.linear(name, features, log_ref, tx=tx, **values)
    rows, labels = choices.rows(pairs), jnp.tile(jnp.array([1.0, 0.0]), PAIRS)

    def step(state, key):
      state, _ = tables.learn(program, state, rows, labels, key)
      now = jax.nn.log_softmax(log_ref + features @ state.params)
      moved = (now - log_ref)[pairs]
      gained = jnp.exp(now) @ rewards - jnp.mean(rewards)
      fallen = jnp.mean(moved[:, 0] < 0)
      return state, (games.kl(now, log_ref), *moved.mean(0), fallen, gained)

    state = program.init(jnp.zeros(FEATURES), Spec(2 * PAIRS, 2, 1, 1))
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  far, *found = (np.asarray(x) for x in tables.over_seeds(train, seeds))
  there = far >= NATS
  step = np.where(there.any(axis=1), there.argmax(axis=1), STEPS - 1)
  names = ('chosen, nats', 'rejected, nats', 'chosen fell', 'reward')
  at = [np.take_along_axis(x, step[:, None], axis=1)[:, 0] for x in found]
  return dict(zip(names, at)) | {'step': step, 'KL at the end': far[:, -1]}
