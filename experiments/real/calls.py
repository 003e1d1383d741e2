"""Supervised fine-tuning on conversations that call a calculator.

  python -m experiments.real.prepare
  python -m experiments.train --config=experiments/real/calls.py --export \\
      --workdir=runs/real/calls

Shows the model `calls.jsonl` once; `--config.data.epochs=0.4` breaks off after
32 of them, and `agent.py` goes on from there by reinforcement. Measured: how
well the turns of 16 held-out conversations are known.
"""

from experiments.configs.model import get_config as pretrained
from experiments.real import prepare


def get_config(recipe: str = 'sft'):
  """96 conversations, 8 an iteration, of which 16 are held out."""
  config = pretrained(recipe).unlock()
  config.steps = 0
  config.data.epochs = 1.0
  config.model.path = str(prepare.MODEL)
  config.model.remat = False
  config.data.path = str(prepare.CALLS)
  config.data.responses = 'demonstrated'
  config.data.answer_field = ''
  config.data.held_out = 16
  config.recipe.samples = 1
  config.verify.names = ()
  config.verify.weights = ()
  config.sample.prompts = 8
  config.sample.max_prompt = 192
  config.sample.max_response = 88
  config.learn.microbatches = 1
  config.optimizer.learning_rate = 2e-5
  config.optimizer.warmup = 0
  config.eval.every = 10
  config.eval.samples = 0
  config.checkpoint.every = 10
  return config.lock()
