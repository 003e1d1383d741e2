"""Whom we can be compared with; each is a script of `experiments.benchmarks`.

hf      transformers.generate, and a plain PyTorch learner of GRPO
trl     GRPOTrainer of TRL
tunix   GRPOLearner of Tunix
"""

from __future__ import annotations

from experiments.benchmarks import cases

PEERS = ('hf', 'trl', 'tunix')
TORCH = ('hf', 'trl')
# Not named like the packages, which the scripts themselves import.
MODULES = {name: f'peer_{name}' for name in PEERS}


def microbatches(peer: str, shape: cases.Shape) -> tuple[int, ...]:
  """Rows of a microbatch that are worth a try, all of them dividing an update.

  Tunix counts microbatches in prompts, each with all its responses.
  """
  least = shape.samples if peer == 'tunix' else 4
  return tuple(least * 2**i for i in range(3) if least * 2**i <= shape.rows)
