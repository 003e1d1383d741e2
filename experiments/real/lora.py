"""Adapters against all weights, on a pretrained model and at equal steps.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/lora.py

GRPO as in the study `methods.py`, whose cells of GRPO are the other side: the
same seeds, questions and iterations, one optimizer step in each. LoRA (arXiv
2106.09685) of rank 16 in every linear map is 3.6 % of the weights. Measured:
the share of greedy answers that are right on 64 held-out questions, before and
after, and seconds of processor time. Expected: at ten or thirty times the
learning rate of all weights they learn as fast.
"""

from experiments.ablations.study import Figure, over
from experiments.real import methods

CONFIG = methods.CONFIG

FIGURE = Figure(
  y='after/accuracy',
  x='optimizer.learning_rate',
  log='x',
  title='"What is a + b?", greedy, after 5 iterations of GRPO with LoRA',
)


def cells():
  rates = {'optimizer.learning_rate': [1e-4, 3e-4]}
  cells = over(recipe=['grpo'], seed=[0, 1], **rates)
  return [cell | methods.SHORT | {'model.lora_rank': 16} for cell in cells]
