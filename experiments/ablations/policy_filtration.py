"""A reward model that is reliable at its ends alone, and rows drawn by that.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/policy_filtration.py

PF-PPO (arXiv 2409.06957) claims that PPO learns more from rows whose rewards
are reliable, best and worst (BW) or best and another (BR), than from all rows
or from the best alone (BoN), and that R^2 between rewards and scores of the
rows that a filter draws says beforehand which filter that is.

32 questions with 16 answers of scores s, uniform in [0, 1]. The reward model
says s + noise, anew for each response, of spread 2 s (1 - s), at most 1/2: it
knows the best and the worst answers. 5 answers to each question in each of 60
iterations, one minibatch, Adam. Measured: R^2 of each filter on the first
answers; the mean score of the policy over training and at the end, and the
score of its best guess. Expected: BW or BR first by both, BoN last.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.objectives import base
from jaxrl_llm.selection import filters, weights
from jaxrl_llm.tabular import policy

QUESTIONS, ANSWERS, SAMPLES, STEPS = 32, 16, 5, 60
RECIPES = {
  'BR': 'pf_ppo',
  'BW': 'pf_ppo_best_worst',
  'BoN': 'pf_ppo_best',
  'all': 'pf_ppo',
}
DRAWS = {
  'BR': weights.best_and_random,
  'BW': weights.best_and_worst,
  'BoN': weights.best_alone,
  'all': lambda rewards, group, valid: jnp.ones_like(rewards),
}
FIGURE = Figure(
  y='score curve', x='iteration', series='filter', title='score of a policy'
)


def cells():
  return over(filter=list(RECIPES), seed=range(8))


def program_of(name):
  """Its recipe; that of `all` without a filter in the policy's loss."""
  program = tables.program_of(
    RECIPES[name], tx=optax.adam(0.1), samples=SAMPLES, minibatches=1
  )
  if name != 'all':
    return program
  objective = program.recipe.objective
  assert isinstance(objective, base.PolicyGradient)
  objective = dataclasses.replace(objective, gate=base.every_token)
  recipe = dataclasses.replace(program.recipe, objective=objective)
  return dataclasses.replace(program, recipe=recipe)


def start(key):
  params = policy.init(key, tasks=QUESTIONS, vocab=ANSWERS, length=1, scale=0.0)
  return params, jax.random.uniform(key, (QUESTIONS, ANSWERS))


def scored(worth, rows):
  return worth[rows.task, rows.content.response[:, 0]]


def earned(worth, rows, key):
  """No extras, and what the reward model says."""
  scores = scored(worth, rows)
  noise = jax.random.normal(key, scores.shape)
  return {}, scores + 2 * scores * (1 - scores) * noise


def measure(worth, params):
  chances = jax.nn.softmax(params['logits'][:, 0])
  best = jnp.argmax(chances, axis=1)
  return {
    'score': jnp.mean(jnp.sum(chances * worth, axis=1)),
    'guess': jnp.mean(worth[jnp.arange(QUESTIONS), best]),
  }


def determined(key, *, name):
  """R^2 of a filter on the first policy's answers, 200 groups a question."""
  make, draw, judge = jax.random.split(key, 3)
  params, worth = start(make)
  task = jnp.repeat(jnp.arange(QUESTIONS), 200)
  rows = policy.sample(params, draw, task, samples=SAMPLES)
  group = jnp.repeat(jnp.arange(len(task)), SAMPLES)
  _, rewards = earned(worth, rows, judge)
  drawn = DRAWS[name](rewards, group, rows.valid)
  return filters.determination(rewards, scored(worth, rows), drawn)


def run(seeds, *, filter):
  """Scores of the policy along training, and R^2 before it."""
  found = tables.course(
    [program_of(filter)], start, earned, measure, seeds, steps=STEPS
  )
  before = tables.over_seeds(partial(determined, name=filter), seeds)
  return {
    'iteration': np.tile(np.arange(5, STEPS + 1, 5), (len(seeds), 1)),
    'score curve': found['score'][:, 4::5],
    'mean score': found['score'].mean(1),
    'score': found['score'][:, -1],
    'best guess': found['guess'][:, -1],
    'R^2': before,
  }
