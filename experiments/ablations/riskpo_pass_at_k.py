"""Weight on the lower tail keeps the policy exploring: RiskPO and GRPO.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/riskpo_pass_at_k.py

RiskPO (arXiv 2510.00911) replaces the mean of a question's rewards by a mixed
value-at-risk of the summed rewards of bundles of 5 questions, with more weight
on the lower tail. It claims that hard questions, whose groups are all wrong,
then teach; that the entropy collapses less; and that pass@k rises above GRPO's,
the more the larger k is.

Strategies stand for solutions, as in `unlikeliness_pass_at_n.py`: one softmax
over 32, its logits normal of spread 2, shared by all questions; a strategy
solves a question with probability 0.25. 60 questions in 12 bundles, 8 answers
each, both token means with the same clip and one minibatch. Measured after 150
iterations of Adam on other questions, drawn alike: pass@1, pass@64 and the
entropy of the policy. Expected: RiskPO with more entropy and pass@64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables, unlikeliness_pass_at_n
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

STRATEGIES, QUESTIONS, SAMPLES, STEPS = 32, 60, 8, 150
BUNDLE, SOLVES = 5, 0.25
COMMON = {'samples': SAMPLES, 'minibatches': 1}
VALUES = {
  'grpo': ('grpo', {'kl_weight': 0.0}),
  'riskpo': ('riskpo', {}),
  'risk_neutral': ('riskpo', {'tail_weight': 0.0}),
}

FIGURE = Figure(
  y='pass@N',
  x='N',
  series='method',
  log='x',
  title='held-out pass@N after training',
)


def cells():
  return over(method=list(VALUES), seed=range(8))


def run(seeds, *, method):
  """Held-out pass@N, and the entropy of the policy."""
  recipe, values = VALUES[method]
  program = tables.program_of(recipe, tx=optax.adam(0.02), **COMMON, **values)

  def train(key):
    start, solve, learn = jax.random.split(key, 3)
    params = {
      'logits': 2 * jax.random.normal(start, (1, 1, STRATEGIES)),
      'values': jnp.zeros((1, 1)),
    }
    shape = (2, QUESTIONS, STRATEGIES)
    solved = jax.random.bernoulli(solve, SOLVES, shape).astype(jnp.float32)

    def step(state, key):
      draw, update = jax.random.split(key)
      rollouts = bundled(state.params, draw)
      rewards = solved[0, rollouts.group, rollouts.content.response[:, 0]]
      return tables.learn(program, state, rollouts, rewards, update)

    state = tables.begin(program, params, prompts=QUESTIONS)
    state, _ = jax.lax.scan(step, state, jax.random.split(learn, STEPS))
    log_policy = jax.nn.log_softmax(state.params['logits'][0, 0])
    return (
      unlikeliness_pass_at_n.passes(state.params, solved[1]),
      -jnp.sum(jnp.exp(log_policy) * log_policy),
    )

  passes, entropy = tables.over_seeds(train, seeds)
  return {
    'N': np.tile(unlikeliness_pass_at_n.DRAWS, (len(seeds), 1)),
    'pass@N': passes,
    'pass@1': passes[:, 0],
    'pass@8': passes[:, 3],
    'pass@64': passes[:, 6],
    'entropy': entropy,
  }


def bundled(params, key):
  """Answers to all questions; the j-th ones of a bundle are a paper."""
  rollouts = policy.sample(
    params, key, jnp.zeros(QUESTIONS, int), samples=SAMPLES
  )
  place = jnp.arange(QUESTIONS * SAMPLES)
  extras = {'bundle': rollouts.group // BUNDLE, 'paper': place % SAMPLES}
  return rollouts.replace(extras=extras)
