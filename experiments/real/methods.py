"""Seven methods on a pretrained model, for as many iterations and answers.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/methods.py

The run of `sums.py`, shorter: 5 iterations of 8 answers to each of 4 questions,
two seeds. Every method has its published clips and, as far as 4 groups can be
divided, its optimizer steps an iteration: GRPO and RLOO 1, the others 4. None
has a KL. DAPO samples again, up to four times, until four groups are mixed, and
so learns from more tokens. One learning rate, 1e-5: it suits GRPO, and the best
of others may be another. As a control, GRPO with 4 optimizer steps. Measured:
the share of greedy answers that are right on 64 held-out questions, before and
after. Expected: more optimizer steps are ahead so early on, since Adam's step
does not shrink with the gradient, and the losses as such make little
difference.
"""

from experiments.ablations.study import Cell, chain, over

CONFIG = 'experiments/real/sums.py'
RECIPES = ('grpo', 'rloo', 'dr_grpo', 'gspo', 'cispo', 'dapo', 'sapo')
# What makes a run of `sums.py` one of less than two minutes.
SHORT: Cell = {
  'steps': 5,
  'eval.every': 5,
  'checkpoint.every': 5,
  'recipe.samples': 8,
  'sample.prompts': 4,
  'sample.max_prompt': 40,
  'learn.microbatches': 1,
  'data.held_out': 64,
}


def cells():
  methods = [c | SHORT | _steps(c) for c in over(seed=[0, 1], recipe=RECIPES)]
  control = over(seed=[0, 1], recipe=['grpo'], **{'recipe.minibatches': [4]})
  return chain(methods, [cell | SHORT for cell in control])


def _steps(cell: Cell) -> Cell:
  """One optimizer step where the method has one, else one a group."""
  if cell['recipe'] == 'rloo':  # has no other
    return {}
  return {'recipe.minibatches': 1 if cell['recipe'] == 'grpo' else 4}
