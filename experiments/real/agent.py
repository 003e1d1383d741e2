"""A pretrained model with a calculator, in two turns of its chat template.

  python -m experiments.real.prepare
  python -m experiments.eval --config=experiments/real/agent.py --samples=0 \\
      --questions=runs/real/products.jsonl:rows=16 \\
      --questions=runs/real/bare.jsonl --output=runs/real/agent.json

"What is a times b?" for numbers from 11 to 99. The chat template knows no
tools, so the schema of `calculator.py` and the form of a call are words of the
system's message; before the questions of `products` stands a worked example,
before those of `bare` none. The policy calls, reads the result, and answers;
the verifier judges the last words. Measured: the share of right greedy answers,
and whether the tool is called. What came out, experiments/results/real.md says:
of 32 answers none calls, so that `experiments.train` with this config needs a
model that has seen calls, as of `experiments/configs/sft.py`.
"""

from experiments.configs.model import get_config as pretrained
from experiments.real import prepare


def get_config(recipe: str = 'flow_grpo_agent'):
  """Four episodes of two turns about each of four products."""
  config = pretrained(recipe).unlock()
  config.steps = 3
  config.model.path = str(prepare.MODEL)
  config.model.remat = False
  config.recipe.samples = 4
  config.recipe.turns = 2
  config.recipe.minibatches = 4
  config.recipe.kl_weight = 0.0
  config.environment = 'experiments.real.calculator:Calculator'
  config.data.path = str(prepare.PRODUCTS)
  config.data.held_out = 16
  config.verify.names = ('numeric',)
  config.sample.prompts = 4
  config.sample.max_prompt = 272
  config.sample.max_response = 88
  config.sample.unroll = False  # Much to compile, and little to sample.
  config.sample.temperature = 0.7
  config.learn.microbatches = 1
  config.optimizer.learning_rate = 1e-5
  config.optimizer.warmup = 0
  config.eval.every = 3
  config.eval.prompts = 16
  config.eval.sets = (f'bare={prepare.BARE}',)
  config.eval.saved = -1
  config.log.samples = 16
  config.checkpoint.every = 3
  return config.lock()
