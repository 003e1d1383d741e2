"""A quiz: questions with right answers drawn at random, measured exactly.

Each question has its own rows of a table of logits, so that its answers are
every sequence of LENGTH tokens of VOCAB. An answer is right with a fixed
probability: several are, and a policy can be right and still diverse. All
sums over answers are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from jaxrl_llm.tabular import policy

VOCAB, LENGTH = 4, 4
ANSWERS = VOCAB**LENGTH


def make(key, *, questions: int, solves, scale: float = 1.0):
  """A policy with normal logits, and which answers are right.

  Args:
    solves: probability that an answer is right, a number or f32[questions].
    scale: spread of the logits.

  Returns:
    params, and worth f32[questions, ANSWERS] of 0 and 1. At least one answer
    to each question is right.
  """
  start, right, one = jax.random.split(key, 3)
  params = policy.init(
    start, tasks=questions, vocab=VOCAB, length=LENGTH, scale=scale
  )
  uniform = jax.random.uniform(right, (questions, ANSWERS))
  worth = uniform < jnp.reshape(jnp.asarray(solves), (-1, 1))
  sure = jax.random.randint(one, (questions,), 0, ANSWERS)
  worth = worth.at[jnp.arange(questions), sure].set(True)
  return params, worth.astype(jnp.float32)


def number(response):
  """i32[N]: the place of a response among `policy.all_responses`."""
  powers = VOCAB ** jnp.arange(LENGTH - 1, -1, -1)
  return response @ powers


def reward_of(worth) -> tables.Reward:
  """The reward that looks answers up in worth f32[questions, ANSWERS]."""
  return lambda rollouts, question: worth[
    question, number(rollouts.content.response)
  ]


def chances(params):
  """f32[questions, ANSWERS]: the probability of every answer."""
  tokens, _ = policy.all_responses(VOCAB, LENGTH)
  nodes = policy.prefix_states(tokens, VOCAB)
  log_probs = jax.nn.log_softmax(params['logits'])
  return jnp.exp(jnp.sum(log_probs[:, nodes, tokens], axis=-1))


def rates(params, worth):
  """f32[questions]: the expected reward of an answer."""
  return jnp.sum(chances(params) * worth, axis=-1)


def entropy(params):
  """f32[]: nats of an answer, on average over the questions."""
  chance = chances(params)
  logs = jnp.log(jnp.where(chance > 0, chance, 1.0))
  return -jnp.mean(jnp.sum(chance * logs, axis=-1))


def learn(
  program, params, worth, key, *, steps: int, prompts: int, measure, repeats=1
):
  """`steps` iterations on questions that the recipe's curriculum draws.

  Args:
    prompts: questions of an iteration. repeats: groups of each.
    measure: f(state, metrics) -> pytree, stacked over the iterations.
  """
  reward = reward_of(worth)

  def step(state, key):
    draw_key, step_key = jax.random.split(key)
    question, state = tables.draw(program, state, draw_key, prompts=prompts)
    question = jnp.repeat(question, repeats)
    state, metrics = tables.iterate(program, state, question, reward, step_key)
    return state, measure(state, metrics)

  state = tables.begin(program, params, prompts=prompts * repeats)
  return jax.lax.scan(step, state, jax.random.split(key, steps))[1]


def curves(
  build,
  seeds,
  *numbers,
  questions=8,
  repeats=8,
  steps=40,
  solves=0.05,
  metrics=(),
):
  """Exact reward and entropy after every iteration, for every seed.

  Args:
    build: f(*numbers) -> Program. numbers: arrays as long as `seeds`.
    metrics: names of what the program logs, to be kept too.

  Returns:
    {name: f32[seeds, steps]}: `reward`, `entropy` and the metrics.
  """

  def train(key, *numbers):
    make_key, learn_key = jax.random.split(key)
    params, worth = make(make_key, questions=questions, solves=solves)

    def measure(state, logged):
      return {
        'reward': jnp.mean(rates(state.params, worth)),
        'entropy': entropy(state.params),
      } | {name: logged[name] for name in metrics}

    return learn(
      build(*numbers),
      params,
      worth,
      learn_key,
      steps=steps,
      prompts=questions,
      repeats=repeats,
      measure=measure,
    )

  return tables.over_seeds(train, seeds, *numbers)


def when(reward, curve, level: float):
  """The curve at the first iteration whose reward reaches the level.

  Args:
    reward, curve: f32[seeds, steps].

  Returns:
    f32[seeds]; the last value of a curve that never reaches it.
  """
  reached = reward >= level
  last = curve.shape[1] - 1
  place = np.where(reached.any(1), reached.argmax(1), last)
  return curve[np.arange(len(curve)), place]
