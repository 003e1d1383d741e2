"""What a surrogate learns as its data grow stale: GRPO, GSPO, CISPO, SAPO.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/stale_surrogates.py

More optimizer steps on the answers of one iteration mean staler data. CISPO
(arXiv 2506.13585, section 3.1) says that PPO's clip loses the tokens that move
most, and that weights that never silence a token learn faster. SAPO (arXiv
2511.20347) says that its soft gate is more stable and ends higher than the
hard clips of GRPO and GSPO. GSPO (arXiv 2507.18071) says that a ratio of whole
sequences trains more stably than one of tokens.

The quiz of `quiz.py`, 8 questions, one answer in 20 right, 8 groups of 8
answers to each, 40 iterations of 1 to 64 minibatches with Adam at one rate: a
question is met in as many minibatches, up to 8, and the moments of Adam move it
in the others. GSPO's own bounds, 3e-4, are for responses of thousands of
tokens and a rate of 1e-6; `gspo_wide` has bounds of 0.1 beside them, half those
of a token. Measured: the expected reward and the entropy at the end, and the
reward on average over training. Expected: alike for one minibatch, where all
are the policy gradient; with more, CISPO and SAPO ahead of GRPO.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over

QUESTIONS, REPEATS, STEPS, RATE = 8, 8, 40, 0.1
VALUES = {
  'grpo': ('grpo', {'kl_weight': 0.0}),
  'gspo': ('gspo', {}),
  'gspo_wide': ('gspo', {'clip_low': 0.1, 'clip_high': 0.1}),
  'cispo': ('cispo', {}),
  'sapo': ('sapo', {}),
}

FIGURE = Figure(
  y='mean reward',
  x='minibatches',
  series='method',
  log='x',
  title='expected reward over training',
)


def cells():
  return over(method=list(VALUES), minibatches=[1, 4, 16, 64], seed=range(6))


def run(seeds, *, method, minibatches):
  """Reward and entropy at the end, and the reward over training."""
  recipe, values = VALUES[method]
  program = tables.program_of(
    recipe, tx=optax.adam(RATE), minibatches=minibatches, **values
  )

  def train(key):
    make_key, learn_key = jax.random.split(key)
    params, worth = quiz.make(make_key, questions=QUESTIONS, solves=0.05)

    def measure(state, metrics):
      return (
        jnp.mean(quiz.rates(state.params, worth)),
        quiz.entropy(state.params),
        metrics['policy/clip_fraction'],
      )

    return quiz.learn(
      program,
      params,
      worth,
      learn_key,
      steps=STEPS,
      prompts=QUESTIONS,
      repeats=REPEATS,
      measure=measure,
    )

  reward, entropy, silenced = tables.over_seeds(train, seeds)
  return {
    'reward': reward[:, -1],
    'mean reward': reward.mean(1),
    'entropy': entropy[:, -1],
    'silenced': silenced.mean(1),
  }
