"""A pretrained model on questions with answers: what usually fits one.

  python -m experiments.train --config=experiments/configs/model.py \\
      --config.model.path=FOLDER --config.data.path=questions.jsonl
  python -m experiments.train --config=experiments/configs/model.py:dapo ...
      any recipe that samples independently, or again until groups are mixed

FOLDER is a Hugging Face folder or a hub name; without it a small instruct
model is fetched, and without questions they are sums. `--dry_run` says what
memory a model takes. Where it is short: `model.lora_rank=16`, a smaller
`sample.max_response`, more `learn.microbatches`. `model.dtype=bfloat16` halves
activations on accelerators.
"""

from experiments.configs.base import base
from experiments.configs.default import microbatches


def get_config(recipe: str = 'grpo'):
  """Careful steps, logits in pieces, and layers scanned, as compiles fast."""
  config = base(recipe)
  config.steps = 100
  config.model.path = 'HuggingFaceTB/SmolLM2-135M-Instruct'
  config.model.remat = True
  config.model.unroll = False
  config.data.path = 'chain_sum'
  config.data.size = 2048
  config.data.held_out = 64
  config.verify.names = ('numeric',)
  config.sample.prompts = 16
  config.sample.max_prompt = 512
  config.sample.max_response = 512
  # One or two groups at a time.
  config.learn.microbatches = microbatches(recipe, config.sample.prompts)
  config.optimizer.learning_rate = 1e-6
  config.optimizer.warmup = 10
  # Each evaluation asks every question this often, and once more greedily.
  config.eval.samples = 0
  config.checkpoint.every = 10
  return config.lock()
