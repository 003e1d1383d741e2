"""A game of hidden cards in texts, solved over clusters of what is said.

  python -m experiments.train --config=experiments/configs/poker.py

LSPO in Kuhn poker, a move of which is two letters of six. The model has
imitated a teacher who passes too often. In each round its texts are clustered
into latent strategies, one more than before; the game of these is solved by
regret minimisation, and DPO prefers texts of what the solution says more often.
`plan/exploitability` is that of the texts which were drawn: in twelve rounds it
falls from 0.73 to 0.22 with --config.seed=0, from 0.79 to 0.24 with 1 and from
0.74 to 0.31 with 2, at least 0.16, 0.17 and 0.24 on the way. With
--config.recipe.weight=0.1, the paper's, strategies become pure at once and stay
at 0.33, or go round. A run takes 40 seconds of CPU time.
"""

from experiments.configs.base import SMALLEST, base


def get_config(recipe: str = 'lspo'):
  """LSPO, or with another name what the same texts teach otherwise."""
  config = base(recipe)
  config.steps = 12
  config.data.path = 'poker'
  config.data.size = 4096
  config.data.held_out = 64
  config.verify.names = ('exact',)
  if 'weight' in config.recipe:
    config.recipe.weight = 1.0
  config.sample.prompts = 96
  config.sample.max_prompt = 12
  config.sample.max_response = 4
  config.update_from_flattened_dict(SMALLEST)
  config.optimizer.learning_rate = 1e-3
  config.warm_start.steps = 100
  config.warm_start.learning_rate = 3e-3
  config.eval.every = 0  # there is no best answer
  return config.lock()
