"""One iteration of TRL's GRPOTrainer, on given weights, prompts and rewards.

Learning is what an iteration does beside generating: log-probs, rewards,
gradients and AdamW. Gradient checkpointing, on by default, is off.
"""

from __future__ import annotations

import functools
import tempfile

import datasets
import transformers
import trl

from experiments.benchmarks import cases, ending, protocol, turns

# Of one call: a larger one copies a larger cache at every token.
_ROWS_GENERATED = 64


class _Announced(transformers.TrainerCallback):
  """Tells `turns` where optimizer steps begin and end."""

  def __init__(self, taken: turns.Turns):
    self._taken = taken

  def on_step_begin(self, *args, **kwargs):
    self._taken.begin()

  def on_step_end(self, *args, **kwargs):
    self._taken.end()


def prepare(request):
  """See `protocol`; `microbatch` and `compile` are the trainer's."""
  shape = cases.SHAPES[request['shape']]
  sizes = cases.model_of(request['model'])
  model = transformers.AutoModelForCausalLM.from_pretrained(request['model'])
  tokenizer = transformers.AutoTokenizer.from_pretrained(request['model'])
  texts = cases.texts(sizes, shape)
  end = ending.Ending(sizes, shape, tokenizer.eos_token_id)
  model.generate = functools.partial(model.generate, logits_processor=[end])
  taken = turns.Turns()

  def rewards(completions, completion_ids, **_):
    taken.count(sum(map(len, completion_ids)))
    return cases.rewards(completions)

  trainer = trl.GRPOTrainer(
    model=model,
    processing_class=tokenizer,
    reward_funcs=rewards,
    train_dataset=datasets.Dataset.from_dict({'prompt': texts}),
    callbacks=[_Announced(taken)],
    args=_settings(shape, request['microbatch'], request['compile']),
  )
  trainer._generate_single_turn = taken.sampling(trainer._generate_single_turn)
  return taken.start(trainer.train)


def _settings(shape, microbatch, compiled):
  return trl.GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    beta=0.0,
    num_generations=shape.samples,
    max_completion_length=shape.response,
    per_device_train_batch_size=microbatch,
    gradient_accumulation_steps=shape.rows // microbatch,
    steps_per_generation=min(shape.rows, _ROWS_GENERATED) // microbatch,
    shuffle_dataset=False,
    learning_rate=1e-6,
    lr_scheduler_type='constant',
    max_grad_norm=1.0,
    adam_beta2=0.999,
    weight_decay=0.0,
    max_steps=10_000,
    gradient_checkpointing=False,
    torch_compile=compiled,
    bf16=False,
    use_cpu=True,
    report_to='none',
    save_strategy='no',
    logging_strategy='no',
    disable_tqdm=True,
  )


if __name__ == '__main__':
  protocol.serve(prepare, ('trl', 'transformers', 'torch'))
