"""What `learn.widths` gains where lengths differ, and where groups are dead.

  python -m experiments.benchmarks.ragged

The compiled learner of GRPO on made-up rows: the `tiny` model, 8 groups of 8
of the `ragged` shape, or rows of its full length of which every second group
has no weight. Every cell is compiled before the first is timed; then all are
timed in turn, so that a machine that slows down slows all. Seconds are the
least of the rounds by the clock. What was predicted is the ratio of operations
as `cases` counts them, of the columns that the learner picks for each
microbatch; its first row is what the others are compared with.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import time

from absl import flags

from experiments import command
from experiments.benchmarks import cases

_ROUNDS = flags.DEFINE_integer(
  'rounds', 2, 'Timed calls of each cell.', 1, allow_override=True
)
_RESULTS = command.results_flag()

_MODEL = cases.MODELS['tiny']
_SHAPE = dataclasses.replace(cases.SHAPES['ragged'], prompts=8)


@dataclasses.dataclass(frozen=True)
class Cell:
  """One learner: its rows, rows of a microbatch, and number of widths."""

  rows: str
  microbatch: int
  widths: int


# Rows of one prompt are read together, and so are as wide as the longest.
CELLS = (
  *(Cell('ragged', 8, widths) for widths in (1, 4)),
  *(Cell('ragged', 2, widths) for widths in (1, 2, 4)),
  *(Cell('half dead', 8, widths) for widths in (1, 4)),
)


def main() -> int:
  programs = {}
  for cell in CELLS:
    started = time.perf_counter()
    programs[cell] = learner(cell)
    print(f'{cell}: ready in {time.perf_counter() - started:.1f} s', flush=True)
  times: dict[Cell, list[float]] = {cell: [] for cell in CELLS}
  for number, cell in itertools.product(range(_ROUNDS.value), CELLS):
    times[cell].append(_call(*programs[cell][:2]))
    print(f'round {number}: {cell} {times[cell][-1]:.2f} s', flush=True)
  lines = []
  first: dict[str, tuple[float, float]] = {}
  for cell in CELLS:
    counted = operations(programs[cell][2], cell.microbatch)
    best = min(times[cell])
    base = first.setdefault(cell.rows, (best, counted))
    found = {
      'seconds': round(best, 3),
      'rounds': [round(seconds, 3) for seconds in times[cell]],
      'times faster': round(base[0] / best, 2),
      'predicted': round(base[1] / counted, 2),
      'git_commit': command.commit(),
    }
    lines.append(dataclasses.asdict(cell) | found)
    print(json.dumps(lines[-1]))
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (pathlib.Path(_RESULTS.value) / 'ragged.jsonl').write_text(text)
  return 0


def operations(columns, microbatch: int) -> float:
  """Of one pass over microbatches of so many columns each, in proportion."""
  one = cases.Shape(1, microbatch, _SHAPE.prompt, 0)
  return sum(
    cases.shared(_MODEL, dataclasses.replace(one, response=int(width)))
    for width in columns
  )


def made_up(rows: str):
  """Rollouts of the shape's lengths or all of the longest, and their weights.

  Returns:
    The rollouts, and f32[N], 0 in every second group where half is dead.
  """
  import jax.numpy as jnp
  import numpy as np

  from jaxrl_llm.types import Rollouts, Tokens

  draw = np.random.default_rng(0)
  n, most = _SHAPE.rows, _SHAPE.response
  tail = draw.choice(_SHAPE.lengths(_MODEL.vocab), n)
  lengths = tail if rows == 'ragged' else np.full(n, most)
  mask = np.arange(most) < lengths[:, None]
  group = np.arange(n) // _SHAPE.samples
  prompts = np.asarray(cases.prompts(_MODEL, _SHAPE))[group]
  response = np.where(mask, draw.integers(8, _MODEL.vocab, mask.shape), 0)
  rollouts = Rollouts(
    content=Tokens(
      prompt=jnp.asarray(prompts, jnp.int32),
      prompt_mask=jnp.ones(prompts.shape, bool),
      response=jnp.asarray(response, jnp.int32),
    ),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.asarray(mask),
    logp=jnp.zeros(mask.shape, jnp.float32),
    paid=jnp.zeros(mask.shape, jnp.float32),
    group=jnp.asarray(group, jnp.int32),
    task=jnp.asarray(group, jnp.int32),
    domain=jnp.zeros(n, jnp.int32),
    valid=jnp.ones(n, bool),
    truncated=jnp.asarray(lengths == most),
  )
  return rollouts, jnp.asarray((rows == 'ragged') | (group % 2 == 0)) * 1.0


def learner(cell: Cell):
  """The compiled learner, its arguments, and the columns of its pieces."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax

  from experiments.benchmarks import folders
  from jaxrl_llm import recipes
  from jaxrl_llm.policies.language import hf, parameters, score
  from jaxrl_llm.training import step, widths
  from jaxrl_llm.types import Scores, Spec

  config = hf.config_of(folders.description(_MODEL))
  params = jax.jit(parameters.init, static_argnums=0)(config, jax.random.key(0))
  recipe = recipes.build('grpo', samples=_SHAPE.samples, kl_weight=0.0)
  microbatches = _SHAPE.rows // cell.microbatch
  shared = step.shared_rows(recipe.plan.contract, cell.microbatch)

  def scorer(params, rollouts, needs):
    return score.score(
      params, config, rollouts, needs=needs, unroll=True, shared=shared
    )

  used = widths.halved(_SHAPE.response, cell.widths)
  program = step.Program(
    recipe,
    scorer,
    optax.adamw(1e-6),
    microbatches,
    shared=shared,
    widths=used if cell.widths > 1 else (),
  )
  rollouts, keep = made_up(cell.rows)
  spec = Spec(_SHAPE.rows, _SHAPE.samples, _SHAPE.prompt, _SHAPE.response)
  state = program.init(params, spec)
  scores = Scores(
    jax.random.normal(jax.random.key(1), (_SHAPE.rows, 1)), jnp.ones(1)
  )
  credit, _, _ = jax.jit(program.assign)(
    state.method['credit'], rollouts, scores
  )
  credit = credit.replace(keep=keep)
  arguments: tuple = (state, {}, rollouts, credit, jax.random.key(2))
  read = rollouts.response_mask & (keep > 0)[:, None]
  order = widths.order(
    read, samples=_SHAPE.samples, unit=shared, free=recipe.objective.block == 1
  )
  last = (read * (jnp.arange(_SHAPE.response) + 1)).max(axis=1)[order]
  longest = np.asarray(last).reshape(microbatches, -1).max(axis=1)
  columns = np.asarray(used)[np.searchsorted(used, longest)]
  learn = program.compile().learn.lower(*arguments).compile()
  return learn, arguments, columns


def _call(learn, arguments) -> float:
  """Seconds of one call; learning takes over the buffers of its state."""
  import jax

  state, *rest = arguments
  state = jax.block_until_ready(jax.tree.map(jax.numpy.copy, state))
  started = time.perf_counter()
  jax.block_until_ready(learn(state, *rest))
  return time.perf_counter() - started


if __name__ == '__main__':
  command.run(main)
