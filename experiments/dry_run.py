"""What a run would be, without running it: `experiments.train --dry_run`."""

from __future__ import annotations

import pathlib
import tempfile

from ml_collections import ConfigDict


def report(config: ConfigDict) -> int:
  """Builds and compiles everything on shapes alone, and prints the sizes."""
  import jax

  from experiments import collectives, command
  from jaxrl_llm import problems, recipe

  with tempfile.TemporaryDirectory() as scratch:
    parts, params = problems.assemble(
      config, pathlib.Path(scratch), abstract=True
    )
    parts.close()
    state = parts.layout.abstract(jax.eval_shape(parts.init, params))
    sizes = {
      'trained parameters': params,
      'frozen parameters': parts.frozen,
      'optimiser': state.opt,
      'reference': state.reference,
    } | parts.working_memory()
    print(f'recipe {config.recipe.name}')
    slots = recipe.describe(parts.recipe)
    width = max(map(len, slots))
    for slot, value in slots.items():
      print(f'  {slot:{width}}  {value}')
    print(parts.trained)
    if parts.example:
      print(f'the first prompt: {command.short(parts.example)}')
    for remark in parts.remarks:
      print(f'  {remark}')
    print(f'  {"":24}{"numbers":>16}{"bytes":>12}{"per device":>12}')
    for name, tree in sizes.items():
      count = sum(x.size for x in jax.tree.leaves(tree))
      whole, part = _size(_bytes(tree)), _size(_bytes(tree, parts.layout))
      print(f'  {name:24}{count:>16,}{whole:>12}{part:>12}')
    spec = parts.spec
    tokens = spec.rows * spec.response_length
    print(
      f'one iteration: {spec.rows} rows of at most {spec.prompt_length} + '
      f'{spec.response_length} tokens, {tokens:,} to sample, '
      f'{parts.recipe.steps} optimizer steps; '
      f'{spec.tasks} questions, {parts.asked} held out'
    )
    for name, (compiled, seconds) in _programs(parts, state).items():
      memory = compiled.memory_analysis()
      took = f'{seconds:.1f} s of processors to compile'
      if memory is None:
        print(f'  {name:8}this backend gives no memory analysis; {took}')
        continue
      parts_of = {
        'arguments': memory.argument_size_in_bytes,
        'results': memory.output_size_in_bytes - memory.alias_size_in_bytes,
        'activations': memory.temp_size_in_bytes,
      }
      listed = ', '.join(f'{k} {_size(v)}' for k, v in parts_of.items())
      print(f'  {name:8}per device: {listed}; {took}')
      for line in collectives.table(collectives.of_program(compiled)):
        print(f'    {line}')
  return 0


def _programs(parts, state):
  """What is compiled, and in what time, in the order of an iteration.

  First what the sampler is given once an iteration: all parameters, out of the
  places where they are kept between programs.
  """
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.types import Scores

  key, place = jax.random.key(0), parts.layout.abstract
  params = jax.eval_shape(parts.sampling_params, state)
  whole = place(params, whole='data')
  compiled = {
    'gather': _compiled(jax.jit(parts.sampling_params), state),
    'sample': _compiled(jax.jit(parts.sample), whole, key),
  }
  if parts.recipe.plan.contract.provides:
    # What the plan adds to the rows is known when it runs.
    return compiled
  rollouts = place(jax.eval_shape(parts.sample, params, key))
  scores = Scores(
    jnp.zeros((parts.spec.rows, parts.spec.components)),
    jnp.ones(parts.spec.components),
    jnp.zeros((parts.spec.rows, parts.spec.samples)) if parts.judged else None,
  )
  score = parts.compiled.score
  if parts.program.passes:
    compiled['score'] = _compiled(score, state, parts.fixed, rollouts)
  rollouts = jax.eval_shape(score, state, parts.fixed, rollouts)
  credit, _, _ = jax.eval_shape(
    parts.compiled.assign, state.method['credit'], rollouts, scores
  )
  rows = place(rollouts), place(credit)
  learn = _compiled(parts.compiled.learn, state, parts.fixed, *rows, key)
  return compiled | {'learn': learn}


def _compiled(program, *arguments):
  """The program, and the seconds of all processors that tracing it took too."""
  import time

  start = time.process_time()
  compiled = program.lower(*arguments).compile()
  return compiled, time.process_time() - start


def _bytes(tree, layout=None) -> int:
  """Of the whole tree, or of what of it is on one device of a layout."""
  import math

  import jax

  def count(x):
    place = getattr(x, 'sharding', None)
    shape = place.shard_shape(x.shape) if layout and place else x.shape
    return math.prod(shape) * x.dtype.itemsize

  return sum(map(count, jax.tree.leaves(tree)))


def _size(count: float) -> str:
  for unit in ('B', 'KiB', 'MiB', 'GiB'):
    if count < 1024 or unit == 'GiB':
      return f'{count:.1f} {unit}'
    count /= 1024
  return ''
