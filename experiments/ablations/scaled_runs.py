"""ScaleRL's recipe beside GRPO, in whole runs of the default task.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/scaled_runs.py

ScaleRL (arXiv 2510.13786) finds that its choices together learn more from the
same samples than the recipes before it. The cells are runs of
`experiments.train` in processes of their own, of 20 iterations with 32 prompts,
8 responses to each and 8 optimizer steps, of a small model that hardly ever
sorts a word at first. No word comes twice, so that the curriculum has nothing
to do: `scaled_parts.py` measures it. GRPO is without its KL term, which ScaleRL
lacks; the learning rate is that of the default task for both. Measured: greedy
accuracy on held-out words. Expected: `scale_rl` ahead.
"""

from experiments.ablations.study import Cell, Figure, product
from experiments.configs import default

CONFIG = 'experiments/ablations/scaled_runs.py'
FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  series='recipe',
  title='held-out accuracy while training',
)
ALIKE: Cell = {'recipe.samples': 8, 'recipe.minibatches': 8}


def cells():
  ours: Cell = {'recipe': 'scale_rl'}
  grpo: Cell = {'recipe': 'grpo', 'recipe.kl_weight': 0.0}
  seeds: list[Cell] = [{'seed': seed} for seed in range(3)]
  return product(seeds, [ours, grpo], [ALIKE])


def get_config(recipe: str = 'grpo'):
  """The default run, shorter, on a model of a tenth of its size."""
  config = default.get_config(recipe).unlock()
  config.steps = 20
  config.model.fresh.layers = 2
  config.model.fresh.width = 64
  config.model.fresh.mlp_width = 256
  config.data.held_out = 128
  config.eval.every = 5
  config.learn.microbatches = 1
  return config.lock()
