"""Adapters against all weights, on a pretrained model and at equal steps.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/lora.py

GRPO as in the study `methods.py`, whose cells of GRPO are the other side: the
same seeds, questions and iterations, one optimizer step in each. LoRA (arXiv
2106.09685) of rank 16 in every linear map is 3.6 % of the weights. Measured:
the share of greedy answers that are right on 128 held-out questions, before and
after, and seconds of processor time. Expected: at the learning rate of all
weights adapters hardly move, as they begin at 0; at ten or thirty times that
rate they learn as fast.
"""

from experiments.ablations.study import Figure, over
from experiments.real import methods

CONFIG = methods.CONFIG

FIGURE = Figure(
  y='after/accuracy',
  x='optimizer.learning_rate',
  log='x',
  title='"What is a + b?", greedy, after 6 iterations of GRPO with LoRA',
)


def cells():
  rates = [1e-5, 1e-4, 3e-4]
  axes = {'optimizer.learning_rate': rates, 'model.lora_rank': [16]}
  return [
    cell | methods.SHORT for cell in over(recipe=['grpo'], seed=[0, 1], **axes)
  ]
