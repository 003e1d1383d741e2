"""Bonuses for varied answers and for uncertain thoughts.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/varied_answers.py

MultiRole-R1 (arXiv 2507.20187) claims that paying for diverse words besides
accuracy makes answers more diverse and more often right; function calls by
FunRL (2508.05118) that favouring thoughts of high entropy explores more, and
ends more accurate.

The quiz of `quiz.py`: 16 questions, 256 answers of 4 tokens, of which one in 50
is right. `multirole_r1` with shares of accuracy of 1, 0.9 and 0.7, the rest for
the share of different tokens in an answer; `funrl` with weights of 0.4 and 2,
no KL, and the first two tokens for a thought. Groups of 8, Adam at 0.05, 200
iterations. Measured, exactly: right answers over training and at the end, one
right of 8, nats of an answer, and different tokens. Expected: more of both, and
more right answers.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, STEPS, EVERY, RATE, SOLVES = 16, 200, 10, 0.05, 0.02
LEARNERS = {
  'grpo': ('multirole_r1', {'share': 1.0}),
  'multirole_r1, 0.9': ('multirole_r1', {'share': 0.9}),
  'multirole_r1, 0.7': ('multirole_r1', {'share': 0.7}),
  'funrl, 0.4': ('funrl', {'weight': 0.4, 'kl_weight': 0.0}),
  'funrl, 2': ('funrl', {'weight': 2.0, 'kl_weight': 0.0}),
}
FIGURE = Figure(
  y='right', x='iteration', series='learner', title='right answers to a quiz'
)


def cells():
  return over(learner=list(LEARNERS), seed=range(4))


def different(tokens):
  """The share of different tokens in each of some answers [..., LENGTH]."""
  found = jax.nn.one_hot(tokens, quiz.VOCAB).any(axis=-2)
  return jnp.sum(found, axis=-1) / quiz.LENGTH


def run(seeds, *, learner):
  """Right and varied answers."""
  name, values = LEARNERS[learner]
  program = tables.program_of(name, tx=optax.adam(RATE), **values)
  tokens, _ = policy.all_responses(quiz.VOCAB, quiz.LENGTH)
  varied = different(jnp.asarray(tokens))

  def start(key):
    return quiz.make(key, questions=QUESTIONS, solves=SOLVES)

  def earned(worth, rows, key):
    del key
    said = rows.content.response
    thought = jnp.arange(quiz.LENGTH) < quiz.LENGTH // 2
    extras = {
      'diversity': different(said),
      'thought': jnp.broadcast_to(thought, said.shape),
    }
    return extras, worth[rows.task, quiz.number(said)]

  def measure(worth, params):
    rates, chances = quiz.rates(params, worth), quiz.chances(params)
    return {
      'right': jnp.mean(rates),
      'one of 8': jnp.mean(1 - (1 - rates) ** 8),
      'nats': quiz.entropy(params),
      'different tokens': jnp.mean(chances @ varied),
    }

  found = tables.course([program], start, earned, measure, seeds, steps=STEPS)
  return {
    'iteration': jnp.tile(jnp.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'right': found['right'][:, EVERY - 1 :: EVERY],
    'right over training': found['right'].mean(1),
    'right at the end': found['right'][:, -1],
    **{name: x[:, -1] for name, x in found.items() if name != 'right'},
    'nats half way': found['nats'][:, STEPS // 2],
  }
