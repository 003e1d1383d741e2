"""Success rates of policies on prompts that they never saw, by a context.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/foretold_rates.py

V_0 (arXiv 2602.03584) claims that a value model which reads pairs of prompts
and results knows what a policy can do on others, without learning a parameter
when the policy changes, and that routing by it is worth more for its price than
by the models' means.

Prompts are 8 normal numbers x, divided by 8; six policies are right with the
probability sigmoid(8 w . x + b), w of length 3 or so, and cost 0 to 1, the able
ones more, by b = -2 to 2. A context is 4 to 1024 prompts with one result each;
256 others are asked. `foretold` is `selection.foresight`, `mean` the context's
mean result, `true` the probabilities themselves. Measured: loss of the chances
and how often two prompts are ranked right; the mean reward of answers routed
over all policies, with the weight of costs that has them cost 0.5 or less on
average and is best. Expected: foretold near the true ones from some hundred
entries on, the mean never.
"""

import numpy as np

from experiments.ablations.study import Figure, over
from jaxrl_llm.selection import foresight

SIZE, POLICIES, ASKED = 8, 6, 256
LEVELS, COSTS = np.linspace(-2, 2, POLICIES), np.linspace(0, 1, POLICIES)
WEIGHTS = np.linspace(0, 1, 41)
FIGURE = Figure(
  y='loss', x='context', series='by', log='x', title='of 256 other prompts'
)


def cells():
  return over(
    by=['foretold', 'mean', 'true'],
    context=[4, 16, 64, 256, 1024],
    seed=range(8),
  )


def prompts(rng, count):
  return rng.normal(size=(count, SIZE)) / SIZE


def told(rng, by, ability, level, context, asked):
  """Chances of a policy on what is asked."""
  true = 1 / (1 + np.exp(-8 * asked @ ability - level))
  shown = prompts(rng, context)
  right = 1 / (1 + np.exp(-8 * shown @ ability - level))
  results = (rng.random(context) < right) * 1.0
  if by == 'true':
    return true, true
  if by == 'mean':
    return true, np.full(len(asked), (results.sum() + 0.5) / (context + 1))
  return true, foresight.foretold(shown, results, np.ones(context), asked)


def ranked(chances, true):
  """How often the more probable of two prompts is told to be, ties half."""
  above = true[:, None] > true
  sure = np.sign(chances[:, None] - chances)
  return np.mean((sure[above] + 1) / 2)


def one(by, context, seed):
  rng = np.random.default_rng(seed)
  asked = prompts(rng, ASKED)
  abilities = rng.normal(size=(POLICIES, SIZE))
  pairs = [
    told(rng, by, ability, level, context, asked)
    for ability, level in zip(abilities, LEVELS)
  ]
  true, chances = (np.stack(x) for x in zip(*pairs))
  answered = (rng.random(true.shape) < true) * 1.0
  best = 0.0
  for weight in WEIGHTS:
    chosen = foresight.routed(chances, COSTS, weight=weight)
    if COSTS[chosen].mean() <= 0.5:
      best = max(best, true[chosen, np.arange(ASKED)].mean())
  return {
    'loss': np.mean(list(map(foresight.loss, chances, answered))),
    'ranked': np.mean(list(map(ranked, chances, true))),
    'routed': best,
  }


def run(seeds, *, by, context):
  """Losses, ranks and rewards of routing."""
  found = [one(by, context, int(seed)) for seed in seeds]
  return {name: np.array([x[name] for x in found]) for name in found[0]}
