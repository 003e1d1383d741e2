"""Thumbs up and down: what a classifier of single responses learns.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/thumbs_up_down.py

BCO (arXiv 2404.04656) claims that a classifier of good and bad single responses
whose log-odds are the policy's log-ratio to the reference minimises a bound of
DPO's loss, that a shift of the log-odds by their mean makes the bound tighter,
and that it aligns as well as DPO, and better than KTO, without pairs.

A bandit of 64 arms with 8 normal features, policies reference e^(features
theta), a uniform reference, rewards linear in the features. 128 pairs of random
arms, labelled by Bradley and Terry. `bco` and `kto` see their responses as
single ones, `dpo` and `no shift`, which is `dpo link=classify`, as pairs. Of
half of the data that are `lopsided` three in four good responses are missing,
so that a pair of four is left for those who need pairs. SGD on all data, 400
steps, beta = 0.1. Measured: the reward beyond the reference's where the KL to
it is first a tenth of a nat, one nat, or in the end, and the highest on the
way. Expected: BCO near DPO, above KTO and above itself without the shift.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import compose, recipes
from jaxrl_llm.tabular import games, policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec

ARMS, FEATURES, PAIRS, STEPS, RATE = 64, 8, 128, 400, 2.0
LEARNERS = ['dpo', 'no shift', 'bco', 'kto']
FIGURE = Figure(
  y='reward at 1 nat',
  x='data',
  series='learner',
  title='reward gained where the KL is one nat',
)


def cells():
  return over(learner=LEARNERS, data=['even', 'lopsided'], seed=range(12))


def built(learner):
  if learner == 'no shift':
    return compose.compose(recipes.build('dpo'), link='classify(weight=0.1)')
  return recipes.build(learner)


def world(key):
  """Features f32[ARMS, FEATURES], rewards f32[ARMS], and labelled pairs."""
  feature, direction, draw, judge = jax.random.split(key, 4)
  features = jax.random.normal(feature, (ARMS, FEATURES))
  rewards = features @ jax.random.normal(direction, (FEATURES,))
  rewards = rewards / jnp.sqrt(FEATURES)
  pairs = jax.random.randint(draw, (PAIRS, 2), 0, ARMS)
  return features, rewards, choices.judged(judge, pairs, rewards)


def run(seeds, *, learner, data):
  """What is gained for how much divergence."""
  recipe = built(learner)
  # Good responses, which come first, of one pair in four.
  good = np.arange(PAIRS) % 4 == 0
  shown = np.stack([good, np.ones(PAIRS, bool)], axis=1).reshape(-1)
  single = learner in ('bco', 'kto')
  if not single:
    shown = np.repeat(good, 2)

  def train(key):
    features, rewards, pairs = world(key)
    log_ref = jnp.full(ARMS, -jnp.log(ARMS))
    labels = jnp.tile(jnp.array([1.0, 0.0]), PAIRS)
    rows = choices.rows(pairs)
    if data == 'lopsided':
      rows = rows.replace(valid=jnp.asarray(shown))

    def scorer(theta, rollouts, needs):
      arms = choices.table(log_ref + features @ theta)
      return policy.score(arms, rollouts, needs)

    program = Program(recipe, scorer, optax.sgd(RATE))

    def step(state, key):
      state, _ = tables.learn(program, state, rows, labels, key)
      now = jax.nn.log_softmax(log_ref + features @ state.params)
      gained = jnp.exp(now) @ rewards - jnp.mean(rewards)
      return state, (gained, games.kl(now, log_ref))

    state = program.init(jnp.zeros(FEATURES), Spec(2 * PAIRS, 2, 1, 1))
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  gained, far = (np.asarray(x) for x in tables.over_seeds(train, seeds))

  def at(nats):
    there = far >= nats
    step = np.where(there.any(axis=1), there.argmax(axis=1), STEPS - 1)
    return np.take_along_axis(gained, step[:, None], axis=1)[:, 0]

  return {
    'reward at 0.1 nats': at(0.1),
    'reward at 1 nat': at(1.0),
    'highest': gained.max(axis=1),
    'KL at the end': far[:, -1],
  }
