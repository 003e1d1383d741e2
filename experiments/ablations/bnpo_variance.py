"""Dividing by a fitted Beta density lowers the variance of the gradient.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/bnpo_variance.py

BNPO (arXiv 2506.02864, section 3) divides a centred binary reward by a Beta
density of its question's success rate. Its theorem: if the rates are
Beta(a, b), and score functions do not depend on them, the variance of the
gradient is least, among all Beta densities, for 1 + a / 3 and 1 + b / 3.
REINFORCE with the mean as baseline is the density 1; GRPO is in proportion to
Beta(3/2, 3/2): times pi / 8, and with a spread that divides by n, it is that.

The quiz of `quiz.py`, 128 questions an answer to which is right with a
probability drawn from Beta(a, a), groups of 16, 128 batches. `variance` is the
trace of the covariance of the gradient in all logits, relative to REINFORCE
with that baseline (`dr_grpo`), with GRPO scaled by pi / 8 as the theorem
compares them. A smaller gradient also varies less: `noise` is the trace over
the square norm of the mean gradient, which no learning rate changes. Expected
by the theorem: `bnpo` has the least variance at every a and meets GRPO at
a = 3/2; raw rewards (`reinforce`) have the most.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, SAMPLES, BATCHES = 128, 16, 128
# To the sum over tokens that BNPO takes, and GRPO to a spread that divides by
# n and to the density Beta(3/2, 3/2).
SCALE = {
  'dr_grpo': quiz.LENGTH,
  'grpo': quiz.LENGTH * np.pi / 8 * np.sqrt(SAMPLES / (SAMPLES - 1)),
}
VALUES = {
  'bnpo': {},
  'dr_grpo': {'minibatches': 1},
  'grpo': {},
  'reinforce': {},
}
TRACED = ('a',)

FIGURE = Figure(
  y='variance',
  x='a',
  series='recipe',
  log='xy',
  title='variance of the gradient, success rates ~ Beta(a, a)',
)


def cells():
  return over(
    recipe=list(VALUES),
    a=[0.5, 1.0, 1.5, 3.0, 6.0],
    seed=range(5),
  )


def run(seeds, *, recipe, a):
  """Variance of the gradient, as it is and in units of its mean."""

  def measure(key, a):
    rate_key, make_key, key = jax.random.split(key, 3)
    solves = jax.random.beta(rate_key, a, a, (QUESTIONS,))
    params, worth = quiz.make(make_key, questions=QUESTIONS, solves=solves)
    keys = jax.random.split(key, BATCHES)
    variance, square = moments(recipe, params, worth, keys)
    plain, _ = moments('dr_grpo', params, worth, keys)
    return variance / plain, variance / square

  variance, noise = tables.over_seeds(measure, seeds, a)
  return {'variance': variance, 'noise': noise}


def moments(recipe, params, worth, keys):
  """Trace of the covariance, and square norm of the mean, of the gradient."""
  program = tables.program_of(recipe, samples=SAMPLES, **VALUES[recipe])
  reward = quiz.reward_of(worth)
  question = jnp.arange(QUESTIONS)

  def step(total, key):
    rollouts = policy.sample(params, key, question, samples=SAMPLES)
    rewards = reward(rollouts, rollouts.task)
    gradient = SCALE.get(recipe, 1.0) * tables.gradient(
      program, params, rollouts, rewards, prompts=QUESTIONS
    )
    return (total[0] + gradient, total[1] + jnp.sum(gradient**2)), None

  start = (jnp.zeros_like(params['logits']), 0.0)
  (total, squares), _ = jax.lax.scan(step, start, keys)
  norm = jnp.sum((total / BATCHES) ** 2)
  variance = (squares / BATCHES - norm) * BATCHES / (BATCHES - 1)
  # The square norm of a mean holds the variance of that mean.
  return variance, norm - variance / BATCHES
