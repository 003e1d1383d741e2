"""Learning to play a game whose preferences go round in a circle.

  python -m experiments.train --config=experiments/configs/nash.py
  python -m experiments.train --config=experiments/configs/nash.py:sppo
      any recipe of a game: nash_self_play, nash_mp, egpo, online_ipo, spo, ...
  python -m experiments.train --config=experiments/configs/nash.py:nash_md \\
      --config.verify.preference=preference_model:FOLDER --config.data.path=...
      your own questions and preference model, or package.module:function

Rock, scissors, paper: each of `rsp` beats the next one. The model has imitated
a teacher who copies the question's number four times of ten, which loses, and
mostly throws r otherwise. It first learns to throw p, which beats the start,
and overshoots; then it circles in. `eval/exploitability`, 0.42 at the start,
is 0.10 at the equilibrium of the game with this KL, whose `eval/win_rate`
against the start is 0.75; the run ends at 0.12 and 0.78, within three minutes
of CPU time.
With a tenth of the KL and momentum
(`--config.recipe.kl_weight=0.01 --config.optimizer.b1=0.9`) it stays at p,
which wins 0.91 and is exploited as much as the start.
"""

from experiments.configs.base import base


def get_config(recipe: str = 'nash_md'):
  """Any recipe that reads preferences."""
  config = base(recipe)
  config.steps = 100
  config.data.path = 'cycle'
  config.data.level = 2  # four demonstrations of ten are copies
  config.data.size = 8192
  config.data.held_out = 64
  config.verify.names = ('listed',)
  config.verify.weights = (0.0,)  # the game alone is the reward
  config.verify.preference = 'cycle'
  config.sample.prompts = 32
  config.sample.max_prompt = 16
  config.sample.max_response = 6
  config.model.chunk = 0
  config.learn.microbatches = 4
  config.optimizer.learning_rate = 3e-4
  config.optimizer.schedule = 'linear'
  config.optimizer.warmup = 5
  config.optimizer.b1 = 0.0  # momentum carries past an equilibrium
  config.warm_start.steps = 100
  config.warm_start.learning_rate = 3e-3
  config.eval.samples = 32
  if 'kl_weight' in config.recipe:
    config.recipe.kl_weight = 0.1
  return config.lock()
