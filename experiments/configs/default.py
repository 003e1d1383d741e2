"""The default experiment: GRPO on sorting digits, from a fresh small model.

  launch/local.sh experiments.train

A transformer of a million parameters is to sort the digits of a word. Its warm
start imitates a careless teacher, who sorts three words of ten and copies the
others, so at first it mostly copies. The verifier pays sorted words alone, and
GRPO does the rest.
"""

from experiments.configs.base import base
from jaxrl_llm import presets


def get_config(recipe: str = 'grpo'):
  """Any recipe or preset, as in --config=experiments/configs/default.py:dapo.

  :trl_grpo is GRPO as TRL runs it; see jaxrl_llm/presets.py.
  """
  config = base(recipe)
  config.steps = 60
  config.data.path = 'sort'
  config.data.level = 2  # words of eight digits
  # Room for hints, where a recipe has some.
  rewords = presets.build(recipe).plan.contract.rewords
  config.sample.max_prompt = 64 if rewords else 16
  config.sample.max_response = 10 + room(recipe)
  config.sample.prompts = 32
  config.model.chunk = 0
  config.learn.microbatches = microbatches(recipe, config.sample.prompts)
  config.optimizer.learning_rate = 3e-4
  config.optimizer.warmup = 5
  config.warm_start.steps = 220
  config.warm_start.learning_rate = 3e-3
  return config.lock()


def room(recipe):
  """Tokens, one a byte, of what the recipe's plan writes into a response."""
  texts = presets.build(recipe).plan.contract.written
  return max((len(text.encode()) for text in texts), default=0)


def microbatches(recipe, prompts):
  """As many as leave 16 rows or more to each, and its blocks whole."""
  built = presets.build(recipe)
  step = prompts * built.plan.contract.samples // built.minibatches
  block = step if built.objective.block == 'batch' else built.objective.block
  counts = range(1, max(1, step // 16) + 1)
  return max(n for n in counts if step % n == 0 and step // n % block == 0)
