"""A judge that is paid where it is right in both orders of a pair.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/both_orders.py

J1 (arXiv 2505.10320, which 2505.11875 shares the name and the task with)
claims that a judge which has to be right in both orders of a pair at once
favours a position less than one that is paid for each order, and that several
verdicts are better than one.

The log-odds of a verdict for the text shown first are linear: in how much
better it looks, which is its quality with noise, in 8 differences that mean
nothing, and in a constant, the bias. They begin as those of a judge that sees
quality by half and favours the first text by 1.5 nats. 64 pairs, verdicts by
groups of 8 in each order, Adam at 0.03, 200 iterations; or groups of 16 in one
order, in which the better text stands first with a chance of 0.5 or 0.7.
`j1` with shares of 0 and 1. Measured on 4,000 other pairs, exactly: verdicts
that are right, in both orders, and the same in both; the bias; right verdicts
of the majority of 15 in random orders. Expected: the bias falls most where both
orders count at once, and stays where the better text is often the first one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

PAIRS, TESTED, NOISE, IDLE = 64, 4000, 0.5, 8
STEPS, EVERY, RATE, VOTES = 200, 10, 0.03, 15
PAID = {
  'in one order': {'share': 0.0, 'samples': 16},
  'in one order, often first': {'share': 0.0, 'samples': 16},
  'in each order': {'share': 0.0},
  'in both at once': {'share': 1.0},
}
FIGURE = Figure(
  y='bias along training',
  x='iteration',
  series='paid',
  title='nats by which the first text is favoured',
)


def cells():
  return over(paid=list(PAID), seed=range(6))


def pairs(key, count):
  """What is seen of pairs [count, 1 + IDLE], and which text is better."""
  look, idle = jax.random.split(key)
  quality, noise = jax.random.normal(look, (2, count))
  seen = quality + NOISE * noise
  others = jax.random.normal(idle, (count, IDLE))
  return jnp.concatenate([seen[:, None], others], axis=1), quality > 0


def first(params, seen, turned):
  """f32[N]: log-odds that the text shown first is called better."""
  sign = jnp.where(turned, -1.0, 1.0)
  return sign * (seen @ params['weights']) + params['bias']


def score(params, rows, needs=frozenset()):
  del needs
  odds = first(params, rows.extras['seen'], rows.extras['turned'])
  said = jax.nn.log_sigmoid(jnp.stack([-odds, odds], axis=1))
  logp = jnp.take_along_axis(said, rows.content.response, axis=1)
  entropy = -jnp.sum(jnp.exp(said) * said, axis=1, keepdims=True)
  return Stats(logp=logp, entropy=entropy)


def judged(params, world, orders, samples, key):
  """Verdicts on all pairs, and whether they are right."""
  seen, better, given = world
  place = jnp.arange(PAIRS * orders * samples, dtype=jnp.int32)
  pair, order = place // (samples * orders), place // samples % orders
  turned = given[pair] ^ (order > 0)
  odds = first(params, seen[pair], turned)
  said = jax.random.bernoulli(key, jax.nn.sigmoid(odds)).astype(jnp.int32)
  ones = jnp.ones((len(place), 1))
  rows = policy.as_rollouts(
    said[:, None], ones, task=pair, group=place // samples
  )
  extras = {
    'seen': seen[pair],
    'turned': turned,
    'bundle': pair,
    'paper': place % samples,
  }
  rows = rows.replace(extras=extras)
  right = said == (better[pair] ^ turned)
  return rows.replace(logp=score(params, rows).logp), right * 1.0


def run(seeds, *, paid):
  """How a judge does on pairs that it has not learned from."""
  recipe = recipes.build('j1', **PAID[paid])
  program = Program(recipe, score, optax.adam(RATE))
  orders = 1 if 'one order' in paid else 2
  samples = recipe.plan.contract.samples

  def train(key):
    make, test, stand, learn = jax.random.split(key, 4)
    seen, better = pairs(make, PAIRS)
    first_is_better = jax.random.bernoulli(
      stand, 0.7 if 'often first' in paid else 0.5, (PAIRS,)
    )
    world = seen, better, better ^ first_is_better
    weights = jnp.zeros(1 + IDLE).at[0].set(0.5)
    rows = PAIRS * orders * samples
    state = program.init(
      {'weights': weights, 'bias': jnp.float32(1.5)},
      Spec(rows, samples, 1, 1, tasks=PAIRS),
    )

    def step(state, key):
      draw, update = jax.random.split(key)
      rows, right = judged(state.params, world, orders, samples, draw)
      state, _ = tables.learn(program, state, rows, right, update)
      return state, state.params['bias']

    state, bias = jax.lax.scan(step, state, jax.random.split(learn, STEPS))
    seen, better = pairs(test, TESTED)
    right = [
      jax.nn.sigmoid(
        jnp.where(better ^ turned, 1, -1)
        * first(state.params, seen, jnp.full(TESTED, turned))
      )
      for turned in (False, True)
    ]
    return bias, jnp.stack(right)

  bias, right = tables.over_seeds(train, seeds)
  one, other = np.moveaxis(right, 1, 0)
  most = stats.binom.sf(VOTES // 2, VOTES, (one + other) / 2)
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'bias along training': bias[:, EVERY - 1 :: EVERY],
    'bias': bias[:, -1],
    'right': right.mean((1, 2)),
    'right in both': (one * other).mean(1),
    'the same in both': (one * other + (1 - one) * (1 - other)).mean(1),
    'majority right': most.mean(1),
  }
