"""A wider upper clip on a transformer: runs of training as a study.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/dapo_clip_higher.py

DAPO (arXiv 2503.14476, section 3.1) raises the upper clip from 0.2 to 0.28, so
that unlikely tokens may gain more in an iteration, and finds more entropy and
accuracy. The cells are whole runs of `experiments.train` in processes of their
own: a transformer of about 1e5 parameters that has learnt to sort eight digits
from a careless teacher, 15 iterations of GRPO of 4 minibatches each, and
held-out accuracy and pass@8 before and after. So short a run can show a large
effect, not a small one: expected is a difference within the errors.
"""

from experiments.ablations.study import Figure, over
from experiments.configs.base import base

CONFIG = 'experiments/ablations/dapo_clip_higher.py'

FIGURE = Figure(
  y='after/accuracy',
  x='recipe.clip_high',
  title='held-out accuracy after training',
)


def cells():
  return over(**{'recipe.clip_high': [0.2, 0.28], 'seed': range(3)})


def get_config(recipe: str = 'grpo'):
  """A run of about half a minute on two CPU cores."""
  config = base(recipe)
  config.steps = 15
  config.recipe.minibatches = 4
  config.recipe.kl_weight = 0.0
  config.model.fresh.layers = 2
  config.model.fresh.width = 64
  config.model.fresh.mlp_width = 256
  config.model.chunk = 0
  config.data.path = 'sort'
  config.data.level = 2  # words of eight digits
  config.data.held_out = 128
  config.sample.max_prompt = 16
  config.sample.max_response = 10
  config.sample.prompts = 16
  config.optimizer.learning_rate = 3e-4
  config.optimizer.warmup = 10
  config.warm_start.steps = 250
  config.warm_start.learning_rate = 3e-3
  config.eval.every = 15
  return config.lock()
