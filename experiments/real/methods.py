"""Seven methods on a pretrained model, for as many iterations.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/methods.py

The run of `sums.py` with 8 answers to each of 8 questions, and every method
with its published clips and optimizer steps an iteration (GRPO 1, RLOO 1, GSPO
and SAPO 4, Dr. GRPO 8, CISPO and DAPO as many as there are groups, 8), without
a KL. DAPO samples again, up to four times, until eight groups are mixed, and so
learns from more tokens. One learning rate, 1e-5: it suits GRPO, and the best of
others may be another. Measured: the share of greedy answers that are right on
256 held-out questions, after as many iterations. Expected: methods with more
optimizer steps an iteration are ahead early on, since Adam's step does not
shrink with the gradient, and the losses as such make little difference.
"""

from experiments.ablations.study import Cell, Figure, over

CONFIG = 'experiments/real/sums.py'
RECIPES = ('grpo', 'rloo', 'dr_grpo', 'gspo', 'cispo', 'dapo', 'sapo')

FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  series='recipe',
  title='"What is a + b?", greedy and held out',
)


def cells():
  return [cell | _settings(cell) for cell in over(recipe=RECIPES, seed=[0, 1])]


def _settings(cell: Cell) -> Cell:
  """A group of 8, and no more optimizer steps than there are groups."""
  steps = {'cispo': 8, 'dapo': 8}
  name = str(cell['recipe'])
  found: Cell = {'recipe.samples': 8, 'steps': 12, 'eval.every': 4}
  if name in steps:
    found['recipe.minibatches'] = steps[name]
  return found
