"""ScaleRL less one of its parts at a time, beside GRPO.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/scaled_parts.py

ScaleRL (arXiv 2510.13786) weighs with CISPO's truncated ratios, divides
advantages by their size in the batch, leaves out groups of equal rewards, and
draws no prompt again once 0.9 of its answers were right. Taking its parts out
one by one, the paper finds that each costs efficiency, and that hardly any
moves the reward at the end.

The quiz of `quiz.py`, 64 questions, in half of which 0.3 of the answers are
right and in half one in 50; 16 questions an iteration with 16 answers each and
8 optimizer steps with Adam, 80 iterations. In place of a part stands what GRPO
has: every question once an epoch, the clip, the spread of the group, all
groups. All answers are of one length, so that the means over prompts and
sequences are one. GRPO is without its KL term, which ScaleRL lacks. Measured:
the expected reward of all questions on average over training, which is
efficiency, and at the end, and the same of the hard half; and the share of
groups that teach. Expected: all of ScaleRL ahead of each, by what solved
questions no longer cost.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import chain, estimate, weigh
from jaxrl_llm.objectives import surrogates
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.selection import curricula, filters

QUESTIONS, PROMPTS, STEPS, RATE = 64, 16, 80, 0.1
MIXED = weigh(filters.mixed_groups)
PARTS: dict[str, dict[str, Any]] = {
  'without its curriculum': {'curriculum': curricula.Shuffled()},
  'with a clip': {'objective': policy_gradient(surrogates.clip)},
  'with the spread of groups': {'credit': chain(MIXED, estimate(group.norm))},
  'with all groups': {'credit': estimate(group.norm_by_rms)},
}

FIGURE = Figure(
  y='curve',
  x='iteration',
  series='recipe',
  title='expected reward of all questions',
)


def cells():
  return over(recipe=['grpo', 'scale_rl', *PARTS], seed=range(6))


def run(seeds, *, recipe):
  """Rewards along training and at its end, of all and of the hard half."""
  values = {'kl_weight': 0.0} if recipe == 'grpo' else {}
  program = tables.program_of(
    'grpo' if recipe == 'grpo' else 'scale_rl',
    tx=optax.adam(RATE),
    samples=16,
    minibatches=8,
    **values,
  )
  built = dataclasses.replace(program.recipe, **PARTS.get(recipe, {}))
  program = dataclasses.replace(program, recipe=built)
  hard = jnp.arange(QUESTIONS) % 2 == 0

  def train(key):
    make_key, learn_key = jax.random.split(key)
    params, worth = quiz.make(
      make_key, questions=QUESTIONS, solves=jnp.where(hard, 0.02, 0.3)
    )

    def measure(state, metrics):
      rates = quiz.rates(state.params, worth)
      return rates, metrics['groups/live']

    return quiz.learn(
      program,
      params,
      worth,
      learn_key,
      steps=STEPS,
      prompts=PROMPTS,
      measure=measure,
    )

  rates, mixed = tables.over_seeds(train, seeds)
  every, harder = rates.mean(2), rates[:, :, hard].mean(2)
  return {
    'iteration': jnp.tile(jnp.arange(4, STEPS + 1, 4), (len(seeds), 1)),
    'curve': every[:, 3::4],
    'mean reward': every.mean(1),
    'reward': every[:, -1],
    'mean hard': harder.mean(1),
    'hard': harder[:, -1],
    'groups that teach': mixed.mean(1),
  }
