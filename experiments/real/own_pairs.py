"""A pretrained model learns to add from pairs that it wrote itself.

  python -m experiments.real.prepare
  python -m experiments.eval --config=experiments/real/own_pairs.py:grpo \\
      --samples=4 --questions=runs/real/asked.jsonl:rows=128 \\
      --output=runs/real/answers.json
  python -m experiments.pairs --responses=runs/real/answers.jsonl \\
      --most=2 --cut --output=runs/real/pairs.jsonl
  python -m experiments.sweep --all --study=experiments/real/own_pairs.py
  python -m experiments.export --output=runs/real/judge \\
      --workdir=runs/own_pairs/recipe=reward_model,seed=0
  python -m experiments.rate --models=runs/real/judge \\
      --config.data.path=runs/real/pairs.jsonl --config.data.held_out=16

The model answers 128 sums five times, once of them greedily; the verifier says
which answers are right, and a right and a wrong one to the same question are a
pair. DPO and a reward model begin at that model and see the pairs alone.
Measured: for DPO the share of greedy answers that are right on 64 sums that
nobody was asked, set `sums`, before and after; for both, on the pairs of 16
questions that are held out, how often the right answer is rated higher, DPO's
rating being the log-ratio to the model it began as. Expected: DPO raises the
accuracy, by less than as many iterations of GRPO do, whose answers are of the
policy as it learns.
"""

from experiments.ablations.study import over
from experiments.real import prepare, sums
from jaxrl_llm import presets, recipes

CONFIG = 'experiments/real/own_pairs.py'


def cells():
  return over(recipe=['dpo', 'reward_model'], seed=[0])


def get_config(recipe: str = 'dpo'):
  """Eight pairs an iteration; DPO has twelve of them, a reward model eight."""
  config = sums.get_config(recipe).unlock()
  config.sample.max_prompt = 40
  config.sample.unroll = False  # Much to compile, and little to sample.
  config.sample.temperature = 1.0
  if recipe == 'grpo':  # What writes the answers.
    return config.lock()
  config.steps = 12
  config.data.path = str(prepare.PAIRS)
  config.data.responses = 'recorded'
  config.data.held_out = 16
  config.sample.prompts = 8
  config.learn.microbatches = 1
  config.eval.prompts = 16
  if 'reward model' in recipes.get(presets.find(recipe).recipe).joints:
    config.steps = 8
    # It writes nothing that could be verified.
    config.verify.names = config.verify.weights = ()
    config.data.answer_field = ''
  else:
    config.eval.sets = (f'sums={prepare.KEPT}',)
  config.eval.every = config.checkpoint.every = config.steps
  return config.lock()
