"""A pretrained model learns to multiply with a calculator, in two turns.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/agent.py
  python -m experiments.show runs/agent/seed=0

"What is a times b?" for numbers from 11 to 99. The chat template knows no
tools, so the schema of `calculator.py` and the form of a call are words of the
system's message, and one worked example stands before the question. The policy
calls, reads the result, and answers; the verifier judges the last words.
Measured: the share of right greedy answers to 16 held-out questions, and to 16
others without the example, set `bare`, before and after GRPO of episodes.
Expected: with the example the model often calls, not always rightly, and
training mends that.
"""

from experiments.ablations.study import Figure, over
from experiments.configs.model import get_config as pretrained
from experiments.real import prepare

CONFIG = 'experiments/real/agent.py'

FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  title='SmolLM2-135M-Instruct, "What is a times b?", with a calculator',
)


def cells():
  return over(seed=[0])


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
