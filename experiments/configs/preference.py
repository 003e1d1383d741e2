"""Learning from recorded preferences, here between words of sorted digits.

  python -m experiments.train --config=experiments/configs/preference.py:dpo
  python -m experiments.train --config=experiments/configs/preference.py:ipo
      any recipe that samples independently and learns from its pairs or lists
  python -m experiments.train --config=experiments/configs/preference.py:dpo \\
      --config.data.path=pairs.jsonl --config.model.path=FOLDER \\
      --config.verify.names="()" --config.verify.weights="()" \\
      --config.warm_start.steps=0 --config.optimizer.learning_rate=5e-7
      your own pairs, with `prompt`, `chosen` and `rejected`
  python -m experiments.train \\
      --config=experiments/configs/preference.py:reward_model --export
      a reward model, which experiments.rate measures and experiments.train
      takes as a verifier: --config.verify.names="('reward_model:FOLDER',)"
  python -m experiments.train \\
      --config=experiments/configs/preference.py:polar --config.steps=120 \\
      --config.data.responses=referred --config.sample.max_response=20
      which of two responses is of the policy that wrote a reference, here by
      the number of digits that it exchanges: right of 256 held-out pairs are
      0.475 before and 0.693 after

The model has imitated a careless teacher, see `default.py`. The chosen
response sorts the word, the rejected one has two digits exchanged.
"""

from experiments.configs.base import base
from jaxrl_llm import presets, recipes


def get_config(recipe: str = 'dpo'):
  """Any offline recipe, on generated pairs, or lists where it takes more."""
  config = base(recipe)
  config.steps = 60
  config.data.path = 'sort'
  config.data.level = 2  # words of eight digits
  config.data.responses = 'recorded'
  config.data.answer_field = ''  # records need no answer
  config.sample.prompts = 32
  config.sample.max_prompt = 16
  config.sample.max_response = 10
  config.model.chunk = 0
  config.learn.microbatches = 4
  config.optimizer.learning_rate = 3e-5
  config.optimizer.warmup = 5
  config.warm_start.steps = 220
  config.warm_start.learning_rate = 3e-3
  config.eval.samples = 0
  if 'reward model' in recipes.get(presets.find(recipe).recipe).joints:
    # It writes nothing that could be verified, and starts from another loss.
    config.verify.names = config.verify.weights = ()
    config.optimizer.learning_rate = 3e-4
  return config.lock()
