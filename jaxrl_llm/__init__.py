"""Reinforcement learning for language models as pure functions in JAX."""

import os

# Models are ours: that transformers finds no PyTorch is no news to the user.
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
