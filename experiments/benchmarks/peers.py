"""Whom we can be compared with; each is a script of `experiments.benchmarks`.

hf      transformers.generate, and a plain PyTorch learner of GRPO
trl     GRPOTrainer of TRL
tunix   GRPOLearner of Tunix
"""

PEERS = ('hf', 'trl', 'tunix')
TORCH = ('hf', 'trl')
# Not named like the packages, which the scripts themselves import.
MODULES = {name: f'peer_{name}' for name in PEERS}
