"""Bandits over domains by mean |advantage| against uniform draws: SEC, DUMP.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/curricula_by_advantage.py

SEC (arXiv 2505.14970) and DUMP (arXiv 2504.09710) draw the domain of the next
questions by a bandit whose reward is the mean |advantage| of the domain, which
is largest where half of the answers are right. Both claim that the policy
learns faster than with uniform draws, easy domains first and hard ones later,
and that hard domains end higher.

16 skills, each a row of the table of `quiz.py`: 4 tokens of 4, one sequence of
which is right. A question of level L asks for a skill's first L tokens, so that
easy questions teach what hard ones need, whose answers are right once in 256 at
first. The levels are the domains, 64 questions in all; 16 questions an
iteration with 8 answers each, 300 iterations with Adam. `uniform` is the
shuffled order of GRPO; `ucb1` and `thompson` are classical bandits, of scale
and spread 0.3, whose counts never forget. Measured: the expected reward of all
levels and of level 4, on average over training and at the end, and the share of
draws of level 4 in the first and the last quarter of training. Expected: both
bandits above uniform, with draws that move to the hard levels.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.learners import bandits
from jaxrl_llm.learners.base import Learner
from jaxrl_llm.selection import curricula
from jaxrl_llm.tabular import policy

SKILLS, LEVELS = 16, quiz.LENGTH
PROMPTS, STEPS = 16, 300
DOMAINS = tuple(level for level in range(LEVELS) for _ in range(SKILLS))
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
  'uniform': ('grpo', {'kl_weight': 0.0}),
  'sec': ('sec', {}),
  'sec_sharp': ('sec', {'temperature': 0.2}),
  'dump': ('dump', {'minibatches': 1}),
}
# Bandits over the levels, with the same reward, and otherwise as `uniform`.
BANDITS: dict[str, Learner] = {
  'ucb1': bandits.UCB1(scale=0.3),
  'thompson': bandits.GaussianThompson(spread=0.3),
}

FIGURE = Figure(
  y='reward curve',
  x='iteration',
  series='curriculum',
  title='expected reward of all levels',
)


def cells():
  return over(curriculum=[*VALUES, *BANDITS], seed=range(6))


def run(seeds, *, curriculum):
  """Rewards of levels along training and what was drawn."""
  recipe, values = VALUES.get(curriculum, VALUES['uniform'])
  program = tables.program_of(recipe, tx=optax.adam(0.05), **values)
  program = dataclasses.replace(program, scorer=score)
  if curriculum in BANDITS:
    drawn = curricula.of_bandit(BANDITS[curriculum], arms=curricula.each_domain)
    built = dataclasses.replace(program.recipe, curriculum=drawn)
    program = dataclasses.replace(program, recipe=built)
  samples = program.recipe.plan.contract.samples

  def train(key):
    start, right, learn_key = jax.random.split(key, 3)
    params = policy.init(
      start, tasks=SKILLS, vocab=quiz.VOCAB, length=quiz.LENGTH
    )
    wanted = jax.random.randint(right, (SKILLS, quiz.LENGTH), 0, quiz.VOCAB)

    def step(state, key):
      draw, sample, update = jax.random.split(key, 3)
      question, state = tables.draw(program, state, draw, prompts=PROMPTS)
      rollouts = policy.sample(
        state.params, sample, question % SKILLS, samples=samples
      )
      task = jnp.repeat(question, samples)
      right = solved(rollouts.content.response, wanted[task % SKILLS])
      rewards = right[jnp.arange(len(task)), task // SKILLS]
      state, _ = tables.learn(
        program, state, rollouts.replace(task=task), rewards, update
      )
      hardest = jnp.mean(question // SKILLS == LEVELS - 1)
      return state, (rates(state.params, wanted), hardest)

    state = tables.begin(program, params, prompts=PROMPTS, domains=DOMAINS)
    return jax.lax.scan(step, state, jax.random.split(learn_key, STEPS))[1]

  level, hardest = tables.over_seeds(train, seeds)
  every, quarter = level.mean(2), STEPS // 4
  return {
    'iteration': jnp.tile(jnp.arange(15, STEPS + 1, 15), (len(seeds), 1)),
    'reward curve': every[:, 14::15],
    'mean reward': every.mean(1),
    'reward': every[:, -1],
    'mean level 4': level[:, :, -1].mean(1),
    'level 4': level[:, -1, -1],
    'drawn at first': hardest[:, :quarter].mean(1),
    'drawn at last': hardest[:, -quarter:].mean(1),
  }


def score(params, rollouts, needs=frozenset()):
  """The policy of a question's skill, whatever its level."""
  task = rollouts.task % SKILLS
  return policy.score(params, rollouts.replace(task=task), needs)


def solved(response, wanted):
  """f32[N, LEVELS]: whether the first 1, 2, ... tokens are right."""
  return jnp.cumprod(response == wanted, axis=1).astype(jnp.float32)


def rates(params, wanted):
  """f32[LEVELS]: the chance to solve a question, on average over skills."""
  answers, _ = policy.all_responses(quiz.VOCAB, quiz.LENGTH)
  worth = jax.vmap(lambda w: solved(answers, w))(wanted)
  chances = quiz.chances(params)[..., None]
  return jnp.mean(jnp.sum(chances * worth, axis=1), axis=0)
