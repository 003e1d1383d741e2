"""A run of seconds: the default experiment with everything made small."""

from experiments.configs.base import base


def get_config(recipe: str = 'grpo'):
  """Any recipe on words of a few digits, with a model of 20,000 parameters."""
  config = base(recipe)
  config.steps = 12
  config.model.fresh.layers = 1
  config.model.fresh.width = 32
  config.model.fresh.heads = 2
  config.model.fresh.kv_heads = 1
  config.model.fresh.mlp_width = 64
  config.model.chunk = 0
  config.data.path = 'sort'
  config.data.size = 64
  config.data.held_out = 8
  config.sample.prompts = 4
  config.sample.max_prompt = 16
  config.sample.max_response = 6
  config.recipe.samples = 4
  if 'minibatches' in config.recipe:
    steps = min(config.recipe.minibatches, config.sample.prompts)
    config.recipe.minibatches = steps
  config.optimizer.learning_rate = 1e-3
  config.warm_start.steps = 100
  config.warm_start.batch = 32
  config.warm_start.learning_rate = 1e-2
  config.eval.every = 4
  config.eval.samples = 2
  config.checkpoint.every = 1
  return config.lock()
