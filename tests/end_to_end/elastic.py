"""Writes or reads a checkpoint on all the devices of all the processes there.

  launch/local_cluster.sh N tests.end_to_end.elastic FOLDER STEP

Reads the newest checkpoint in FOLDER, if there is one, and prints whether it
is as written; then writes STEP.
"""

import pathlib
import sys

import jax
import numpy as np
import optax

from jaxrl_llm.training import checkpoint, hosts, shard

PARAMS = {'head': {'kernel': np.arange(64.0, dtype=np.float32).reshape(8, 8)}}
AXES = {('head', 'kernel'): ('embed', 'vocab')}


def main(folder: str, step: str) -> None:
  hosts.initialize()
  layout = shard.layout(shard.make_mesh(), AXES, PARAMS)
  params = layout.kept(PARAMS)
  state = layout.kept(
    {
      'params': params,
      'opt': optax.adam(1.0).init(params),
      'method': {'key': jax.random.key(7), 'cursor': np.int32(5)},
    }
  )
  checkpointer = checkpoint.Checkpointer(pathlib.Path(folder))
  restored = checkpointer.restore(state)
  if restored:
    same = jax.jit(
      lambda *trees: optax.tree.sum(
        jax.tree.map(lambda x, y: (x != y).sum(), *map(numbers, trees))
      )
    )
    assert same(state, restored.state) == 0
    places = [x.sharding for x in jax.tree.leaves(restored.state)]
    assert places == [x.sharding for x in jax.tree.leaves(state)]
    hosts.say(
      f'restored step {restored.step} with {restored.metadata} on '
      f'{jax.device_count()} devices of {jax.process_count()} processes'
    )
  metadata = {'written by': jax.process_count()}
  checkpointer.save(int(step), state, metadata)
  checkpointer.close()


def numbers(tree):
  """The tree with keys as the numbers they are made of."""
  return tree | {'method': jax.tree.map(_number, tree['method'])}


def _number(x):
  is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
  return jax.random.key_data(x) if is_key else x


if __name__ == '__main__':
  main(*sys.argv[1:])
