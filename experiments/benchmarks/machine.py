"""How fast this machine is: the bounds that rates are fractions of.

The peak is the best rate of one matmul per dtype, a second and a second of a
processor, the bandwidth that of a copy
far larger than the caches, counting what is read and what is written. Both use
every core that the process may use, through the compiler that we use.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from experiments.benchmarks import protocol

_SIZE = 2048
_COPIED = 2**26


def prepare(request):
  """Measures the dtypes of the request, and the copy, at every iteration."""
  products = {name: _product(jnp.dtype(name)) for name in request['dtypes']}
  copied = jnp.ones(_COPIED // 4, jnp.float32)
  # Negation cannot be elided, as a plain copy would be.
  copy = functools.partial(jax.jit(jnp.negative), copied)

  def iteration():
    rates = {'copy': 2 * _COPIED / _seconds(copy)[0]}
    for name, product in products.items():
      wall, cpu = _seconds(product)
      rates[name] = 2 * _SIZE**3 / wall
      rates[f'{name} cpu'] = 2 * _SIZE**3 / cpu
    return rates

  return iteration


def _product(dtype):
  x = jnp.ones((_SIZE, _SIZE), dtype)
  return functools.partial(jax.jit(jnp.matmul), x, x)


def _seconds(call) -> tuple[float, float]:
  """The least of five by both clocks: others only ever make it slower."""
  times = []
  for _ in range(5):
    started = protocol.clocks()
    call().block_until_ready()
    times.append(protocol.since(started))
  return tuple(map(min, zip(*times)))


if __name__ == '__main__':
  protocol.serve(prepare, ('jax',))
