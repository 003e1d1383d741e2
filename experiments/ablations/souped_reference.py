"""A reference that is the mean of two fine-tuned models, and one of them.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/souped_reference.py

SALSA (arXiv 2411.01798) claims that PPO whose KL is to the mean of the weights
of two models that were fine-tuned apart (a soup) moves further from where it
began, and earns more, than PPO whose KL is to the model it began from, and that
it pays in particular where the KL weighs much.

64 questions with 16 answers of normal worth, which is the reward. Fine-tuned
models are tables of log-odds: the worth and normal noise of spread 1.5, apart
for each model. The policy begins as the first. `salsa` with four responses to
each question, Adam at 0.05, KL weights of 0.1 to 1, and for a reference the
soup of two models, of four, the first model, or the second alone, which is as
good as the first and from which the policy does not begin. Measured after 150
iterations: the mean worth of an answer, beyond that of the first model, and the
KL to the first model. Expected: soups earn more and go further, four more so.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import reference as references
from jaxrl_llm.tabular import policy

QUESTIONS, ANSWERS, SAMPLES, STEPS, SPREAD = 64, 16, 4, 150, 1.5
# The models that the reference is the mean of.
OF = {'first': [0], 'second': [1], 'two': [0, 1], 'four': [0, 1, 2, 3]}
FIGURE = Figure(
  y='worth gained',
  x='kl_weight',
  series='reference',
  log='x',
  title='worth gained, by what the policy is held to',
)


def cells():
  return over(reference=list(OF), kl_weight=[0.1, 0.2, 0.4, 1.0], seed=range(4))


def fine_tuned(key):
  """Worth f32[QUESTIONS, ANSWERS], and the parameters of four models."""
  of_worth, of_noise, shape = *jax.random.split(key), (QUESTIONS, ANSWERS)
  worth = jax.random.normal(of_worth, shape)
  noise = SPREAD * jax.random.normal(of_noise, (4, *shape))
  empty = policy.init(key, tasks=QUESTIONS, vocab=ANSWERS, length=1, scale=0)
  models = [empty | {'logits': (worth + x)[:, None]} for x in noise]
  return worth, models


def soup(models):
  """The mean of some models."""
  first, *others = models
  share = len(others) / len(models)
  return references.souped(first, others, share) if others else first


def run(seeds, *, reference, kl_weight):
  """What is earned, and how far the policy went for it."""
  program = tables.program_of(
    'salsa', tx=optax.adam(0.05), samples=SAMPLES, kl_weight=kl_weight
  )

  def train(key):
    make, learn = jax.random.split(key)
    worth, models = fine_tuned(make)
    held = soup([models[k] for k in OF[reference]])
    start = models[0]

    def earned(rows, question):
      return worth[question, rows.content.response[:, 0]]

    def step(state, key):
      question = jnp.arange(QUESTIONS)
      return tables.iterate(program, state, question, earned, key)[0], None

    state = tables.begin(program, start, prompts=QUESTIONS)
    state = state.replace(reference=held)
    state, _ = jax.lax.scan(step, state, jax.random.split(learn, STEPS))
    before, after, of_held = (
      jax.nn.log_softmax(x['logits'][:, 0]) for x in (start, state.params, held)
    )
    mean = lambda log: jnp.mean(jnp.sum(jnp.exp(log) * worth, axis=1))  # noqa: E731
    moved = jnp.mean(jnp.sum(jnp.exp(after) * (after - before), axis=1))
    return mean(after) - mean(before), moved, mean(of_held) - mean(before)

  gained, moved, held = tables.over_seeds(train, seeds)
  return {
    'worth gained': np.asarray(gained),
    'KL to the start': np.asarray(moved),
    'of the reference': np.asarray(held),
  }
