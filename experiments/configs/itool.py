"""iTool: demonstrations from easy to hard, then pairs from a search.

  S="--config=experiments/configs/sft.py --config.data.path=sort
     --config.verify.names=('exact',) --config.sample.max_response=10
     --config.data.epochs=3.0"
  python -m experiments.train $S --config.data.level=1 --workdir=runs/easy
  python -m experiments.train $S --config.data.level=2 --from=runs/easy \\
      --workdir=runs/hard
  python -m experiments.train --config=experiments/configs/itool.py \\
      --from=runs/hard

After the first command 0.895 of greedy answers to held-out words of five digits
are right; after the second 0.004 to words of eight, which its teacher mostly
copies. Ten iterations of the third take these to 0.051, and of eight answers
that are sampled one is right for 0.090 of the words, from 0.035; one seed, 36
seconds of CPU time. Calls of a tool the search unlearns, see
`experiments/ablations/tool_searches.py`.
"""

from experiments.configs.base import base


def get_config(recipe: str = 'itool'):
  """What begins with the policy of another run, see --from."""
  config = base(recipe)
  config.steps = 10
  if recipe == 'itool':
    config.recipe.mark, config.recipe.phrases = '.', 3  # digits of a word
  config.data.path = 'sort'
  config.data.level = 2  # words of eight digits
  config.data.size = 2048
  config.sample.prompts = 32
  config.sample.max_prompt = 16
  config.sample.max_response = 10
  config.model.chunk = 0
  config.learn.microbatches = 4
  config.optimizer.learning_rate = 3e-4
  config.optimizer.warmup = 2
  config.eval.every = 10
  return config.lock()
