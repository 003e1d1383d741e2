"""Learning to play a game whose preferences go round in a circle.

  python -m experiments.train --config=experiments/configs/nash.py
  python -m experiments.train --config=experiments/configs/nash.py:sppo
      any recipe of a game: nash_self_play, nash_mp, egpo, online_ipo, spo, ...
  python -m experiments.train --config=experiments/configs/nash.py:nash_md \\
      --config.verify.preference=preference_model:FOLDER --config.data.path=...
      your own questions and preference model, or package.module:function

Asked to `beat kmz=`, one answers with a letter of the word, of which each beats
the next: k beats m, m beats z, z beats k. The model has imitated a teacher who
copies the whole word, which loses, four times of ten, and else mostly gives
the first letter. `eval/exploitability` falls from about 0.4 towards 0, that of
equal odds for the three letters, and `eval/win_rate`, against the start, rises
to 0.7: equal odds win against the teacher's copies alone. A policy that only
learns to beat the start (`--config.recipe.share=1.0`) wins more, and is
exploited.
"""

from experiments.configs.base import base


def get_config(recipe: str = 'nash_md'):
  """Any recipe that reads preferences."""
  config = base(recipe)
  config.steps = 60
  config.data.path = 'cycle'
  config.data.level = 2  # four demonstrations of ten are copies
  config.data.size = 8192  # too many to learn a teacher's draws by heart
  config.data.held_out = 64
  config.verify.names = ('listed',)
  config.verify.weights = (0.0,)  # the game alone is the reward
  config.verify.preference = 'cycle'
  config.sample.prompts = 32
  config.sample.max_prompt = 12
  config.sample.max_response = 4
  config.model.chunk = 0
  config.learn.microbatches = 4
  config.optimizer.learning_rate = 1e-4
  config.optimizer.warmup = 5
  config.warm_start.steps = 220
  config.warm_start.learning_rate = 3e-3
  config.eval.samples = 32
  return config.lock()
