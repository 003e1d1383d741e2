"""Control with a small policy, where the best return is known.

  python -m experiments.train --config=experiments/configs/control.py
      PPO brings a cart to rest (a linear-quadratic regulator)
  python -m experiments.train --config=experiments/configs/control.py:grpo
      any recipe that samples independently: grpo, dr_grpo, gspo, cispo, ...
  python -m experiments.train --config=experiments/configs/control.py \\
      --config.environment.name=grid
      a table of log-odds on a grid, whose values are exact
  python -m experiments.train \\
      --config=experiments/configs/control.py:faker_air --config.seed=SEED
      forecasts of recorded fields, fitted to them by squared errors and then
      paid by their class, in pairs of opposite noise: 1.93, 1.94 and 1.94 of 4
      steps right for seeds 0, 1 and 2, from 1.66, 1.67 and 1.68
  python -m experiments.train --config=experiments/configs/control.py \\
      --config.environment.name=ranks
      how many dimensions an attention keeps, segment by segment (Dynamic Rank)
  python -m experiments.train \\
      --config=experiments/configs/control.py:categorical_critic \\
      --config.environment.name=ranks --config.policy.space=hyperbolic
      the same by Hyper++, hyperbolic layers and a critic of bins: 5.77, 6.00
      and 5.93 of at most 6.53 for seeds 0, 1 and 2, from 5.2; flat layers reach
      5.93, 6.25 and 6.27

`eval/return` is held against `eval/optimum`, the value of the Riccati
recursion or of dynamic programming.
The first command takes it from -1116 to -2.771 of at most -2.738, with
--config.seed=1 from -1081 to -2.776 and with --config.seed=2 from -1007 to
-2.773, in 14 to 26 seconds of CPU time.
"""

from experiments.configs.base import base


def get_config(recipe: str = 'ppo'):
  """Any recipe that samples independently."""
  config = base(recipe, 'control')
  config.steps = 200
  config.sample.prompts = 64
  config.optimizer.learning_rate = 3e-3
  config.optimizer.schedule = 'linear'
  config.eval.every = 20
  config.eval.samples = 256
  config.checkpoint.every = 50
  if 'discount' in config.recipe:
    config.recipe.discount = 0.99
  if recipe == 'faker_air':  # both of its stages, in pairs of opposite noise
    config.environment.name, config.policy.opposite = 'air', True
    config.warm_start.steps = 500
  if recipe != 'ppo':
    config.sample.prompts = 16  # a group of rows begins at each
  return config.lock()
