"""The default experiment: GRPO on short sums, from a fresh small model.

launch/local.sh experiments.train
"""

from experiments.configs.base import base


def get_config(recipe: str = 'grpo'):
  """Any recipe, as in --config=experiments/configs/default.py:dapo."""
  config = base(recipe)
  config.steps = 100
  config.data.path = 'chain_sum'
  config.data.level = 2
  config.verify.names = ('numeric',)
  config.model.chunk = 0
  config.sample.max_prompt = 24
  config.sample.max_response = 24
  config.sample.prompts = 32
  config.optimizer.learning_rate = 3e-4
  config.warm_start.steps = 300
  return config.lock()
