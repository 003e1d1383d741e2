"""An agent with a tool: episodes of several turns, from a fresh small model.

  python -m experiments.train --config=experiments/configs/agent.py
  python -m experiments.train --config=experiments/configs/agent.py:gigpo
      any recipe whose plan asks for an environment

Prices of two things are asked for, and a tool alone knows them. The model
imitates a teacher who asks for both and says them half of the time, and guesses
the other half. GRPO finds out which of the two is right.

The first command takes 124 seconds of CPU time. Of sampled answers to held-out
questions 0.465 are right before, and 0.922 after 60 iterations; greedily it
asks from the beginning, 0.953 and 0.953.
"""

from experiments.configs.base import SMALLEST, base


def get_config(recipe: str = 'flow_grpo_agent'):
  """Recipes for agents, whose rows are episodes or turns."""
  config = prices(recipe)
  config.environment = 'prices'
  config.recipe.turns = 3
  return config.lock()


def prices(recipe: str):
  """The task and the model, without what answers or asks the policy."""
  config = base(recipe)
  config.steps = 60
  config.data.path = 'prices'
  config.data.level = 2
  config.data.size = 416
  config.data.held_out = 64
  config.model.fresh.chat = True
  config.update_from_flattened_dict(SMALLEST)
  config.sample.prompts = 16
  config.sample.max_prompt = 36
  config.sample.max_response = 72  # a turn may use a third of them
  config.learn.microbatches = 2
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup = 5
  config.warm_start.steps = 300
  config.warm_start.batch = 32
  config.warm_start.learning_rate = 6e-3
  config.eval.samples = 4
  config.eval.every = 30
  return config
