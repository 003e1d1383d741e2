"""What one accelerator does with this code, in less than eight minutes.

  python -m experiments.benchmarks.device
      all parts, at sizes for an accelerator, into device.jsonl and device.md
  python -m experiments.benchmarks.device --part=gap --size=toy
      one part, at sizes for a processor, printed alone

bounds   the best rate of one matmul and of a copy, as `machine` measures them
decode   tokens a second of the sampler, beside the time in which the weights
         and caches that it reads would be copied
learn    operations of an optimizer step a second, as `cases` counts them, over
         the rate of the matmul: the model's own utilisation (MFU)
memory   the most that the device has held
gap      log-probs of sampled tokens, sampler beside scorer, 30 layers deep:
         |bfloat16 sampler - bfloat16 scorer|, of which two programs are to
         blame as far as |float32 sampler - float32 scorer| goes, and the
         model's own rounding as far as |bfloat16 scorer - float32 scorer|
train    the default run, by its own command
resume   a run stopped after half of its steps beside one that was not, both
         with deterministic kernels: bit for bit, or which metrics differ

At the sizes of toys nothing is written, and others need an accelerator.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import cases, chips, markdown, protocol

PARTS = ('bounds', 'decode', 'learn', 'memory', 'gap', 'train', 'resume')
_PART = flags.DEFINE_multi_enum(
  'part', PARTS, PARTS, 'What to measure.', allow_override=True
)
_SIZE = flags.DEFINE_enum('size', 'full', ('full', 'toy'), 'Of the work.')
_RESULTS = command.results_flag()
# Kernels that sum in one order, where they have a choice.
_DETERMINISTIC = '--xla_gpu_deterministic_ops=true'


@dataclasses.dataclass(frozen=True)
class Size:
  """How much work the parts are.

  Attributes:
    model, shape: of decode and learn. microbatch: rows.
    deep: of the gap. dtype: of the arithmetic of decode and learn.
    train, resume: settings of the runs.
  """

  model: cases.Model
  shape: cases.Shape
  microbatch: int
  deep: cases.Model
  dtype: str = 'bfloat16'
  train: tuple[str, ...] = ()
  resume: tuple[str, ...] = (
    'warm_start.steps=0',
    'optimizer.warmup=0',
    'steps=4',
  )


SIZES = {
  # Qwen2.5-1.5B, but for its biases, and as deep as SmolLM2-135M.
  'full': Size(
    cases.Model(28, 1536, 12, 2, 128, 8960, 151936),
    cases.Shape(prompts=16, samples=8, prompt=512, response=512),
    8,
    cases.Model(30, 576, 9, 3, 64, 1536, 49152),
  ),
  'toy': Size(
    cases.Model(2, 64, 4, 2, 16, 128, 256),
    cases.Shape(prompts=2, samples=2, prompt=16, response=16),
    2,
    cases.Model(30, 128, 4, 2, 32, 384, 2048),
    dtype='float32',
    train=('steps=2', 'optimizer.warmup=0', 'warm_start.steps=2'),
  ),
}
_GAP = cases.Shape(prompts=8, samples=2, prompt=32, response=64)


def measure(parts, size: Size) -> dict[str, dict[str, Any]]:
  """What each part found, by its name, in the order of `PARTS`."""
  import jax

  device = jax.devices()[0]
  found: dict[str, dict[str, Any]] = {
    'device': {'kind': device.device_kind, 'platform': device.platform}
  }
  asked = {*parts} | ({'bounds'} if {*parts} & _RATED else set())
  for part in PARTS:
    if part not in asked:
      continue
    started = time.perf_counter()
    found[part] = _MEASURES[part](size, found)
    found[part]['took'] = round(time.perf_counter() - started, 1)
    print(json.dumps({part: found[part]}), file=sys.stderr, flush=True)
  return found


_RATED = {'decode', 'learn'}


def bounds(size: Size, found) -> dict[str, float]:
  """Rates of a matmul in the dtype of the work, and of a copy."""
  from experiments.benchmarks import machine

  del found
  rates = machine.prepare({'dtypes': [size.dtype]})()
  return {'operations': rates[size.dtype], 'bytes': rates['copy']}


def decode(size: Size, found) -> dict[str, float]:
  """Tokens a second, and the least time that reading alone takes."""
  import jax

  sampler, sampling = _sampling(size.model, size.shape, size.dtype)
  seconds = _best(functools.partial(sampler, *sampling))
  wide = jax.numpy.dtype(size.dtype).itemsize
  t, rows = size.shape.response, size.shape.rows
  cached = wide * size.model.cached
  read = float(t * wide * size.model.parameters)
  # Own tokens, and of those who share a prompt its tokens once.
  read += cached * rows * t * (t - 1) / 2
  read += cached * size.shape.prompts * size.shape.prompt * t
  floor = read / found['bounds']['bytes']
  tokens = rows * t
  return {
    'seconds': seconds,
    'tokens': tokens / seconds,
    'floor': floor,
    'share': floor / seconds,
  }


def learn(size: Size, found) -> dict[str, Any]:
  """Seconds of an optimizer step, and the share of the matmul's rate."""
  import jax

  program, arguments = _learning(size)
  state, *rest = arguments
  learn = program.compile().learn
  times = []
  for _ in range(4):
    started = time.perf_counter()
    state, metrics = jax.block_until_ready(learn(state, *rest))
    times.append(time.perf_counter() - started)
  seconds = min(times[1:])
  pieces = dataclasses.replace(
    size.shape,
    prompts=size.shape.rows // size.microbatch,
    samples=size.microbatch,
  )
  operations = 3 * cases.shared(size.model, pieces)
  shares = {'mfu': operations / seconds / found['bounds']['operations']}
  sheet = chips.CHIPS.get(_sheet(found['device']['kind']))
  if sheet:
    shares['mfu of the sheet'] = operations / seconds / sheet.operations
  return {
    'seconds': seconds,
    'bad_steps': float(metrics['bad_steps']),
    'attention': _config(size.model, size.dtype).kernel,
    **shares,
  }


def memory(size: Size, found) -> dict[str, float]:
  """Peak bytes of the device, of the process where it keeps no count."""
  import jax

  del size, found
  stats = jax.devices()[0].memory_stats() or {}
  peak = stats.get('peak_bytes_in_use')
  return {'bytes': peak or protocol.peak_bytes()}


def gap(size: Size, found) -> dict[str, float]:
  """How log-probs of tokens differ, in nats: means and largest."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import score

  del found
  said = {}
  sampler, sampling = _sampling(size.deep, _GAP, 'bfloat16')
  rollouts = sampler(*sampling)
  said['sampler', 'bfloat16'] = rollouts.logp
  exact, sampling32 = _sampling(size.deep, _GAP, 'float32')
  own = exact(*sampling32)
  config, params = sampler.func.config, sampling[0]

  @functools.partial(jax.jit, static_argnames='dtype')
  def scored(params, rollouts, dtype):
    return score.score(params, config, rollouts, dtype=jnp.dtype(dtype)).logp

  for dtype in ('bfloat16', 'float32'):
    said['scorer', dtype] = scored(params, rollouts, dtype)
  differences = {
    'sampler and scorer in bfloat16': (
      said['sampler', 'bfloat16'] - said['scorer', 'bfloat16']
    ),
    'sampler and scorer in float32': own.logp - scored(params, own, 'float32'),
    'bfloat16 and float32 of the scorer': (
      said['scorer', 'bfloat16'] - said['scorer', 'float32']
    ),
    'bfloat16 and float32 of the sampler, scored in float32': (
      said['sampler', 'bfloat16'] - said['scorer', 'float32']
    ),
  }
  found = {}
  for name, difference in differences.items():
    size_of = jnp.abs(difference)
    found[f'{name}, mean'] = float(size_of.mean())
    found[f'{name}, largest'] = float(size_of.max())
  return found


def train(size: Size, found) -> dict[str, Any]:
  """The default run: seconds, and held-out accuracy before and after."""
  del found
  with tempfile.TemporaryDirectory() as folder:
    started = time.perf_counter()
    lines = _run(folder, size.train)
    seconds = time.perf_counter() - started
  accuracy = [x['eval/accuracy'] for x in lines if 'eval/accuracy' in x]
  return {'seconds': seconds, 'before': accuracy[0], 'after': accuracy[-1]}


def resume(size: Size, found) -> dict[str, Any]:
  """Metrics that differ between a run and the same in two parts."""
  on_gpu = found['device']['platform'] == 'gpu'
  environment = {'XLA_FLAGS': _DETERMINISTIC} if on_gpu else {}
  settings = (*size.resume, 'eval.every=0', 'checkpoint.every=2')
  with tempfile.TemporaryDirectory() as folder:
    whole = _run(f'{folder}/whole', settings, environment)
    _run(f'{folder}/parts', (*settings, 'steps=2'), environment)
    parts = _run(f'{folder}/parts', settings, environment)
  differ = sorted(
    {
      name
      for one, other in zip(whole, parts, strict=True)
      for name in one.keys() | other.keys()
      if not name.startswith('time/') and one.get(name) != other.get(name)
    }
  )
  return {'iterations': len(whole), 'differ': differ}


_MEASURES = {
  'bounds': bounds,
  'decode': decode,
  'learn': learn,
  'memory': memory,
  'gap': gap,
  'train': train,
  'resume': resume,
}


def _config(model, dtype):
  """The decoder of a model, with the attention that a run of it would have."""
  from experiments.benchmarks import folders
  from jaxrl_llm.policies.language import fused, hf

  config = hf.config_of(folders.description(model))
  kernel = fused.resolve('auto', config, dtype, {})
  return dataclasses.replace(config, kernel=kernel)


def _sampling(model, shape, dtype):
  """A sampler of a random model, to be called with its arguments."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import parameters
  from jaxrl_llm.policies.language.sampler import Sampler
  from jaxrl_llm.policies.language.truncation import Sampling
  from jaxrl_llm.types import Prompts

  config = _config(model, dtype)
  params = jax.jit(parameters.init, static_argnums=0)(config, jax.random.key(0))
  tokens = jnp.array(cases.prompts(model, shape))
  row = jnp.arange(shape.prompts)
  prompts = Prompts(tokens, jnp.ones(tokens.shape, bool), row, 0 * row)
  sampler = Sampler(config, shape.response, dtype=jnp.dtype(dtype))
  sample = functools.partial(sampler, samples=shape.samples)
  uids = jnp.arange(shape.rows)
  return sample, (params, prompts, uids, jax.random.key(0), Sampling())


def _learning(size):
  """A program of GRPO, and the arguments of its learner."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm import optimizers, recipes
  from jaxrl_llm.policies.language import score
  from jaxrl_llm.training import step
  from jaxrl_llm.types import Scores, Spec

  shape, rows = size.shape, size.microbatch
  sampler, sampling = _sampling(size.model, shape, size.dtype)
  rollouts = sampler(*sampling)
  config, params = sampler.func.config, sampling[0]

  def scorer(params, rollouts, needs):
    return score.score(
      params,
      config,
      rollouts,
      needs=needs,
      dtype=jnp.dtype(size.dtype),
      remat=True,
      shared=min(rows, shape.samples),
    )

  recipe = recipes.build('grpo', samples=shape.samples, kl_weight=0.0)
  tx = optimizers.chain(learning_rate=1e-6)
  program = step.Program(recipe, scorer, tx, shape.rows // rows)
  spec = Spec(shape.rows, shape.samples, shape.prompt, shape.response)
  state = program.init(params, spec)
  key = jax.random.key(1)
  scores = Scores(jax.random.normal(key, (shape.rows, 1)), jnp.ones(1))
  held = state.method['credit']
  credit, _, _ = program.compile().assign(held, rollouts, scores)
  return program, (state, {}, rollouts, credit, key)


def _best(call) -> float:
  """The least of three calls after one that compiles."""
  import jax

  times = []
  for _ in range(4):
    started = time.perf_counter()
    jax.block_until_ready(call())
    times.append(time.perf_counter() - started)
  return min(times[1:])


def _sheet(kind: str) -> str:
  """The name of a kind of device among `chips.CHIPS`; '' for none."""
  return next((name for name in chips.CHIPS if name in kind), '')


def _run(workdir, settings, environment=None) -> list[dict[str, Any]]:
  """The metrics of a run by its own command, line by line."""
  words = [f'--config.{setting}' for setting in settings]
  subprocess.run(
    [sys.executable, '-m', 'experiments.train', f'--workdir={workdir}', *words],
    check=True,
    env=os.environ | (environment or {}),
    stdout=subprocess.DEVNULL,
  )
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def page(found: dict[str, dict[str, Any]]) -> str:
  """What was measured, a row for each number."""
  head = ('part', 'what', 'measured')
  rows = [
    (part, name, f'{value:.4g}' if isinstance(value, float) else value)
    for part, numbers in found.items()
    for name, value in numbers.items()
  ]
  kind = found['device']['kind']
  return f'# One {kind}\n{_PAGE}\n{markdown.table(head, rows)}\n'


_PAGE = """
`python -m experiments.benchmarks.device` measured this; its docstring says what
each part is. Rates are a second's, `share` and `mfu` fractions of what `bounds`
found, log-probs in nats, sizes in bytes.
"""


def check(size: str) -> None:
  """Refuses the sizes of an accelerator where there is none."""
  import jax

  if size == 'full' and jax.default_backend() == 'cpu':
    raise command.Refused(
      'there is no accelerator here, and these sizes take hours without; '
      'use --size=toy'
    )


def main() -> int:
  check(_SIZE.value)
  found = measure(_PART.value, SIZES[_SIZE.value])
  print(page(found))
  if _SIZE.value == 'full' and {*PARTS} <= {*found}:
    results = pathlib.Path(_RESULTS.value)
    line = json.dumps(found | {'git_commit': command.commit()})
    (results / 'device.jsonl').write_text(line + '\n')
    (results / 'device.md').write_text(page(found))
  return 0


if __name__ == '__main__':
  command.run(main)
