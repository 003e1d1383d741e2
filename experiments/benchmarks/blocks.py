"""What attention gains where the scores of a block of queries exist at a time.

  python -m experiments.benchmarks.blocks

One layer, forth and back, of the rows of one microbatch: all scores at once,
and in blocks of `attention.AT_ONCE`. The two take turns; milliseconds are the
least of the rounds, and memory is what the compiler reserves. The products are
counted at this machine's best rate of them, over both halves of the triangle
and once more for the scores that the backward pass makes again.
"""

from __future__ import annotations

import json
import pathlib
import time
from unittest import mock

from experiments import command
from experiments.benchmarks import cases

_RESULTS = command.results_flag()

# Model, prompt, responses of a group, their tokens; one sequence where none.
CELLS = (
  ('small', 512, 16, 128),
  ('tiny', 64, 8, 512),
  ('small', 1024, 0, 0),
)
_ALL = 2**62
_ROUNDS = 5


def main() -> int:
  import jax

  from experiments.benchmarks import machine

  rate = machine.prepare({'dtypes': ['float32']})()['float32']
  lines = []
  for cell in CELLS:
    compiled = {'all': _compiled(cell, _ALL), 'blocks': _compiled(cell)}
    times = {name: [] for name in compiled}
    for _ in range(_ROUNDS):
      for name, (program, arguments) in compiled.items():
        started = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times[name].append(1e3 * (time.perf_counter() - started))
    found = dict(zip(('model', 'prompt', 'responses', 'tokens'), cell))
    found['MiB of scores'] = 4 * _pairs(cell) / 2**20
    for name, (program, _) in compiled.items():
      found[f'{name} ms'] = round(min(times[name]), 1)
      reserved = program.memory_analysis().temp_size_in_bytes
      found[f'{name} MiB'] = round(reserved / 2**20)
    found['products ms'] = round(1e3 * operations(cell) / rate, 1)
    lines.append(found | {'git_commit': command.commit()})
    print(json.dumps(lines[-1]), flush=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (pathlib.Path(_RESULTS.value) / 'blocks.jsonl').write_text(text)
  return 0


def operations(cell) -> int:
  """Of the products, forth and back: 2 and 4, and 1 again."""
  return 7 * 2 * _pairs(cell) * cases.MODELS[cell[0]].head_dim


def _pairs(cell) -> int:
  """Queries times keys of a layer, over all heads."""
  model, prompt, responses, tokens = cell
  pairs = responses * tokens * (prompt + tokens) if responses else prompt**2
  return pairs * cases.MODELS[model].heads


def _compiled(cell, at_once=None):
  """The gradient of a layer's attention, and its arguments."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import attention

  model, p, g, t = cell
  sizes = cases.MODELS[model]
  keys = iter(jax.random.split(jax.random.key(0), 5))

  def draw(*shape):
    return jax.random.normal(next(keys), (1, *shape, sizes.head_dim))

  heads, kv = sizes.heads, sizes.kv_heads
  if g:
    arguments = draw(g, t, heads), *(draw(p, kv) for _ in 'kv')
    arguments += tuple(draw(g, t, kv) for _ in 'kv')
    own = jnp.broadcast_to(jnp.tri(t, dtype=bool), (1, g, t, t))
    seen = jnp.concatenate([jnp.ones((1, g, t, p), bool), own], axis=-1)
    attend = attention.within_group
  else:
    arguments = draw(p, heads), draw(p, kv), draw(p, kv)
    seen = jnp.tri(p, dtype=bool)[None]
    attend = attention.within_sequence

  def loss(*arguments):
    return jnp.sum(attend(*arguments, seen) ** 2)

  at_once = at_once or attention.AT_ONCE['cpu']
  with mock.patch.dict(attention.AT_ONCE, cpu=at_once):
    gradient = jax.jit(jax.grad(loss, range(len(arguments))))
    program = gradient.lower(*arguments).compile()
  jax.block_until_ready(program(*arguments))
  return program, arguments


if __name__ == '__main__':
  command.run(main)
