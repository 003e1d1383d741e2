"""GRPO sharpens what is likely; paying unlikely successes lifts pass@N.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/unlikeliness_pass_at_n.py

"Rewarding the Unlikely" (arXiv 2506.02355) finds that GRPO reinforces the
solutions that were likely already: pass@1 rises while pass@N for large N does
not, or falls. Its penalty on the likelihood of successes repairs pass@N.

Strategies stand for solutions: the policy is one softmax over 32 of them, its
initial logits normal of spread 2, shared by all questions. Each question is
solved by each strategy with probability 0.25, so that some questions are
solved only by rare ones. Train and held-out questions are drawn alike; pass@N
on the held-out ones is exact, mean_q 1 - (1 - p_q)^N. The learner is the
recipe's with its KL cost off, which would hold every strategy by itself;
penalty 0 is GRPO with two epochs. Expected: after training, GRPO has the
larger pass@1, and a pass@64 below that of the initial policy; pass@64 grows
with the penalty.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over

STRATEGIES, QUESTIONS, STEPS = 32, 64, 150
SOLVES = 0.25
DRAWS = 2 ** np.arange(9)
TRACED = ('penalty',)

FIGURE = Figure(
  y='pass@N',
  x='N',
  series='penalty',
  log='x',
  title='held-out pass@N after training',
)


def cells():
  return over(penalty=[0.0, 0.25, 0.5], seed=range(5))


def run(seeds, *, penalty):
  """Held-out pass@N before and after training."""

  def train(key, penalty):
    program = tables.program_of(
      'unlikeliness', tx=optax.adam(0.02), penalty=penalty, kl_weight=0.0
    )
    start, solve, learn = jax.random.split(key, 3)
    params = {
      'logits': 2 * jax.random.normal(start, (1, 1, STRATEGIES)),
      'values': jnp.zeros((1, 1)),
    }
    shape = (2, QUESTIONS, STRATEGIES)
    solved = jax.random.bernoulli(solve, SOLVES, shape).astype(jnp.float32)

    def reward(rollouts, question):
      return solved[0, question, rollouts.content.response[:, 0]]

    def step(state, key):
      state, _ = tables.iterate(
        program, state, jnp.arange(QUESTIONS), reward, key, shared=True
      )
      return state, None

    state = tables.begin(program, params, prompts=QUESTIONS)
    state, _ = jax.lax.scan(step, state, jax.random.split(learn, STEPS))
    return passes(params, solved[1]), passes(state.params, solved[1])

  before, after = tables.over_seeds(train, seeds, penalty)
  return {
    'N': np.tile(DRAWS, (len(seeds), 1)),
    'pass@N': after,
    'pass@N before': before,
    'pass@1': after[:, 0],
    'pass@64': after[:, 6],
    'pass@1 before': before[:, 0],
    'pass@64 before': before[:, 6],
  }


def passes(params, solved):
  """f32[N]: the probability that one of N answers solves a question."""
  chance = solved @ jax.nn.softmax(params['logits'][0, 0])
  return jnp.mean(1 - (1 - chance[:, None]) ** DRAWS, axis=0)
