"""A pretrained model with a calculator, in two turns of its chat template.

  python -m experiments.real.prepare
  python -m experiments.train --config=experiments/real/calls.py --export \\
      --workdir=runs/real/calls --config.data.epochs=0.4
  python -m experiments.train --config=experiments/real/agent.py \\
      --workdir=runs/real/agent --config.model.path=runs/real/calls/export

"What is a times b?" for numbers from 11 to 99. The chat template knows no
tools, so the schema of `calculator.py` and the form of a call are words of the
system's message. The policy calls, reads the result, and answers; the verifier
judges the last words. The model as it comes never calls, and where no answer
calls there is nothing to reward, so that it is first shown some conversations
that do (`calls.py`), too few to learn it well. Measured: the share of right
greedy answers, to held-out questions and to those of `shown.jsonl`, which stand
behind a worked one, as none does in training.
"""

from experiments.configs.model import get_config as pretrained
from experiments.real import prepare


def get_config(recipe: str = 'flow_grpo_agent'):
  """Four episodes of two turns about each of four products."""
  config = pretrained(recipe).unlock()
  config.steps = 4
  config.model.path = str(prepare.MODEL)
  config.model.remat = False
  config.recipe.samples = 4
  config.recipe.turns = 2
  config.recipe.minibatches = 4
  config.recipe.kl_weight = 0.0
  config.environment = 'experiments.real.calculator:Calculator'
  config.data.path = str(prepare.PRODUCTS)
  config.data.held_out = 32
  config.verify.names = ('numeric',)
  config.sample.prompts = 4
  config.sample.max_prompt = 176
  config.sample.max_response = 88
  config.sample.unroll = False  # Much to compile, and little to sample.
  config.sample.temperature = 0.7
  config.learn.microbatches = 1
  config.optimizer.learning_rate = 1e-5
  config.optimizer.warmup = 0
  config.eval.every = 4
  config.eval.prompts = 32
  config.eval.saved = -1
  config.log.samples = 16
  config.checkpoint.every = 4
  return config.lock()
