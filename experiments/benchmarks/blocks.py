"""What attention gains where the scores of a tile exist at a time.

  python -m experiments.benchmarks.blocks

One layer of the rows of one microbatch, forward, then forward and backward:
all scores at once, where they are few enough, and in tiles of `tiles.AT_ONCE`.
The two take turns; milliseconds are of processors, the least of the rounds, and
memory is what the compiler reserves. The products are counted at this
machine's best rate of them, over both halves of the triangle and once more for
the scores that the backward pass makes again.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from experiments import command
from experiments.benchmarks import cases

_RESULTS = command.results_flag()

# Model, prompt, responses of a group, their tokens; one sequence where none.
CELLS = (
  ('small', 512, 16, 128),
  ('tiny', 64, 8, 512),
  ('small', 1024, 0, 0),
  ('small', 2048, 0, 0),
  ('small', 4096, 0, 0),
  ('small', 8192, 0, 0),
)
_ALL = 2**62
# MiB of scores, of which several arrays are reserved where all exist at once.
_MOST = 128
_ROUNDS = 3


def main() -> int:
  from experiments.benchmarks import machine
  from jaxrl_llm.policies.language import tiles

  rate = machine.prepare({'dtypes': ['float32']})()['float32 cpu']
  lines = []
  for cell in CELLS:
    named = zip(('model', 'prompt', 'responses', 'tokens'), cell)
    found: dict[str, Any] = dict(named)
    found['MiB of scores'] = 4 * _pairs(cell) / 2**20
    sizes = {'all': _ALL, 'tiles': tiles.AT_ONCE['cpu']}
    if found['MiB of scores'] > _MOST:
      del sizes['all']
    programs = {name: _compiled(cell, size) for name, size in sizes.items()}
    times: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(_ROUNDS):
      for name, (forth, both, arguments) in programs.items():
        times[name].append([_seconds(p, arguments) for p in (forth, both)])
    for name, (_, both, _) in programs.items():
      forth, whole = (1e3 * min(each) for each in zip(*times[name]))
      reserved = both.memory_analysis().temp_size_in_bytes
      found[f'{name} forth ms'] = round(forth, 1)
      found[f'{name} ms'] = round(whole, 1)
      found[f'{name} MiB'] = round(reserved / 2**20)
    found['products ms'] = round(1e3 * operations(cell) / rate, 1)
    lines.append(found | {'git_commit': command.commit()})
    print(json.dumps(lines[-1]), flush=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (pathlib.Path(_RESULTS.value) / 'blocks.jsonl').write_text(text)
  return 0


def operations(cell) -> int:
  """Of the products, forward and backward: 2 and 4, and 1 again."""
  return 7 * 2 * _pairs(cell) * cases.MODELS[cell[0]].head_dim


def _pairs(cell) -> int:
  """Queries times keys of a layer, over all heads."""
  model, prompt, responses, tokens = cell
  pairs = responses * tokens * (prompt + tokens) if responses else prompt**2
  return pairs * cases.MODELS[model].heads


def _seconds(program, arguments) -> float:
  """Of processors, for one call."""
  import jax

  started = time.process_time()
  jax.block_until_ready(program(*arguments))
  return time.process_time() - started


def _compiled(cell, at_once):
  """A layer's attention, the same with its gradient, and their arguments."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import attention, tiles

  model, p, g, t = cell
  sizes = cases.MODELS[model]
  keys = iter(jax.random.split(jax.random.key(0), 5))

  def draw(*shape):
    return jax.random.normal(next(keys), (1, *shape, sizes.head_dim))

  def mask(*shape):
    positions = jnp.arange(shape[-1]) + jnp.zeros((1, *shape), jnp.int32)
    return attention.Mask(positions >= 0, positions)

  heads, kv = sizes.heads, sizes.kv_heads
  if g:
    arguments: tuple = draw(g, t, heads), *(draw(p, kv) for _ in 'kv')
    arguments += tuple(draw(g, t, kv) for _ in 'kv')
    masks: tuple = mask(p), mask(g, t)
    attend: Callable = attention.within_group
  else:
    arguments = draw(p, heads), draw(p, kv), draw(p, kv)
    masks = (mask(p),)
    attend = attention.within_sequence

  def loss(*arguments):
    return jnp.sum(attend(*arguments, *masks) ** 2)

  with mock.patch.dict(tiles.AT_ONCE, cpu=at_once):
    forth = jax.jit(loss).lower(*arguments).compile()
    gradient = jax.jit(jax.grad(loss, range(len(arguments))))
    both = gradient.lower(*arguments).compile()
  for program in (forth, both):
    jax.block_until_ready(program(*arguments))
  return forth, both, arguments


if __name__ == '__main__':
  command.run(main)
