"""What one GPU would need at least for an iteration: an estimate.

  python -m experiments.benchmarks.bounds

No GPU is used and nothing is run. The programs of the sampler and the learner
are compiled for this machine on shapes alone, in float32, and the compiler's
cost analysis says how many operations they are and how many bytes they access.
It counts the body of a loop once, so

    sampling = reading the prompts + (T - 1) x one step of the decode loop
    learning = all rows as one microbatch, layers and attention in no loops

and in bfloat16 bytes are half as many. The time of a program is that of its
operations or of its bytes at the peak rate, whichever is longer. A compiler for
GPUs fuses more, and the optimizer's state stays float32: the times are those of
this program at the peak rates, and no prediction. Compiling takes minutes.
"""

from __future__ import annotations

import functools
from typing import NamedTuple
from unittest import mock

from absl import app

from experiments.benchmarks import cases, chips, markdown

# NVIDIA's sheet, H100 SXM: 989 TFLOPS (1979 with sparsity), 80 GB at 3.35 TB/s.
CHIP = chips.Chip(989e12, 80e9, 3.35e12, 450e9, 50e9)
# Hugging Face, the config.json of each; biases and norms left aside.
MODELS = {
  'Qwen2.5-0.5B': cases.Model(24, 896, 14, 2, 64, 4864, 151936),
  'Qwen2.5-1.5B': cases.Model(28, 1536, 12, 2, 128, 8960, 151936),
}
SHAPES = ('short', 'long')


class Cost(NamedTuple):
  """Of a program: operations, and bytes accessed in float32."""

  operations: float
  bytes: float


def costs(model: cases.Model, shape: cases.Shape) -> dict[str, Cost]:
  """What compiled sampling and learning of one iteration cost."""
  import jax

  from jaxrl_llm.policies.language import tiles

  found = {}
  with mock.patch.dict(tiles.AT_ONCE, cpu=2**62):
    for name, (program, arguments, given) in _programs(model, shape).items():
      lowered = jax.jit(program, donate_argnums=given).lower(*arguments)
      analysis = lowered.compile().cost_analysis()
      assert analysis is not None  # CPUs have one
      found[name] = Cost(analysis['flops'], analysis['bytes accessed'])
  steps = shape.response - 1
  sampling = (a + steps * b for a, b in zip(found['read'], found['step']))
  return {'sample': Cost(*sampling), 'learn': found['learn']}


def seconds(cost: Cost, chip: chips.Chip) -> dict[str, float]:
  """The least that each of its resources takes, in bfloat16."""
  return {
    'arithmetic': cost.operations / chip.operations,
    'memory': cost.bytes / 2 / chip.bandwidth,
  }


def _programs(model, shape):
  """What to compile: functions, shapes of arguments, which are given away."""
  import jax
  import jax.numpy as jnp
  import optax

  from experiments.benchmarks import folders
  from jaxrl_llm import recipes
  from jaxrl_llm.policies.language import (
    caches,
    decoding,
    drawing,
    hf,
    parameters,
    score,
    transformer,
  )
  from jaxrl_llm.policies.language import sampler as sampler_lib
  from jaxrl_llm.policies.language.truncation import Sampling
  from jaxrl_llm.training import step
  from jaxrl_llm.types import Prompts, Scores, Spec

  config = hf.config_of(folders.description(model))
  recipe = recipes.build('grpo', samples=shape.samples, kl_weight=0.0)
  sampler = sampler_lib.Sampler(config, shape.response)
  sampling = Sampling()

  def first(logits, keys):
    state = drawing.initial(sampler, shape.rows)
    return sampler_lib.emit(sampler, state, logits, keys, sampling, None)

  def read(params, prompts, keys):
    # The sampler's own way through the prompts has its layers in a loop.
    hidden = transformer.hidden(
      params, config, prompts.tokens, prompts.mask, unroll=True
    )
    logits = transformer.logits(params, config, hidden[:, -1])
    return first(jnp.repeat(logits, shape.samples, axis=0), keys)

  def one(layers, rest, mask, keys, state, prompt_cache, cache):
    positions = shape.prompt + state.t + jnp.zeros_like(state.token)
    hidden, cache = decoding.decode(
      layers,
      rest,
      config,
      state.token,
      positions,
      prompt_cache,
      mask,
      cache,
      state.t,
    )
    logits = transformer.logits(rest, config, hidden)
    state = sampler_lib.emit(sampler, state, logits, keys, sampling, None)
    return state, cache

  def scorer(params, rollouts, needs):
    return score.score(
      params,
      config,
      rollouts,
      needs=needs,
      chunk=0,
      unroll=True,
      shared=shape.samples,
    )

  program = step.Program(recipe, scorer, optax.adamw(1e-6))
  spec = Spec(shape.rows, shape.samples, shape.prompt, shape.response)
  key, rows = jax.random.key(0), jnp.arange(shape.prompts)
  tokens = jnp.zeros((shape.prompts, shape.prompt), jnp.int32)
  prompts = Prompts(tokens, jnp.ones(tokens.shape, bool), rows, rows)
  keys = sampler_lib.row_keys(key, jnp.arange(shape.rows))
  params = jax.eval_shape(functools.partial(parameters.init, config), key)
  layers, rest = jax.eval_shape(
    lambda params: drawing.unstacked(params, sampler), params
  )
  logits, prompt_cache = jax.eval_shape(
    functools.partial(sampler_lib.prompted, sampler, shape.samples),
    params,
    prompts,
  )
  state = jax.eval_shape(first, logits, keys)
  cache = jax.eval_shape(
    lambda: caches.empty_cache(config, shape.rows, shape.response)
  )
  rollouts = jax.eval_shape(sampler_lib.finished, prompts, state)
  held = jax.eval_shape(lambda params: program.init(params, spec), params)
  scores = Scores(jnp.zeros((shape.rows, 1)), jnp.ones(1))
  credit, _, _ = jax.eval_shape(
    program.assign, held.method['credit'], rollouts, scores
  )
  return {
    'read': (read, (params, prompts, keys), ()),
    'step': (
      one,
      (layers, rest, prompts.mask, keys, state, prompt_cache, cache),
      (4, 6),
    ),
    'learn': (program.learn, (held, {}, rollouts, credit, key), (0,)),
  }


def table() -> str:
  """Markdown, a row for each model and shape."""
  head = (
    'model',
    'shape',
    'sampling TFLOP',
    'counted',
    'GB',
    's',
    'tok/s',
    'learning TFLOP',
    'counted',
    'GB',
    's',
  )
  rows = []
  for (name, model), key in (
    (item, key) for item in MODELS.items() for key in SHAPES
  ):
    shape = cases.SHAPES[key]
    counted = cases.shared(model, shape)
    found = costs(model, shape)
    cells = [name, key]
    for program, times in (('sample', 1), ('learn', 3)):
      cost = found[program]
      least = max(seconds(cost, CHIP).values())
      cells += [
        f'{cost.operations / 1e12:.1f}',
        f'{times * counted / 1e12:.1f}',
        f'{cost.bytes / 2e9:,.0f}',
        f'{least:.3f}',
      ]
      if program == 'sample':
        cells.append(f'{cases.tokens(model, shape) / least:,.0f}')
    rows.append(cells)
  return markdown.table(head, rows)


def main(_) -> None:
  print(table())


if __name__ == '__main__':
  app.run(main)
