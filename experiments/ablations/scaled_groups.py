"""Rewards from demonstrations, and groups scaled by how far they are from them.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/scaled_groups.py

DR-IRL (arXiv 2503.18991) claims that rewards learned from demonstrations align
a policy, and that scaling a prompt's advantages by how far its responses are
from the demonstration, and by the gap in reward, learns hard prompts better.

32 questions, answered by words of 5 symbols of 4; the right symbol at a place
is linear in 6 normal features that the question has there. At first a right
symbol has a chance of 0.6 in half of the questions, which are easy, and of 0.1
in the others. Rewards are the share of right symbols, or linear in the features
by place, learned from the right words against 8 answers of the first policy as
`irl_reward_model` does, by 100, 500 or 4000 steps of gradient descent at 1.
Policies are tables of logits, `grpo` and `dr_irl` without KL, 8 answers to a
question an iteration, SGD at 200, 60 iterations; what is covered is the share
of right symbols. Measured, exactly: right symbols of hard and of easy
questions. Expected: learned rewards nearly as good as true ones; scaling ahead
on hard questions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.objectives import rating
from jaxrl_llm.tabular import policy

QUESTIONS, SYMBOLS, LENGTH, FEATURES, STEPS, EVERY = 32, 4, 5, 6, 60, 5
RATE, EASY, HARD, SHOWN, BOUND = 200.0, 0.6, 0.1, 8, 0.05
LEARNERS = ('grpo', 'dr_irl')
# Steps that the reward is learned by; 0 is the true one.
REWARDS = {f'learned by {n} steps': n for n in (100, 500, 4000)} | {'true': 0}
FIGURE = Figure(
  y='right, hard',
  x='iteration',
  series='learner',
  across='reward',
  title='share of right symbols of hard questions',
)


def cells():
  return over(reward=list(REWARDS), learner=list(LEARNERS), seed=range(4))


def rated(weights, given, words, task):
  """f32[N]: rewards of words i32[N, LENGTH] by weights of places."""
  own = weights[jnp.arange(LENGTH), words]
  return jnp.mean(jnp.sum(own * given[task], axis=-1), axis=-1)


def learned(key, start, given, right, steps):
  """Weights f32[LENGTH, SYMBOLS, FEATURES] that prefer demonstrations."""
  rows = policy.sample(start, key, jnp.arange(QUESTIONS), samples=SHOWN)

  def loss(weights):
    better = rated(weights, given, right[rows.task], rows.task)
    worse = rated(weights, given, rows.content.response, rows.task)
    return jnp.mean(rating.apart(better, worse, 0.0, bound=BOUND))

  def step(weights, _):
    return weights - jax.grad(loss)(weights), None

  weights = jnp.zeros((LENGTH, SYMBOLS, FEATURES))
  return jax.lax.scan(step, weights, None, length=steps)[0]


def start(key, steps):
  """A policy, the features, the right words and the weights of rewards."""
  feature, rule, sample = jax.random.split(key, 3)
  given = jax.random.normal(feature, (QUESTIONS, LENGTH, FEATURES))
  true = jax.random.normal(rule, (LENGTH, SYMBOLS, FEATURES))
  right = jnp.argmax(jnp.einsum('qtf,tvf->qtv', given, true), axis=-1)
  chance = jnp.where(jnp.arange(QUESTIONS) % 2, HARD, EASY)
  lead = jnp.log(chance * (SYMBOLS - 1) / (1 - chance))
  depth = jnp.concatenate(
    [jnp.full(SYMBOLS**t, t, jnp.int32) for t in range(LENGTH)]
  )
  ahead = jax.nn.one_hot(right[:, depth], SYMBOLS) * lead[:, None, None]
  params = {'logits': ahead}
  weights = learned(sample, params, given, right, steps)
  return params, (given, right, weights)


def earned(world, rows, key, *, true):
  """The rewards, and how near the answers are to the demonstration."""
  del key
  given, right, weights = world
  good = jnp.mean(rows.content.response == right[rows.task], axis=1)
  shares = jnp.mean(good.reshape(QUESTIONS, -1), axis=1)
  best, reward = jnp.ones_like(good), good
  if not true:
    best = rated(weights, given, right[rows.task], rows.task)
    reward = rated(weights, given, rows.content.response, rows.task)
  extras = {'coverage': shares[rows.task], 'demonstration_reward': best}
  return extras, reward


def run(seeds, *, learner, reward):
  """Right symbols along training."""
  fits = REWARDS[reward]
  program = tables.program_of(
    learner, tx=optax.sgd(RATE), samples=8, kl_weight=0.0
  )
  tokens, _ = policy.all_responses(SYMBOLS, LENGTH)
  nodes = policy.prefix_states(jnp.asarray(tokens), SYMBOLS)

  def measure(world, params):
    logp = jax.nn.log_softmax(params['logits'])[:, nodes, tokens].sum(-1)
    right = jnp.mean(tokens == world[1][:, None], axis=2)
    return jnp.sum(jnp.exp(logp) * right, axis=1)

  right = tables.course(
    [program],
    functools.partial(start, steps=fits),
    functools.partial(earned, true=not fits),
    measure,
    seeds,
    steps=STEPS,
  )
  easy, hard = right[..., ::2].mean(-1), right[..., 1::2].mean(-1)
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'right, hard': hard[:, EVERY - 1 :: EVERY],
    'hard at the end': hard[:, -1],
    'hard over training': hard.mean(1),
    'easy at the end': easy[:, -1],
    'easy over training': easy.mean(1),
  }
