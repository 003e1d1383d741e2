"""How time and memory of an iteration grow with its sizes, and how they should.

`python -m experiments.bench --growth`: one size at a time grows, the others
stay. Time is that of the processors, so that other programs disturb it little:
the least of three calls of the compiled programs. Memory is what the compiler
reserves for intermediate results, parameters and optimiser left out. Slopes
are of logarithms, fitted over all sizes: 1 doubles with the size, 0 stays.
Those expected are of the operations that `experiments.benchmarks.cases` counts,
with a prompt read once a group, and of the numbers that `kept` counts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import time

from experiments import command
from experiments.benchmarks import cases, markdown

_MODEL = cases.Model(2, 256, 4, 2, 64, 768, 2048)
_SHAPE = cases.Shape(prompts=4, samples=8, prompt=64, response=32)
_MICROBATCH = 4
_CHUNK = 64
SIZES = {
  'responses to a prompt': (8, 16, 32),
  'prompt tokens': (64, 256, 1024),
  'response tokens': (32, 128, 512),
  'model width': (256, 512, 1024),
  'vocabulary': (2048, 16384, 131072),
}
PROGRAMS = ('sample', 'learn')


def write(results: pathlib.Path) -> None:
  """Measures every cell into growth.jsonl."""
  lines = []
  for name, values in SIZES.items():
    for value in values:
      cell = {'size': name, 'value': value, 'git_commit': command.commit()}
      lines.append(cell | measure(*of(name, value)))
      print(json.dumps(lines[-1]), flush=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (results / 'growth.jsonl').write_text(text)


def draw(results: pathlib.Path) -> pathlib.Path:
  """Puts what was measured into growth.md and growth.png."""
  text = (results / 'growth.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  path = results / 'growth.md'
  path.write_text(page(lines))
  figure(lines, path.with_suffix('.png'))
  return path


def of(name: str, value: int) -> tuple[cases.Model, cases.Shape]:
  """The model and shape of one measurement."""
  model, shape = _MODEL, _SHAPE
  if name == 'model width':
    heads = value // model.head_dim
    model = dataclasses.replace(
      model,
      width=value,
      heads=heads,
      kv_heads=heads // 2,
      mlp_width=3 * value,
    )
  elif name == 'vocabulary':
    model = dataclasses.replace(model, vocab=value)
  else:
    field = {
      'responses to a prompt': 'samples',
      'prompt tokens': 'prompt',
      'response tokens': 'response',
    }[name]
    shape = dataclasses.replace(shape, **{field: value})
  return model, shape


def kept(model: cases.Model, shape: cases.Shape) -> dict[str, int]:
  """Bytes that each program must hold beside parameters and optimiser.

  Sampling: the layers' weights, which are split before the loop, keys and
  values, the logits of one step, and while prompts are read a block of scores
  and the two halves of a layer's MLP. Learning: the gradient and its sum; of
  one microbatch of m rows with one prompt, the inputs of every product, layer
  by layer; a block of scores; its logits, of at most `_CHUNK` positions, with
  their gradient.
  """
  from jaxrl_llm.policies.language import tiles

  p, t, m = shape.prompt, shape.response, _MICROBATCH
  cache = model.cached * (shape.prompts * p + shape.rows * t)
  logits = shape.rows * model.vocab
  most = tiles.AT_ONCE['cpu']
  reading = min(shape.prompts * model.heads * p * p, most)
  reading += shape.prompts * p * (model.width + 2 * model.mlp_width)
  heads = 2 * (model.heads + model.kv_heads) * model.head_dim
  token = 4 * model.width + heads + 3 * model.mlp_width
  pairs = model.heads * (p * p + m * t * (p + t))
  layers = model.layers * (p + m * t) * token + min(pairs, most)
  learned = 2 * m * min(t, _CHUNK) * model.vocab
  return {
    'sample': 4 * (model.linear // 2 + cache + logits + reading),
    'learn': 4 * (2 * model.parameters + layers + learned),
  }


def operations(model: cases.Model, shape: cases.Shape) -> dict[str, float]:
  """Operations of each program, a prompt read once by those that share it."""
  sampling = cases.shared(model, shape)
  pieces = dataclasses.replace(
    shape, prompts=shape.rows // _MICROBATCH, samples=_MICROBATCH
  )
  return {'sample': sampling, 'learn': 3 * cases.shared(model, pieces)}


@functools.cache  # All sizes begin at the same cell.
def measure(model: cases.Model, shape: cases.Shape) -> dict[str, float]:
  """Processor seconds and reserved bytes of sampling and learning."""
  found = {}
  for name, (compiled, arguments) in _programs(model, shape).items():
    memory = compiled.memory_analysis()
    found[f'{name} bytes'] = memory.temp_size_in_bytes
    found[f'{name} seconds'] = _seconds(compiled, arguments)
  return found


def _seconds(compiled, arguments) -> float:
  """The least of three calls; learning gives back the state it was given."""
  import jax

  times = []
  for _ in range(3):
    copies = jax.block_until_ready(jax.tree.map(jax.numpy.copy, arguments))
    started = time.process_time()
    jax.block_until_ready(compiled(*copies))
    times.append(time.process_time() - started)
  return min(times)


def _programs(model, shape):
  """The compiled sampler and learner, each with arguments."""
  import jax
  import jax.numpy as jnp
  import optax

  from experiments.benchmarks import folders
  from jaxrl_llm import recipes
  from jaxrl_llm.policies.language import hf, parameters, score
  from jaxrl_llm.policies.language.sampler import Sampler
  from jaxrl_llm.policies.language.truncation import Sampling
  from jaxrl_llm.training import step
  from jaxrl_llm.types import Prompts, Scores, Spec

  config = hf.config_of(folders.description(model))
  params = jax.jit(parameters.init, static_argnums=0)(config, jax.random.key(0))
  recipe = recipes.build('grpo', samples=shape.samples, kl_weight=0.0)

  def scorer(params, rollouts, needs):
    return score.score(
      params,
      config,
      rollouts,
      needs=needs,
      chunk=_CHUNK,
      unroll=True,
      shared=_MICROBATCH,
    )

  program = step.Program(
    recipe, scorer, optax.adamw(1e-6), shape.rows // _MICROBATCH
  )
  spec = Spec(shape.rows, shape.samples, shape.prompt, shape.response)
  state = program.init(params, spec)
  tokens = jnp.array(cases.prompts(model, shape))
  row = jnp.arange(shape.prompts)
  prompts = Prompts(tokens, jnp.ones(tokens.shape, bool), row, 0 * row)
  sampler = Sampler(config, shape.response)

  @jax.jit
  def sample(params, prompts, key):
    uids = jnp.arange(shape.rows)
    return sampler(
      params, prompts, uids, key, Sampling(), samples=shape.samples
    )

  key = jax.random.key(0)
  sampling = (params, prompts, key)
  sampled = sample.lower(*sampling).compile()
  rollouts = sampled(*sampling)
  scores = Scores(jax.random.normal(key, (shape.rows, 1)), jnp.ones(1))
  compiled = program.compile()
  credit, _, _ = compiled.assign(state.method['credit'], rollouts, scores)
  learning: tuple = (state, {}, rollouts, credit, key)
  learn = compiled.learn.lower(*learning).compile()
  return {'sample': (sampled, sampling), 'learn': (learn, learning)}


def slope(sizes, amounts) -> float:
  """Least squares of log(amount) over log(size)."""
  x, y = ([math.log(each) for each in values] for values in (sizes, amounts))
  mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
  above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y))
  return above / sum((a - mean_x) ** 2 for a in x)


def curves(lines: list[dict]) -> dict[tuple[str, str], tuple]:
  """(size, quantity) -> the sizes, what was measured, what was expected."""
  found = {}
  for size in SIZES:
    own = [line for line in lines if line['size'] == size]
    values = [line['value'] for line in own]
    cells = [of(size, value) for value in values]
    for program in PROGRAMS:
      for unit, count in (('seconds', operations), ('bytes', kept)):
        name = f'{program} {unit}'
        expected = [count(*cell)[program] for cell in cells]
        measured = [line[name] for line in own]
        found[size, name] = values, measured, expected
  return found


def page(lines: list[dict]) -> str:
  """The slopes as a table."""
  names = [f'{p} {unit}' for unit in ('seconds', 'bytes') for p in PROGRAMS]
  head = ['size', 'from', 'to', *names]
  rows = []
  found = curves(lines)
  for size, values in SIZES.items():
    cells = [
      f'{slope(x, measured):.2f} ({slope(x, expected):.2f})'
      for x, measured, expected in (found[size, name] for name in names)
    ]
    rows.append([size, str(values[0]), str(values[-1]), *cells])
  table = markdown.table(head, rows)
  commit = lines[0]['git_commit'][:12]
  return _PAGE.format(model=_MODEL, shape=_SHAPE, table=table, commit=commit)


_PAGE = """# How time and memory grow

`python -m experiments.bench --growth` measured this at `{commit}`, as the
docstring of `experiments/benchmarks/growth.py` says. Slopes of logarithms: 1
doubles where the size doubles. In brackets, what the counts of operations and
of numbers kept make one expect.

{table}

All but one size are those of
`{model}` and
`{shape}`.

- More responses cost the learner time in proportion and no memory, because the
  rows of a microbatch stay.
- Longer prompts take longer than their operations: the softmax of scores is
  not counted. Attention in blocks of queries keeps the scores out of memory;
  with whole matrices of them, at `94815f0b55e6`, the slopes over prompt tokens
  were 0.76, 0.98, 1.04 and 0.62.
- The learner's memory grows with the vocabulary under `model.chunk`, which this
  is; under `model.block` it does not
  (`tests/policies/language/blocks_test.py`).
- Small sizes lie above the line: a step of the decode loop costs some time
  whatever it multiplies.

![growth](growth.png)
"""


def figure(lines: list[dict], path: pathlib.Path) -> None:
  """Every curve with the one expected, through its last point."""
  from matplotlib.figure import Figure

  canvas = Figure(figsize=(15, 6), dpi=100, layout='constrained')
  panels = canvas.subplots(2, len(SIZES), sharex='col', sharey='row')
  colors = dict(zip(PROGRAMS, ('tab:blue', 'tab:orange')))
  for (size, name), (x, measured, expected) in curves(lines).items():
    program, unit = name.split()
    row = ('seconds', 'bytes').index(unit)
    panel = panels[row, list(SIZES).index(size)]
    scale = measured[-1] / expected[-1]
    color = colors[program]
    panel.plot(x, measured, 'o-', color=color, markersize=4, label=program)
    panel.plot(
      x,
      [scale * each for each in expected],
      '--',
      color=color,
      linewidth=1,
      label=f'{program}, expected',
    )
    panel.set_xscale('log', base=2)
    panel.set_yscale('log')
    panel.grid(True, color='0.9', linewidth=0.8)
    if row:
      panel.set_xlabel(size)
  panels[0, 0].set_ylabel('processor seconds')
  panels[1, 0].set_ylabel('bytes reserved')
  panels[0, 0].legend(frameon=False)
  canvas.savefig(path)
