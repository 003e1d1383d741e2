"""What the programs of an iteration are for accelerators, without having one.

  python -m experiments.benchmarks.lowering
  python -m experiments.benchmarks.lowering --model=Qwen2.5-0.5B --platform=tpu

Sampler, scorer and learner of a model are lowered for a platform on shapes
alone: no parameter exists, and nothing is compiled or run. Of the program that
a compiler for the platform would be given, it says how many lines it has, how
long it took to make, and whether it holds what runs badly there or not at all:
numbers of 64 bits, calls of the host, calls of routines that the platform does
not have; and how often it calls a fused kernel of attention, see
`jaxrl_llm.policies.language.fused`. Writes lowering.jsonl and lowering.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

from absl import flags

from experiments import command
from experiments.benchmarks import cases, markdown

PLATFORMS = ('cuda', 'tpu')
# Of attention, and what programs call them.
KERNELS = {'cuda': 'cudnn', 'tpu': 'splash'}
_CALLS = ('__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward')
_FUSED = (*_CALLS, 'tpu_custom_call')
# Settings of published configurations, which `transformers` completes.
MODELS: dict[str, dict[str, Any]] = {
  'Qwen2.5-0.5B': {
    'model_type': 'qwen2',
    'vocab_size': 151936,
    'hidden_size': 896,
    'num_hidden_layers': 24,
    'num_attention_heads': 14,
    'num_key_value_heads': 2,
    'intermediate_size': 4864,
    'tie_word_embeddings': True,
  },
  'Qwen2.5-7B': {
    'model_type': 'qwen2',
    'vocab_size': 152064,
    'hidden_size': 3584,
    'num_hidden_layers': 28,
    'num_attention_heads': 28,
    'num_key_value_heads': 4,
    'intermediate_size': 18944,
  },
  'Qwen2.5-32B': {
    'model_type': 'qwen2',
    'vocab_size': 152064,
    'hidden_size': 5120,
    'num_hidden_layers': 64,
    'num_attention_heads': 40,
    'num_key_value_heads': 8,
    'intermediate_size': 27648,
  },
  'Qwen3-30B-A3B': {
    'model_type': 'qwen3_moe',
    'vocab_size': 151936,
    'hidden_size': 2048,
    'num_hidden_layers': 48,
    'num_attention_heads': 32,
    'num_key_value_heads': 4,
    'head_dim': 128,
    'intermediate_size': 6144,
    'moe_intermediate_size': 768,
    'num_experts': 128,
    'num_experts_per_tok': 8,
    'norm_topk_prob': True,
  },
  'gpt-oss-20b': {
    'model_type': 'gpt_oss',
    'vocab_size': 201088,
    'hidden_size': 2880,
    'num_hidden_layers': 24,
    'num_attention_heads': 64,
    'num_key_value_heads': 8,
    'head_dim': 64,
    'intermediate_size': 2880,
    'num_local_experts': 32,
    'num_experts_per_tok': 4,
  },
}
SHAPE = cases.Shape(prompts=8, samples=8, prompt=512, response=1024)
_MICROBATCH = 8
_MODEL = flags.DEFINE_multi_enum(
  'model', [*MODELS], [*MODELS], 'Of which model.', allow_override=True
)
_PLATFORM = flags.DEFINE_multi_enum(
  'platform', PLATFORMS, PLATFORMS, 'For what.', allow_override=True
)
_RESULTS = command.results_flag()


class Lowered(NamedTuple):
  """A program for a platform.

  Attributes:
    lines: of its text, StableHLO. seconds: that tracing and lowering took.
    wide: types of 64-bit floating point in it. called: names that it calls
      outside of itself. fused: how many of its calls are of fused attention.
  """

  lines: int
  seconds: float
  wide: tuple[str, ...]
  called: tuple[str, ...]
  fused: int

  @property
  def faults(self) -> list[str]:
    """What should not be in a program for an accelerator."""
    return [*self.wide, *self.called]


def config_of(name: str, **changes):
  """The decoder of a name in `MODELS`, with some settings changed."""
  import transformers

  from jaxrl_llm.policies.language import hf

  settings = MODELS[name] | changes
  family = settings.pop('model_type')
  return hf.config_of(transformers.AutoConfig.for_model(family, **settings))


def programs(
  config, shape: cases.Shape, *, unroll: bool = False, dtype: str = 'bfloat16'
) -> dict[str, tuple[Any, tuple]]:
  """Functions of an iteration by name, each with the shapes of its arguments.

  GRPO with a reference, and AdamW.

  Args:
    unroll: layers are written out, in place of a loop over them.
    dtype: of the arithmetic.
  """
  import jax
  import jax.numpy as jnp

  from jaxrl_llm import optimizers, recipes
  from jaxrl_llm.policies.language import parameters, score
  from jaxrl_llm.policies.language.sampler import Sampler
  from jaxrl_llm.policies.language.truncation import Sampling
  from jaxrl_llm.training import step
  from jaxrl_llm.types import Prompts, Scores, Spec

  recipe = recipes.build('grpo', samples=shape.samples, kl_weight=0.001)
  piece = min(_MICROBATCH, shape.rows)

  def scorer(params, rollouts, needs):
    return score.score(
      params,
      config,
      rollouts,
      needs=needs,
      dtype=jnp.dtype(dtype),
      remat=True,
      unroll=unroll or 1,
      shared=min(piece, shape.samples),
    )

  program = step.Program(
    recipe,
    scorer,
    optimizers.chain(learning_rate=1e-6),
    microbatches=shape.rows // piece,
  )
  spec = Spec(shape.rows, shape.samples, shape.prompt, shape.response)
  sampler = Sampler(
    config, shape.response, dtype=jnp.dtype(dtype), unroll=unroll
  )

  def sample(params, prompts, key):
    uids = jnp.arange(shape.rows)
    return sampler(
      params, prompts, uids, key, Sampling(top_p=0.9), samples=shape.samples
    )

  key, each = jax.random.key(0), jnp.arange(shape.prompts)
  size = shape.prompts, shape.prompt
  tokens, mask = jnp.zeros(size, jnp.int32), jnp.ones(size, bool)
  sampling = (
    jax.eval_shape(functools.partial(parameters.init, config), key),
    Prompts(tokens, mask, each, each),
    key,
  )
  rollouts = jax.eval_shape(sample, *sampling)
  state = jax.eval_shape(lambda x: program.init(x, spec), sampling[0])
  scored = jax.eval_shape(program.score, state, {}, rollouts)
  scores = Scores(jnp.zeros((shape.rows, 1)), jnp.ones(1))
  credit, _, _ = jax.eval_shape(
    program.assign, state.method['credit'], scored, scores
  )
  return {
    'sample': (sample, sampling),
    'score': (program.score, (state, {}, rollouts)),
    'learn': (program.learn, (state, {}, scored, credit, key)),
  }


@contextlib.contextmanager
def elsewhere():
  """What follows the machine that traces follows the one that will run."""
  from jax._src.cudnn import fused_attention_stablehlo as cudnn

  from jaxrl_llm.policies.language import tiles

  with (
    mock.patch.dict(tiles.AT_ONCE, cpu=tiles.ELSEWHERE),
    mock.patch.object(cudnn, 'check_cudnn_version', lambda: 91000),
  ):
    yield


def lower(program, arguments, platforms=PLATFORMS) -> dict[str, Lowered]:
  """A program as the compiler of each platform would be given it."""
  import jax

  found = {}
  started = time.perf_counter()
  with elsewhere():
    traced = jax.jit(program).trace(*arguments)
    tracing = time.perf_counter() - started
    for platform in platforms:
      started = time.perf_counter()
      text = traced.lower(lowering_platforms=(platform,)).as_text()
      calls = re.findall(r'custom_call @([\w.$]+)', text)
      found[platform] = Lowered(
        lines=text.count('\n'),
        seconds=tracing + time.perf_counter() - started,
        wide=_names(r'[x<](f64|complex<f64>)', text),
        called=tuple(sorted({*calls} - {*_FUSED})),
        fused=sum(name in _FUSED for name in calls),
      )
  return found


def _names(pattern: str, text: str) -> tuple[str, ...]:
  return tuple(sorted({*re.findall(pattern, text)}))


def measure(names, platforms) -> Iterator[dict[str, Any]]:
  """A line for each model, platform and program."""
  for name, platform in itertools.product(names, platforms):
    config, why = attending(config_of(name), platform)
    with elsewhere():
      known = programs(config, SHAPE)
    for kind, (program, arguments) in known.items():
      found = lower(program, arguments, [platform])[platform]
      yield {
        'model': name,
        'layers': config.layers,
        'program': kind,
        'platform': platform,
        'attention': config.kernel,
        'refused': why,
        'fused': found.fused,
        'lines': found.lines,
        'seconds': round(found.seconds, 1),
        'faults': found.faults,
        'git_commit': command.commit(),
      }


def attending(config, platform: str, dtype: str = 'bfloat16'):
  """The decoder with a platform's kernel of attention, or why it has tiles."""
  from jaxrl_llm.policies.language import fused

  kernel = KERNELS[platform]
  why = fused.refusal(kernel, config, dtype, {})
  return dataclasses.replace(config, kernel='tiles' if why else kernel), why


def table(lines: list[dict[str, Any]]) -> str:
  """Markdown, a row for each model and platform."""
  head = (
    *('model', 'layers', 'platform', 'program', 'attention', 'fused calls'),
    *('lines', 's', 'faults'),
  )
  return markdown.table(
    head,
    (
      (
        line['model'],
        line['layers'],
        line['platform'],
        line['program'],
        line['attention'],
        line['fused'],
        f'{line["lines"]:,}',
        line['seconds'],
        ', '.join(line['faults']) or 'none',
      )
      for line in lines
    ),
  )


def main() -> int:
  lines = []
  for line in measure(_MODEL.value, _PLATFORM.value):
    print(json.dumps(line), flush=True)
    lines.append(line)
  results = pathlib.Path(_RESULTS.value)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (results / 'lowering.jsonl').write_text(text)
  markdown.put(results / 'lowering.md', [table(lines)])
  return 0


if __name__ == '__main__':
  command.run(main)
