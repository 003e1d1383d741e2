"""Four choices as one grid: estimator, loss, aggregation and form of the KL.

  export XLA_FLAGS="--xla_backend_optimization_level=0 \\
      --xla_cpu_use_fusion_emitters=false"   # not from jaxlib 0.11.1 on
  python -m experiments.sweep --all \\
      --study=experiments/ablations/composition_grid.py

which takes three minutes of processor time, most of it to compile 81 programs;
without the flags it takes 13.

Papers argue for one choice at a time, beside the defaults of their day. Here a
cell is what `--config.slots` takes, and each composition of `grpo` learns from
the same questions. Dr. GRPO (arXiv 2503.20783) claims that the division by the
length of a response makes wrong answers longer, and that the division by the
spread is no help; DAPO (arXiv 2503.14476) that every token should weigh alike;
CISPO (arXiv 2506.13585) that a weight beats a clip on stale data; and
`objectives.costs` says that k2 has the gradient of the KL to the reference, k3
that of its reverse.

Answers have one to 4 tokens of 4, of which one ends them. One in 10 of those
with 3 tokens or more is right. 8 questions, 2 groups of 8 answers to each, 40
iterations of 4 minibatches with Adam at one rate, which takes away the scale of
estimators and aggregators. Measured, exactly: the expected reward over training
and at the end, the expected length of a wrong answer at the end, and the KL to
the reference at the end. Expected: the losses nearly alike, with data this
fresh; rewards without a baseline last; longer wrong answers where lengths
divide; k2 and k3 alike near the reference, and apart far from it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.compose import compose
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program

VOCAB, LENGTH, STOP, SHORTEST = 4, 4, 0, 3
QUESTIONS, REPEATS, STEPS, RATE = 8, 2, 40, 0.1

FIGURE = Figure(
  y='mean reward',
  x='advantage',
  series='costs',
  across='aggregate',
  down='surrogate',
  title='expected reward over training',
)


def cells():
  return over(
    advantage=['reward', 'centre', 'norm'],
    surrogate=['clip', 'sequence_clip(0.1, 0.1)', 'clip_weight'],
    aggregate=['sequence_mean', 'token_mean', 'budget_mean'],
    costs=['none', 'k2:0.1', 'k3:0.1'],
    seed=range(4),
  )


def run(seeds, **slots):
  """Reward over training and at the end, wrong answers' length, the KL."""
  recipe = compose(recipes.build('grpo', minibatches=4), **slots)
  program = Program(recipe, policy.score, optax.adam(RATE))
  question = jnp.repeat(jnp.arange(QUESTIONS), REPEATS)

  def train(key):
    make_key, learn_key = jax.random.split(key)
    start, worth = make(make_key)

    def step(state, key):
      sample_key, key = jax.random.split(key)
      rollouts = policy.sample(
        state.params, sample_key, question, samples=8, stop=STOP
      )
      rewards = worth[rollouts.task, number(rollouts.content.response)]
      state, _ = tables.learn(program, state, rollouts, rewards, key)
      return state, measured(state.params, start, worth)

    state = tables.begin(program, start, prompts=QUESTIONS * REPEATS)
    return jax.lax.scan(step, state, jax.random.split(learn_key, STEPS))[1]

  reward, length, divergence = tables.over_seeds(train, seeds)
  return {
    'mean reward': reward.mean(1),
    'reward': reward[:, -1],
    'wrong length': length[:, -1],
    'divergence': divergence[:, -1],
  }


def make(key):
  """A policy, and what each answer is worth by its `number`."""
  start, right = jax.random.split(key)
  params = policy.init(
    start, tasks=QUESTIONS, vocab=VOCAB, length=LENGTH, scale=0.5
  )
  tokens, mask = policy.all_responses(VOCAB, LENGTH, STOP)
  long = np.zeros(VOCAB**LENGTH, bool)
  long[number(tokens)] = mask.sum(1) >= SHORTEST
  chosen = jax.random.uniform(right, (QUESTIONS, VOCAB**LENGTH)) < 0.1
  return params, jnp.where(long & chosen, 1.0, 0.0)


def number(response):
  """i32[N]: the place of a response among all words of full length."""
  return response @ VOCAB ** np.arange(LENGTH - 1, -1, -1)


def measured(params, start, worth):
  """Expected reward, length of a wrong answer, KL to the start, exactly."""
  tokens, mask = policy.all_responses(VOCAB, LENGTH, STOP)
  nodes = policy.prefix_states(tokens, VOCAB)

  def log_chances(params):
    logs = jax.nn.log_softmax(params['logits'])[:, nodes, tokens]
    return jnp.sum(jnp.where(mask, logs, 0.0), axis=-1)

  logs, before = log_chances(params), log_chances(start)
  chance, value = jnp.exp(logs), worth[:, number(tokens)]
  wrong = chance * (1 - value)
  length = jnp.sum(wrong * mask.sum(1)) / jnp.sum(wrong)
  divergence = jnp.mean(jnp.sum(chance * (logs - before), axis=1))
  return jnp.mean(jnp.sum(chance * value, axis=1)), length, divergence
