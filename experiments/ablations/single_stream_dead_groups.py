"""A tracked value teaches from every answer; groups without a signal do not.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/single_stream_dead_groups.py

Single-stream Policy Optimization (arXiv 2509.13232) takes one answer to each
prompt and compares it with a tracked value of the prompt. It claims that GRPO
wastes the answers of groups that are all right or all wrong, and that at equal
numbers of answers its own policy learns more.

The quiz of `quiz.py`, 64 questions of one difficulty per cell, an answer being
right with probability `solves`; 64 answers an iteration: 64 questions with one
answer each for `single_stream`, whose memory is constant here, 8 questions with
8 answers for `grpo`; 400 iterations with Adam. Measured: the share of answers
with an advantage (`live`; for a group, whether it is mixed) over the first
tenth of training and over all of it, and the expected reward, on average and at
the end. Expected: groups are mostly dead for hard questions at first and for
easy ones always, and `single_stream` learns more.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over

QUESTIONS, ANSWERS, STEPS = 64, 64, 400
VALUES: dict[str, dict[str, Any]] = {
  'grpo': {'samples': 8, 'kl_weight': 0.0},
  'single_stream': {
    'samples': 1,
    'keep_low': 0.875,
    'keep_high': 0.875,
    'count': 0,
    'minibatches': 1,
  },
}

FIGURE = Figure(
  y='mean reward',
  x='solves',
  series='recipe',
  log='x',
  title='expected reward over training',
)


def cells():
  return over(recipe=list(VALUES), solves=[0.01, 0.03, 0.1, 0.3], seed=range(6))


def run(seeds, *, recipe, solves):
  """Answers with a signal, and reward."""
  program = tables.program_of(recipe, tx=optax.adam(0.05), **VALUES[recipe])
  prompts = ANSWERS // VALUES[recipe]['samples']

  def train(key):
    make_key, learn_key = jax.random.split(key)
    params, worth = quiz.make(make_key, questions=QUESTIONS, solves=solves)

    def measure(state, metrics):
      reward = jnp.mean(quiz.rates(state.params, worth))
      return reward, metrics['groups/live']

    return quiz.learn(
      program,
      params,
      worth,
      learn_key,
      steps=STEPS,
      prompts=prompts,
      measure=measure,
    )

  reward, live = tables.over_seeds(train, seeds)
  return {
    'live at first': live[:, : STEPS // 10].mean(1),
    'live': live.mean(1),
    'mean reward': reward.mean(1),
    'reward': reward[:, -1],
  }
