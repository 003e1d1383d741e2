"""Recorded responses of any quality, and the learned value that sorts them.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/leftover_lunch.py

A-LoL (arXiv 2305.14718) claims that a policy learns from recorded responses
where those below what its reference would earn are left out, whatever share of
them is bad, while their likelihood alone, or weighed by rewards, copies them.

64 questions with 16 answers, whose rewards are uniform in [0, 1]; the reference
is a softmax of normal logits and of twice the rewards. Recorded are 16 answers
to each question, a share of them drawn evenly, the others by the reference. Two
of them train at a time, for 300 iterations, Adam; of `a_lol` two of the
reference beside them, and 60 iterations of its critic before.
`likelihood` is SFT with a
reward of 1 for each, `weighed` SFT by their rewards. Measured: the mean reward
of the policy less that of the reference, and its entropy. Expected: `a_lol`
gains with any share of bad answers, the likelihood loses with it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, ANSWERS, KEPT, STEPS, FIRST = 64, 16, 16, 300, 60
RECIPES = {'a_lol': 'a_lol', 'likelihood': 'sft', 'weighed': 'sft'}
FIGURE = Figure(
  y='gain', x='bad', series='learner', title='reward beyond the reference'
)


def cells():
  return over(learner=list(RECIPES), bad=[0.0, 0.3, 0.6, 0.9], seed=range(8))


def rows_of(answer, mark):
  """Rows [QUESTIONS * n], n of each question, of answers i32[QUESTIONS, n]."""
  count = answer.shape[1]
  task = jnp.repeat(jnp.arange(QUESTIONS), count)
  mask = jnp.ones((task.shape[0], 1), bool)
  rows = policy.as_rollouts(answer.reshape(-1, 1), mask, task=task, group=task)
  return rows.replace(extras={'recorded': jnp.full(task.shape, mark)})


def together(*parts):
  """Rows of the parts, side by side by question."""

  def joined(*leaves):
    dense = [x.reshape(QUESTIONS, -1, *x.shape[1:]) for x in leaves]
    return jnp.concatenate(dense, axis=1).reshape(-1, *leaves[0].shape[1:])

  return jax.tree.map(joined, *parts)


def run(seeds, *, learner, bad):
  """What the policy gains over its reference, and its entropy."""
  values = {'minibatches': 1} if learner == 'a_lol' else {}
  program = tables.program_of(
    RECIPES[learner], tx=optax.adam(0.05), samples=2, **values
  )

  def one(key):
    made, kept, drawn, evil, train = jax.random.split(key, 5)
    params = policy.init(made, tasks=QUESTIONS, vocab=ANSWERS, length=1)
    worth = jax.random.uniform(kept, (QUESTIONS, ANSWERS))
    logits = params['logits'] + 2 * worth[:, None]
    params |= {'logits': logits}
    shape = KEPT, QUESTIONS
    good = jax.random.categorical(drawn, logits[:, 0], shape=shape)
    even, which = jax.random.split(evil)
    other = jax.random.randint(even, shape, 0, ANSWERS)
    data = jnp.where(jax.random.bernoulli(which, bad, shape), other, good).T

    def step(state, known):
      number, key = known
      taken, asked, learn = jax.random.split(key, 3)
      place = jax.random.randint(taken, (QUESTIONS, 2), 0, KEPT)
      rows = rows_of(jnp.take_along_axis(data, place, axis=1), True)
      if learner == 'a_lol':
        rows = rows.replace(valid=rows.valid & (number >= FIRST))
        fresh = jax.random.categorical(
          asked, logits[:, 0], shape=(2, QUESTIONS)
        )
        rows = together(rows, rows_of(fresh.T, False))
      rewards = worth[rows.task, rows.content.response[:, 0]]
      rewards = jnp.ones_like(rewards) if learner == 'likelihood' else rewards
      return tables.learn(program, state, rows, rewards, learn)[0], None

    state = tables.begin(program, params, prompts=QUESTIONS)
    steps = STEPS + FIRST * (learner == 'a_lol')
    known = jnp.arange(steps), jax.random.split(train, steps)
    end = jax.lax.scan(step, state, known)[0].params['logits']

    def earned(logits):
      return jnp.mean(jnp.sum(jax.nn.softmax(logits[:, 0]) * worth, axis=1))

    logp = jax.nn.log_softmax(end[:, 0])
    entropy = -jnp.mean(jnp.sum(jnp.exp(logp) * logp, axis=1))
    return earned(end) - earned(logits), entropy

  gain, entropy = tables.over_seeds(one, seeds)
  return {'gain': gain, 'entropy, nats': np.asarray(entropy)}
