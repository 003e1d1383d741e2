"""Easy questions first, where hard ones ask for what easy ones teach.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/phased_questions.py

CRAFT-GUI (arXiv 2508.11360) and QwenLong-L1 (2505.17667) claim that phases from
easy to hard questions learn more than a mixture, QwenLong-L1 also that hard
questions of earlier phases should come again.

One skill of 6 decisions among 6 each: a question of level 2, 4 or 6 is right if
that many of the first are, 8 questions a level, whose prompts are as long as
the level. All share one table of logits, uniform at first, so that a question
of level 6 is right one time in 47,000. 8 questions an iteration, groups of 8,
SGD at 5, 240 iterations; `craft_gui` with three phases of 40 and then a
mixture, `qwenlong_l1` with three phases of 40 and shares of 0 and 0.25; on all
questions GRPO, the step of the first, and DAPO, that of the second; GRPO on the
hard ones alone. Measured, exactly: right answers at
level 6, at the end and over training, and iterations until they are one half.
Expected: phases first, the hard alone never.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

LEVELS, EACH, CHOICES, LENGTH = (2, 4, 6), 8, 6, 6
LEVEL = jnp.repeat(jnp.array(LEVELS), EACH)
PROMPTS, STEPS, EVERY, PHASE, RATE = 8, 240, 10, 40, 5.0
# One step an iteration and no bonus, as the others have it.
PLAIN = {
  'phases': 3,
  'iterations': PHASE,
  'entropy_weight': 0.0,
  'minibatches': 1,
}
LEARNERS: dict[str, dict[str, Any]] = {
  'craft_gui': {'phases': 3, 'iterations': PHASE},
  'qwenlong_l1': {'share': 0.25, **PLAIN},
  'qwenlong_l1, none again': {'share': 0.0, **PLAIN},
  'dapo': {'samples': 8, 'clip_high': 0.2, 'minibatches': 1},
  'grpo': {'kl_weight': 0.0},
  'grpo, the hard alone': {'kl_weight': 0.0},
}
FIGURE = Figure(
  y='right',
  x='iteration',
  series='learner',
  title='right answers to the hardest questions',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(6))


def score(params, rows, needs=frozenset()):
  del needs
  said = jax.nn.log_softmax(params)
  place = jnp.arange(LENGTH)
  mask = rows.response_mask
  entropy = -jnp.sum(jnp.exp(said) * said, axis=1)
  return Stats(
    logp=jnp.where(mask, said[place, rows.content.response], 0),
    entropy=jnp.where(mask, entropy, 0),
  )


def answered(params, question, samples, key):
  """Answers to questions i32[B], of which 0 is right at each decision."""
  task = jnp.repeat(question, samples)
  shape = len(task), LENGTH
  said = jax.random.categorical(key, params, shape=shape).astype(jnp.int32)
  asked = jnp.arange(LENGTH) < LEVEL[task][:, None]
  group = jnp.arange(len(task), dtype=jnp.int32) // samples
  rows = policy.as_rollouts(said * asked, asked, task=task, group=group)
  right = jnp.all((said == 0) | ~asked, axis=1) * 1.0
  return rows.replace(logp=score(params, rows).logp), right


def run(seeds, *, learner):
  """Right answers at the hardest level."""
  recipe = recipes.build(learner.split(',')[0], **LEARNERS[learner])
  program = Program(recipe, score, optax.sgd(RATE))
  samples = recipe.plan.contract.samples
  spec = Spec(
    PROMPTS * samples,
    samples,
    1,
    LENGTH,
    tasks=len(LEVEL),
    task_lengths=tuple(LEVEL.tolist()),
  )

  def train(key):
    def step(state, key):
      choose, draw, update = jax.random.split(key, 3)
      question, state = tables.draw(program, state, choose, prompts=PROMPTS)
      if 'alone' in learner:
        question = len(LEVEL) - 1 - question % EACH
      rows, right = answered(state.params, question, samples, draw)
      state, _ = tables.learn(program, state, rows, right, update)
      chance = jax.nn.softmax(state.params)[:, 0]
      return state, jnp.prod(chance)

    state = program.init(jnp.zeros((LENGTH, CHOICES)), spec)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  right = tables.over_seeds(train, seeds)
  half = (right >= 0.5).argmax(1)
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, -1],
    'over training': right.mean(1),
    'iterations to a half': np.where(right.max(1) < 0.5, STEPS, half + 1),
  }
