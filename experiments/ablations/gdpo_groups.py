"""Normalising the sum of rewards maps different outcomes to one advantage.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/gdpo_groups.py

GDPO (arXiv 2601.05242, section 3 and figures 2 and 3) counts, over all
outcomes of a group's binary rewards, how many different advantages of a group
(tuples without order) are left: two answers with two rewards have 2 under GRPO
on the sum and 3 under GDPO. It claims that the difference grows with answers
and rewards, and that all rewards then train better.

`groups` is that count, exact, with two rewards and the number of answers of
the cell. The common whitening over the batch, which merges nothing, is left
out of it. Then the quiz of `quiz.py` is learnt with two rewards: one that 1
answer in 2 earns and one that 1 in 50 does, 16 questions, 60 iterations with
Adam. `easy` and `hard` are the expected rewards on average over training, and
`both` is the chance of an answer that has both. Expected: more groups under
GDPO, and more of the hard reward.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.advantages import group

QUESTIONS, STEPS = 16, 60
VALUES = {'gdpo': {}, 'multi_objective_grpo': {'kl_weight': 0.0}}

FIGURE = Figure(
  y='groups',
  x='answers',
  series='recipe',
  title='distinct advantages of a group, two binary rewards',
)


def cells():
  return over(recipe=list(VALUES), answers=[2, 4, 6, 8], seed=range(6))


def run(seeds, *, recipe, answers):
  """Distinct groups, and what is learnt of two rewards."""
  program = tables.program_of(
    recipe, tx=optax.adam(0.05), samples=answers, **VALUES[recipe]
  )

  def train(key):
    easy_key, hard_key, learn_key = jax.random.split(key, 3)
    params, easy = quiz.make(easy_key, questions=QUESTIONS, solves=0.5)
    _, hard = quiz.make(hard_key, questions=QUESTIONS, solves=0.02)

    def measure(state, _):
      each = [easy, hard, easy * hard]
      return [jnp.mean(quiz.rates(state.params, worth)) for worth in each]

    return quiz.learn(
      program,
      params,
      jnp.stack([easy, hard], axis=-1),
      learn_key,
      steps=STEPS,
      prompts=QUESTIONS,
      measure=measure,
    )

  easy, hard, both = tables.over_seeds(train, seeds)
  return {
    'groups': np.full(len(seeds), distinct(recipe, answers)),
    'easy': easy.mean(1),
    'hard': hard.mean(1),
    'both': both.mean(1),
  }


def distinct(recipe, answers, rewards=2):
  """How many different advantages, without order, a group can have."""
  outcomes = np.array(list(itertools.product([0.0, 1.0], repeat=rewards)))
  choices = itertools.combinations_with_replacement(
    range(len(outcomes)), answers
  )
  scores = jnp.asarray(outcomes[list(choices)], jnp.float32)
  same, count = jnp.zeros(answers, jnp.int32), jnp.ones(answers, bool)

  def advantages(scores):
    each = scores if recipe == 'gdpo' else jnp.sum(scores, -1, keepdims=True)
    normal = [group.norm(r, same, count) for r in each.T]
    return jnp.sort(sum(normal))

  found = np.asarray(jax.vmap(advantages)(scores))
  # Different advantages differ by more than rounding.
  return len(np.unique(np.round(found, 4) + 0.0, axis=0))
