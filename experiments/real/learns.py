"""A pretrained language model learns to add, on a laptop CPU.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/learns.py

The run of `sums.py`, three seeds: GRPO on SmolLM2-135M-Instruct, all weights,
float32, 20 iterations of 8 answers to each of 8 questions. Measured: the share
of greedy answers that are right, on 256 questions that are not trained on, and
the seconds of processor time, compilation and evaluation included. Expected:
the accuracy at least doubles, since the model often knows the sum and talks
past it.
"""

from experiments.ablations.study import Figure, over

CONFIG = 'experiments/real/sums.py'

FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  title='SmolLM2-135M-Instruct, "What is a + b?", greedy and held out',
)


def cells():
  return over(recipe=['grpo'], seed=range(3))
