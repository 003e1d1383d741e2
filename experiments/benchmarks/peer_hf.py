"""transformers.generate and the plainest PyTorch learner of GRPO.

The learner is what one writes without a library: microbatches of whole
sequences, log-softmax of the response's logits, the clipped surrogate averaged
over tokens and then over rows, gradients accumulated, clipped, AdamW.
"""

from __future__ import annotations

import torch
import transformers

from experiments.benchmarks import cases, ending, protocol

_END, _PAD = 2, 0
# Of one call: a larger one copies a larger cache at every token.
_ROWS_GENERATED = 64


def prepare(request):
  """See `protocol`; `microbatch` and `compile` are the learner's."""
  shape = cases.SHAPES[request['shape']]
  sizes = cases.model_of(request['model'])
  model = transformers.AutoModelForCausalLM.from_pretrained(request['model'])
  tokenizer = transformers.AutoTokenizer.from_pretrained(request['model'])
  forward = torch.compile(model) if request['compile'] else model
  optimizer = torch.optim.AdamW(model.parameters(), 1e-6, weight_decay=0.0)
  prompts = torch.tensor(cases.prompts(sizes, shape))
  prompts = prompts.repeat_interleave(shape.samples, 0)
  settings = transformers.GenerationConfig(
    do_sample=True,
    top_k=0,
    max_new_tokens=shape.response,
    eos_token_id=_END,
    pad_token_id=_PAD,
  )

  @torch.no_grad()
  def generate(prompts):
    sequences = model.generate(
      prompts,
      attention_mask=torch.ones_like(prompts),
      generation_config=settings,
      logits_processor=[ending.Ending(sizes, shape, _END)],
    )
    short = shape.prompt + shape.response - sequences.shape[1]
    return torch.nn.functional.pad(sequences, (0, short), value=_PAD)

  def learn(sequences):
    responses = sequences[:, shape.prompt :]
    lengths = _lengths(responses)
    mask = torch.arange(shape.response) < lengths[:, None]
    texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
    rewards = torch.tensor(cases.rewards(texts))
    advantages = _advantages(rewards, shape.samples)
    for rows in torch.arange(shape.rows).split(request['microbatch']):
      width = int(lengths[rows].max())
      seen, chosen = mask[rows, :width], responses[rows, :width, None]
      logits = forward(
        sequences[rows, : shape.prompt + width],
        attention_mask=torch.cat([prompts[rows] >= 0, seen], 1),
        logits_to_keep=width + 1,
      ).logits[:, :-1]
      logp = logits.log_softmax(-1).gather(-1, chosen)[..., 0]
      # On policy the old log-probs are the new ones, so no bound is active.
      ratio = torch.exp(logp - logp.detach())
      clipped = ratio.clamp(0.8, 1.2) * advantages[rows, None]
      loss = -torch.minimum(ratio * advantages[rows, None], clipped)
      means = (loss * seen).sum(-1) / lengths[rows]
      (means.sum() / shape.rows).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(mask.sum())

  def iteration():
    started = protocol.clocks()
    sequences = torch.cat(
      [generate(rows) for rows in prompts.split(_ROWS_GENERATED)]
    )
    sampled = protocol.since(started)
    tokens = learn(sequences)
    return protocol.outcome(protocol.since(started), sampled, tokens)

  return iteration


def _lengths(responses):
  """Tokens up to the end token, which is in every response."""
  return (responses == _END).int().argmax(1) + 1


def _advantages(rewards, samples):
  groups = rewards.reshape(-1, samples)
  centred = groups - groups.mean(1, keepdim=True)
  return (centred / (groups.std(1, keepdim=True) + 1e-6)).flatten()


if __name__ == '__main__':
  protocol.serve(prepare, ('transformers', 'torch'))
