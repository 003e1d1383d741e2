"""The division by the spread favours questions that are too easy or too hard.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/dr_grpo_difficulty.py

Dr. GRPO (arXiv 2503.20783, section 3.1) says that GRPO's division by the
group's standard deviation gives questions of low spread, nearly always or
nearly never solved, a larger weight than the policy gradient has for them;
without the division the weight does not depend on the question.

DisCO (arXiv 2505.12366) measures from elsewhere: by the gap between the mean
scores of right and wrong responses, where the policy gradient itself has the
weight p (1 - p), GRPO its root, and DisCO 1.

A question is one choice between right and wrong, solved with probability p.
The policy gradient in the logit of `right` is p (1 - p), that of the gap is 1.
Measured: the step of one iteration on each question over the policy gradient
(`weight`), and the step itself (`gap weight`), relative to p = 1/2. For large
groups `weight` should be 1 at every p for Dr. GRPO and (4 p (1 - p))^(-1/2) for
GRPO, 2.3 at p = 0.05; `gap weight` should be 1 for DisCO, here in its mean
form, and 4 p (1 - p) for Dr. GRPO. Groups of 16 are often uniform at extreme p
and then teach nothing, which hides part of each effect.
"""

import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over, product
from jaxrl_llm.tabular import policy

RATES = np.linspace(0.05, 0.95, 19)
REPEATS = 256  # groups of one question per seed
VALUES = {'grpo': {}, 'dr_grpo': {'minibatches': 1}, 'disco_mean': {}}

FIGURE = Figure(
  y='weight',
  x='rate',
  series='recipe',
  title='weight of a question over that of the policy gradient',
)


def cells():
  return product(
    over(recipe=list(VALUES), samples=[16]),
    over(seed=range(4)),
  )


def run(seeds, *, recipe, samples):
  """Relative weights of questions, their extremes among them."""
  program = tables.program_of(recipe, samples=samples, **VALUES[recipe])
  rates = jnp.asarray(RATES, jnp.float32)
  logits = jnp.stack([jnp.log(1 - rates), jnp.log(rates)], axis=-1)
  params = {
    'logits': logits[:, None, :],
    'values': jnp.zeros((len(RATES), 1)),
  }
  question = jnp.repeat(jnp.arange(len(RATES)), REPEATS)

  def measure(key):
    rollouts = policy.sample(params, key, question, samples=samples)
    rewards = rollouts.content.response[:, 0].astype(jnp.float32)
    step = tables.gradient(
      program, params, rollouts, rewards, prompts=len(question)
    )
    return step[:, 0, 1] / step[middle, 0, 1]

  middle = len(RATES) // 2
  gap = tables.over_seeds(measure, seeds)
  weight = gap / (4 * RATES * (1 - RATES))
  return {
    'rate': np.tile(RATES, (len(seeds), 1)),
    'weight': weight,
    'weight at 0.05': weight[:, 0],
    'weight at 0.2': weight[:, 3],
    'weight at 0.95': weight[:, -1],
    'gap weight': gap,
    'gap weight at 0.05': gap[:, 0],
    'gap weight at 0.2': gap[:, 3],
  }
