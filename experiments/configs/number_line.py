"""A number to be taken to another, by a sign a turn: flows over episodes.

  python -m experiments.train --config=experiments/configs/number_line.py
      GFlowVLM: the variance balance of whole episodes
  python -m experiments.train \\
      --config=experiments/configs/number_line.py:gflowvlm_db
      its balance of steps; `gflowvlm_subtb` is that of runs of steps, and
      `flow_grpo_agent`, or any recipe for agents, what to compare with

The model imitates a teacher who takes every second step at random. Of sampled
episodes so many reach the target without a wrong step in the first ten
iterations and in the last ten, and so much they return, one seed each:

  gflowvlm           0.470   0.490     -0.82   -0.44
  gflowvlm_db        0.468   0.484     -0.95   -1.76
  gflowvlm_subtb     0.475   0.507     -0.85   -0.84
  flow_grpo_agent    0.481   0.640     -0.73   -0.38

So the flows run here and hardly learn, the balance of steps loses, and GRPO
learns. With --config.recipe.weight=0.5 --config.optimizer.learning_rate=3e-4
flows fall apart after 25 iterations: of the episodes of the last one, 0.24 are
right by `gflowvlm` and 0.23 by `gflowvlm_subtb`, and turns are random bytes. In
e^(r / weight) over texts, turns that say nothing are so many that they outweigh
the two that count, unless the weight is small.
The first takes 32 seconds of CPU time.
"""

from experiments.configs.base import SMALLEST, base


def get_config(recipe: str = 'gflowvlm'):
  """Recipes for agents, whose rows are episodes or turns."""
  config = base(recipe)
  config.steps = 40
  config.environment = 'number_line'
  config.data.path = 'number_line:largest=9:careless=0.5'
  config.data.size = 36
  config.data.held_out = 12
  config.verify.names = ('returned',)
  config.recipe.turns = 8
  config.recipe.samples = 8
  if 'weight' in config.recipe:
    config.recipe.weight = 0.1
  config.update_from_flattened_dict(SMALLEST)
  config.sample.prompts = 16
  config.sample.max_prompt = 8
  config.sample.max_response = 40  # a turn may use an eighth of them
  config.sample.stop = ('\n',)
  config.learn.microbatches = 2
  config.optimizer.learning_rate = 1e-4
  config.optimizer.warmup = 5
  config.warm_start.steps = 100
  config.warm_start.batch = 32
  config.warm_start.learning_rate = 6e-3
  config.eval.samples = 8
  config.eval.every = 20
  return config.lock()
