"""What splitting the tokens of rows over devices changes, on virtual ones.

  python -m experiments.benchmarks.context

Log-probs of two rows of 256 + 768 tokens and their gradient, in a decoder of 4
layers, 128 wide, layers recomputed in the backward pass: on one device and on
2 and 4 along `mesh.context`. How far loss and gradient are apart, what a device
holds beside parameters and results, and what it sends. Writes context.jsonl and
context.md.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from experiments import collectives, command
from experiments.benchmarks import markdown

CONTEXTS = (1, 2, 4)
_PROMPT, _RESPONSE = 256, 768
_HEAD = (
  *('devices', 'loss apart', 'gradient apart', 'MiB held'),
  *('all-gather', 'reduce-scatter', 'all-reduce', 'other'),
)
_RESULTS = command.results_flag()


def measure() -> Iterator[tuple]:
  """A row of the table for each number of devices."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxrl_llm.policies.language import parameters, transformer
  from jaxrl_llm.policies.language.config import Config
  from jaxrl_llm.training import shard

  config = Config(
    vocab=512,
    width=128,
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=32,
    mlp_width=512,
  )
  key = jax.random.key(0)
  params = jax.jit(parameters.init, static_argnums=0)(config, key)
  axes = {path: leaf.axes for path, leaf in parameters.table(config).items()}
  tokens = jax.random.randint(key, (2, _PROMPT + _RESPONSE), 1, config.vocab)
  mask = jnp.arange(tokens.shape[1]) >= jnp.array([[9], [0]])
  alone: tuple = ()
  for devices in CONTEXTS:
    mesh = shard.make_mesh(1, 1, jax.devices()[:devices], context=devices)
    layout = shard.Layout(mesh, axes)

    def loss(params, tokens, mask, layout=layout):
      params, (tokens, mask) = (
        layout.gathered(params),
        layout.rows((tokens, mask)),
      )
      with layout.known():
        x = transformer.hidden(params, config, tokens, mask, remat=True)
        x = transformer.over_context(x)
        logp = jax.nn.log_softmax(transformer.logits(params, config, x))
      said = jnp.take_along_axis(logp, jnp.roll(tokens, -1, 1)[..., None], 2)
      return jnp.mean(jnp.where(mask, said[..., 0], 0.0))

    run = (
      jax.jit(jax.value_and_grad(loss)).lower(params, tokens, mask).compile()
    )
    value, slopes = jax.device_get(run(params, tokens, mask))
    found = value, jax.tree.leaves(slopes)
    alone = alone or found
    apart = max(
      np.abs(a - b).max() / np.abs(b).max()
      for a, b in zip(found[1], alone[1], strict=True)
    )
    sent = dict.fromkeys(_HEAD[4:], 0)
    for each in collectives.of_program(run):
      # A turn of the loop over layers, as often as it turns.
      bytes_of = each.bytes * (config.layers if each.looped else 1)
      sent[each.kind if each.kind in sent else 'other'] += bytes_of
    memory = run.memory_analysis()
    assert memory is not None
    held = memory.temp_size_in_bytes / 2**20
    away = abs(float(value - alone[0]))
    yield devices, away, float(apart), held, *sent.values()


def main() -> int:
  import jax

  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', CONTEXTS[-1])
  lines: list[dict[str, Any]] = []
  for row in measure():
    found = dict(zip(_HEAD, row, strict=True))
    lines.append({**found, 'git_commit': command.commit()})
    print(json.dumps(lines[-1]), flush=True)
  results = pathlib.Path(_RESULTS.value)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (results / 'context.jsonl').write_text(text)
  markdown.put(results / 'context.md', [table(lines)])
  return 0


def table(lines: list[dict[str, Any]]) -> str:
  """Markdown, a row for each number of devices."""
  return markdown.table(
    _HEAD, ([_shown(line[name]) for name in _HEAD] for line in lines)
  )


def _shown(value):
  return f'{value:.3g}' if isinstance(value, float) else f'{value:,}'


if __name__ == '__main__':
  command.run(main)
