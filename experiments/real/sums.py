"""A pretrained model learns to add: SmolLM2-135M-Instruct, two numbers to 30.

python -m experiments.real.prepare
python -m experiments.train --config=experiments/real/sums.py
python -m experiments.train --config=experiments/real/sums.py:dr_grpo
"""

from experiments.configs.model import get_config as pretrained
from experiments.real import prepare


def get_config(recipe: str = 'grpo'):
  """Answers of at most 16 tokens, 8 to each of 8 questions."""
  config = pretrained(recipe).unlock()
  config.steps = 20
  config.model.path = str(prepare.MODEL)
  config.model.remat = False
  if 'kl_weight' in config.recipe:
    config.recipe.kl_weight = 0.0
  config.data.path = str(prepare.SUMS)
  config.data.held_out = 256
  config.verify.names = ('numeric',)
  config.sample.prompts = 8
  config.sample.max_prompt = 48
  config.sample.max_response = 16
  config.sample.temperature = 0.7
  config.optimizer.learning_rate = 1e-5
  config.optimizer.warmup = 0
  config.learn.microbatches = min(2, config.learn.microbatches)
  config.eval.every = 5
  config.eval.prompts = 64
  config.checkpoint.every = 20
  return config.lock()
