"""Iterations of a training run of this codebase.

Nothing is left out that a run does between two evaluations: prompts are drawn,
responses decoded and verified by worker processes, metrics and samples
written. What is set here is set by a flag of `experiments.train`, but for the
lengths of responses, which a random model does not end by itself.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile

import jax
import numpy as np

from experiments.benchmarks import cases, protocol
from experiments.configs import base
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.problems.text import assembly, policy
from jaxrl_llm.training import loop, programs, writers

# Rows at work at once where lengths differ; as many as the peers generate.
_SLOTS = 64


def prepare(request):
  """See `protocol`.

  Args:
    request: model (a folder), shape (a name of `cases.SHAPES`), dtype,
      microbatch (rows of one), set (other settings of the run, NAME=VALUE)
      and share_prompts (whether the learner reads them once a group).
  """
  programs.count()  # From now on, as in a run.
  workdir = pathlib.Path(tempfile.mkdtemp())
  shape = cases.SHAPES[request['shape']]
  config = _config(request, shape, workdir / 'questions.jsonl')
  parts, params = assembly.assemble(config, workdir)
  parts = _ending(parts, shape)
  if not request['share_prompts']:
    scorer = policy.scorer(parts.model, config)
    program = dataclasses.replace(parts.program, scorer=scorer, shared=1)
    parts = dataclasses.replace(
      parts, program=program, compiled=program.compile()
    )
  state = parts.init(params)
  run = writers.Run(workdir, total_steps=1, quiet=True)
  step = 0

  def iteration():
    nonlocal state, step
    # Drawn every half minute by the clock, and the rounds of others take time.
    run.draw()
    _SAMPLING.clear()
    started = protocol.clocks()
    state, metrics, taught = loop.iterate(parts, state, step)
    step += 1
    run.samples(step, parts.examples(*taught))
    run.log(step, metrics)
    whole, (sampled,) = protocol.since(started), _SAMPLING
    assert metrics['bad_steps'] == 0
    computed = sum(metrics[f'time/{n}'] for n in ('sample', 'score', 'learn'))
    tokens = float(metrics['tokens/sampled'])
    return protocol.outcome(whole, sampled, tokens) | {
      'verify': metrics['time/verify'],
      # What is neither the sampler's nor the learner's programs.
      'host': whole[0] - computed,
    }

  return iteration


# Seconds by both clocks of every call of the sampler in an iteration.
_SAMPLING: list[tuple[float, float]] = []


class _Watched(Sampler):
  """The sampler, which also says how long it took."""

  def __call__(self, *args, **kwargs):
    started = protocol.clocks()
    rollouts = jax.block_until_ready(super().__call__(*args, **kwargs))
    _SAMPLING.append(protocol.since(started))
    return rollouts


def _config(request, shape, questions: pathlib.Path):
  """The settings of a run on the prompts of the shape."""
  texts = cases.texts(cases.model_of(request['model']), shape)
  # One more, because a run holds questions out.
  rows = [{'prompt': text, 'answer': ''} for text in (*texts, 't8')]
  questions.write_text('\n'.join(map(json.dumps, rows)))
  config = base.base('grpo')
  config.recipe.samples = shape.samples
  config.recipe.kl_weight = 0.0
  config.model.path = str(request['model'])
  config.model.dtype = request['dtype']
  config.model.chunk = 0
  config.data.path = str(questions)
  config.data.held_out = 1
  config.verify.names = ('experiments.benchmarks.cases:rewards',)
  config.sample.prompts = shape.prompts
  config.sample.max_prompt = shape.prompt
  config.sample.max_response = shape.response
  config.sample.slots = _SLOTS if shape.least else 0
  config.learn.microbatches = shape.rows // request['microbatch']
  config.optimizer.learning_rate = 1e-6
  config.optimizer.b2 = 0.999
  settings = (word.split('=', 1) for word in request['set'])
  config.update_from_flattened_dict({k: json.loads(v) for k, v in settings})
  return config.lock()


def _ending(parts, shape: cases.Shape):
  """The session with responses of the lengths of the shape."""
  table = None
  if shape.least:
    lengths = shape.lengths(parts.model.vocab)
    table = _countdown(lengths, shape.response)
  fields = vars(parts.answering.sampler)
  sampler = _Watched(**fields | {'stop_tokens': (), 'stop_table': table})
  answering = dataclasses.replace(parts.answering, sampler=sampler)
  return dataclasses.replace(parts, answering=answering)


def _countdown(lengths, most: int) -> np.ndarray:
  """The stop automaton whose first token says how many there will be.

  In state s > 0, `most` - s tokens are to come.

  Args:
    lengths: V of them, 1 to `most`.

  Returns:
    i32[most + 1, V], see `jaxrl_llm.problems.text.encoding.stop_table`.
  """
  later = np.minimum(np.arange(1, most + 2), most)
  table = np.repeat(later[:, None], len(lengths), axis=1)
  table[0] = most + 1 - np.array(lengths)
  return table.astype(np.int32)


if __name__ == '__main__':
  protocol.serve(prepare, ('jax', 'optax', 'numpy'))
