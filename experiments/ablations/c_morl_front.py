"""A front of two objectives, from weights alone or extended where it is empty.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/c_morl_front.py

C-MORL (arXiv 2410.02236) claims that a front which is begun with a few linear
weights, and then extended from its least crowded policies by raising one
objective while the others are held, is better than one of as many weights: a
larger hypervolume and expected utility, with smaller gaps.

A bandit of 32 arms with two positive rewards of correlation -0.5 before their
sigmoid. `weights` trains 18 policies by GRPO on weighted rewards from the
uniform policy, 80 iterations of 8 groups of 8 answers with Adam; C-MORL 6 of
them, and then in three rounds 4 more, by 15 iterations of the recipe `c_morl`
for each objective from 2 policies: the least crowded of the front, or any two
of it (`any`). Measured, of the exact expected rewards: hypervolume above 0 and
expected utility, relative to those of the convex hull of the arms, and
sparsity. Expected: C-MORL, least crowded, above `any`, above weights; the least
sparse.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import pareto, policy

ARMS, GROUPS, SAMPLES, STEPS, FURTHER = 32, 8, 8, 80, 15
FIRST, ROUNDS, CHOSEN = 6, 3, 2
POLICIES = FIRST + ROUNDS * CHOSEN * 2

FIGURE = Figure(
  y='hypervolume',
  x='policies',
  series='method',
  title='hypervolume of the front, relative to the best',
)


def cells():
  return over(method=['weights', 'least crowded', 'any'], seed=range(8))


def trainer(recipe, steps, **values):
  """f(key, logits, worth f32[ARMS, K]) -> logits after training."""
  program = tables.program_of(
    recipe, tx=optax.adam(0.1), samples=SAMPLES, minibatches=2, **values
  )

  def train(key, logits, worth):
    def step(state, key):
      draw, update = jax.random.split(key)
      task = jnp.zeros(GROUPS, int)
      rollouts = policy.sample(state.params, draw, task, samples=SAMPLES)
      rewards = worth[rollouts.content.response[:, 0]]
      return tables.learn(program, state, rollouts, rewards, update)

    state = tables.begin(program, choices.table(logits), prompts=GROUPS)
    state, _ = jax.lax.scan(step, state, jax.random.split(key, steps))
    return choices.log_policy(state.params)

  return jax.jit(jax.vmap(train))


def rewards_of(seed):
  """f32[ARMS, 2] in (0, 1)."""
  first, other = jax.random.normal(jax.random.key(seed), (2, ARMS))
  return jax.nn.sigmoid(
    jnp.stack([first, np.sqrt(0.75) * other - 0.5 * first], axis=1)
  )


def quality(points):
  """Hypervolume and expected utility."""
  front = points[pareto.undominated(points)]
  return pareto.hypervolume(front, np.zeros(2)), pareto.expected_utility(front)


def hull(worth):
  """Points on the best front: mixtures of neighbouring best arms."""
  best = np.argmax(worth @ pareto.simplex_grid(2, 500).T, axis=0)
  ends = worth[np.unique(best)]
  ends = ends[np.argsort(ends[:, 0])]
  share = np.linspace(0, 1, 50)[:, None]
  pairs = zip(ends[:-1], ends[1:])
  return np.concatenate([(1 - share) * a + share * b for a, b in pairs])


def run(seeds, *, method):
  """Fronts of all seeds; which policies go on is chosen on the host."""
  worth = jnp.stack([rewards_of(seed) for seed in seeds])
  begin = trainer('grpo', STEPS, kl_weight=0.0)
  extend = [trainer('c_morl', FURTHER, objective=k) for k in (0, 1)]
  rng = [np.random.default_rng(seed) for seed in seeds]
  count = len(seeds)

  def trained(train, key, logits, worth):
    keys = jax.random.split(key, logits.shape[:2]).reshape(-1)
    flat = (x.reshape(-1, *x.shape[2:]) for x in (logits, worth))
    return train(keys, *flat).reshape(logits.shape)

  first = POLICIES if method == 'weights' else FIRST
  weights = jnp.asarray(pareto.simplex_grid(2, first - 1), jnp.float32)
  weighted = jnp.einsum('sak,wk->swa', worth, weights)[..., None]
  root = jax.random.key(7)
  found = trained(begin, root, jnp.zeros((count, first, ARMS)), weighted)
  held = jnp.broadcast_to(worth[:, None], (count, CHOSEN, ARMS, 2))
  for number in range(0 if method == 'weights' else ROUNDS):
    points = np.asarray(jnp.exp(found) @ worth)
    starts = [picked(method, p, r) for p, r in zip(points, rng)]
    start = jnp.take_along_axis(found, np.array(starts)[..., None], axis=1)
    for k, train in enumerate(extend):
      key = jax.random.fold_in(root, 2 * number + k)
      found = jnp.concatenate([found, trained(train, key, start, held)], axis=1)

  points = np.asarray(jnp.exp(found) @ worth)
  best = np.array([quality(hull(np.asarray(w))) for w in worth])
  sizes = np.arange(FIRST, POLICIES + 1, 2 * CHOSEN)

  def held_by(size):
    # Fewer weights than were trained are an even choice of them.
    if method == 'weights':
      return np.linspace(0, first - 1, size).round().astype(int)
    return np.arange(size)

  measured = np.array(
    [[quality(p[held_by(size)]) for size in sizes] for p in points]
  )
  fronts = [p[pareto.undominated(p)] for p in points]
  return {
    'policies': np.tile(sizes, (count, 1)),
    'hypervolume': measured[:, :, 0] / best[:, :1],
    'final hypervolume': measured[:, -1, 0] / best[:, 0],
    'expected utility': measured[:, -1, 1] / best[:, 1],
    'sparsity': np.array([pareto.sparsity(front) for front in fronts]),
    'on the front': np.array([float(len(front)) for front in fronts]),
  }


def picked(method, points, rng):
  """i[CHOSEN]: the policies to go on from, some twice if the front is small."""
  if method == 'any':
    front = np.flatnonzero(pareto.undominated(points))
    return rng.choice(front, CHOSEN, replace=len(front) < CHOSEN)
  return np.resize(pareto.least_crowded(points, CHOSEN), CHOSEN)
