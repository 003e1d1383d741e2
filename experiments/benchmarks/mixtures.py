"""What mixtures of experts cost on this machine, and how far they are apart.

  python -m experiments.benchmarks.mixtures
  python -m experiments.benchmarks.mixtures --part=gap

gap      log-probs of sampled tokens in bfloat16, sampler beside scorer, of a
         random mixture of 20 layers: tokens that choose their experts twice,
         and those that keep the sampler's (`model.replay_routes`)
ragged   one layer, forth and back: a loop over blocks of rows, which is what a
         CPU and GPUs are given, beside `jax.lax.ragged_dot`, which TPUs are

Writes mixtures.jsonl and mixtures.md.
"""

from __future__ import annotations

import functools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from absl import flags

from experiments import command
from experiments.benchmarks import markdown

PARTS = ('gap', 'ragged')
_PART = flags.DEFINE_multi_enum(
  'part', PARTS, PARTS, 'Which.', allow_override=True
)
_RESULTS = command.results_flag()
# Experts, and those of a token; the second is as sparse as Qwen3-30B-A3B.
MODELS = ((8, 2), (32, 2))
# Layers of experts: experts, of a token, width of the stream, of an expert.
LAYERS = ((8, 2, 128, 256), (32, 4, 128, 128))
_TOKENS = 1024
_HEAD = {
  'gap': ('experts', 'of a token', 'experts of', 'mean', 'largest'),
  'ragged': (
    'experts',
    'of a token',
    'pass',
    'ms, loop',
    'ms, ragged',
    'times',
  ),
}


def gap(layers: int = 20, rows: int = 16, tokens: int = 64) -> Iterator[tuple]:
  """Differences of log-probs in nats, with experts of both or the sampler's."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import parameters, score
  from jaxrl_llm.policies.language.config import Config
  from jaxrl_llm.policies.language.sampler import Sampler
  from jaxrl_llm.policies.language.truncation import Sampling
  from jaxrl_llm.types import Prompts

  for count, each in MODELS:
    config = Config(
      vocab=512,
      width=128,
      layers=layers,
      heads=4,
      kv_heads=2,
      head_dim=32,
      mlp_width=64,
      experts=count,
      experts_per_token=each,
      experts_norm=True,
      replay=True,
    )
    params = jax.jit(parameters.init, static_argnums=0)(
      config, jax.random.key(0)
    )
    prompt = jax.random.randint(jax.random.key(1), (rows // 2, 32), 1, 512)
    row = jnp.arange(rows // 2)
    prompts = Prompts(prompt, jnp.ones(prompt.shape, bool), row, 0 * row)
    sampler = Sampler(config, tokens, dtype=jnp.bfloat16, unroll=True)
    rollouts = sampler(
      params,
      prompts,
      jnp.arange(rows),
      jax.random.key(2),
      Sampling(),
      samples=2,
    )
    kept = rollouts.extras['routes']

    @jax.jit
    def scored(params, rollouts, routes, config=config):
      rows = rollouts.with_extras(routes=routes)
      logp = score.score(
        params, config, rows, dtype=jnp.bfloat16, shared=2
      ).logp
      return jnp.abs(logp - rollouts.logp)

    for name, routes in (('both', jnp.full_like(kept, -1)), ('sampler', kept)):
      apart = scored(params, rollouts, routes)
      yield count, each, name, float(apart.mean()), float(apart.max())


def ragged() -> Iterator[tuple]:
  """Milliseconds of a layer, the least of three calls after one."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxrl_llm.policies.language import experts
  from jaxrl_llm.policies.language.config import Config

  def gated(gate, up):
    return jax.nn.silu(gate) * up

  def forth(params, x, config):
    return experts.mixture(params, config, x, gated)

  def back(params, x, config):
    return jax.grad(lambda p: jnp.sum(forth(p, x, config) ** 2))(params)

  for count, each, width, wide in LAYERS:
    config = Config(
      vocab=8,
      width=width,
      layers=1,
      heads=1,
      kv_heads=1,
      head_dim=2,
      mlp_width=wide,
      experts=count,
      experts_per_token=each,
    )
    rng = np.random.default_rng(0)

    def normal(*shape, rng=rng):
      scale = shape[-2] ** -0.5
      return jnp.asarray(rng.normal(0, scale, shape), jnp.float32)

    params = {
      'router': {'kernel': normal(width, count)},
      'experts': {
        'gate': normal(count, width, wide),
        'up': normal(count, width, wide),
        'down': normal(count, wide, width),
      },
    }
    x = normal(1, _TOKENS, width)
    for call in (forth, back):
      loop = _best(call, params, x, config)
      with mock.patch.object(
        jax.lax, 'platform_dependent', lambda *x, tpu, default: tpu(*x)
      ):
        once = _best(call, params, x, config)
      yield count, each, call.__name__, 1e3 * loop, 1e3 * once, once / loop


def _best(call, params, x, config) -> float:
  import jax

  run = jax.jit(functools.partial(call, config=config))
  times = []
  for _ in range(4):
    started = time.perf_counter()
    jax.block_until_ready(run(params, x))
    times.append(time.perf_counter() - started)
  return min(times[1:])


_MEASURES = {'gap': gap, 'ragged': ragged}


def main() -> int:
  lines: list[dict[str, Any]] = []
  for part in _PART.value:
    for row in _MEASURES[part]():
      named = dict(zip(_HEAD[part], row, strict=True))
      lines.append({'part': part, **named, 'git_commit': command.commit()})
      print(json.dumps(lines[-1]), flush=True)
  if {*_PART.value} == {*PARTS}:
    results = pathlib.Path(_RESULTS.value)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (results / 'mixtures.jsonl').write_text(text)
    markdown.put(results / 'mixtures.md', [table(lines, x) for x in PARTS])
  return 0


def table(lines: list[dict[str, Any]], part: str) -> str:
  """Markdown, a row for each line of a part."""
  return markdown.table(
    _HEAD[part],
    (
      [_shown(line[name]) for name in _HEAD[part]]
      for line in lines
      if line['part'] == part
    ),
  )


def _shown(value):
  return f'{value:.3g}' if isinstance(value, float) else value


if __name__ == '__main__':
  command.run(main)
