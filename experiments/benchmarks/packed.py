"""What `learn.packing` gains on recorded responses of different lengths.

  python -m experiments.benchmarks.packed

The compiled learner of `sft` on made-up rows: the `tiny` model, 32 rows of the
`ragged` shape in 8 microbatches, as they are, in narrow programs, and packed.
Every cell is compiled before the first is timed. Seconds are those of all
processors, which a busy machine does not stretch, and the least of the rounds.
Tokens are those of prompts and responses, and padding is the share of columns,
of all that are computed, that holds none.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import cases, ragged

_ROUNDS = flags.DEFINE_integer(
  'rounds', 2, 'Timed calls of each cell.', 1, allow_override=True
)
_RESULTS = command.results_flag()

_MODEL, _ROWS, _MICROBATCHES = cases.MODELS['tiny'], 32, 8
# Settings that a run would have.
CELLS: dict[str, dict[str, Any]] = {
  'as they are': {},
  'learn.widths=4': {'widths': 4},
  'learn.packing': {'packed': True},
}


def main() -> int:
  lines = []
  programs = {name: learner(**options) for name, options in CELLS.items()}
  for name, (learn, arguments) in programs.items():
    rollouts, seconds, share = arguments[2], [], 0.0
    for _ in range(_ROUNDS.value):
      spent, share = call(learn, arguments)
      seconds.append(round(spent, 3))
    there = rollouts.content.read(rollouts.response_mask)
    tokens = int(there.sum())
    found = {
      'rows': name,
      'seconds': min(seconds),
      'rounds': seconds,
      'tokens per second': round(tokens / min(seconds)),
      'padding': round(padding(rollouts, share, 'packed' in CELLS[name]), 3),
      'git_commit': command.commit(),
    }
    lines.append(found)
    print(json.dumps(found), flush=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (pathlib.Path(_RESULTS.value) / 'packed.jsonl').write_text(text)
  return 0


def learner(*, widths: int = 1, packed: bool = False):
  """The compiled learner, and its arguments."""
  import functools

  import jax
  import jax.numpy as jnp
  import optax

  from experiments.benchmarks import folders
  from jaxrl_llm import recipes
  from jaxrl_llm.plans import recorded
  from jaxrl_llm.policies.language import hf, parameters, score
  from jaxrl_llm.training import step
  from jaxrl_llm.training import widths as widths_lib
  from jaxrl_llm.types import Scores, Spec

  config = hf.config_of(folders.description(_MODEL))
  params = jax.jit(parameters.init, static_argnums=0)(config, jax.random.key(0))
  recipe = dataclasses.replace(
    recipes.build('sft', samples=1), plan=recorded.Recorded(1)
  )
  rollouts, _ = ragged.made_up('ragged')
  rollouts = jax.tree.map(lambda x: x[:_ROWS], rollouts)
  yes = jnp.ones(_ROWS, bool)
  rollouts = rollouts.replace(
    group=jnp.arange(_ROWS, dtype=jnp.int32),
    extras={'recorded': yes, 'demonstrated': yes},
  )
  length = rollouts.response_mask.shape[1]
  before = rollouts.content.prompt.shape[1]
  program = step.Program(
    recipe,
    functools.partial(_scored, score.score, config),
    optax.adamw(1e-6),
    _MICROBATCHES,
    widths=widths_lib.halved(length, widths) if widths > 1 else (),
    packed=packed,
  )
  state = program.init(params, Spec(_ROWS, 1, before, length))
  scores = Scores(jnp.ones((_ROWS, 1)), jnp.ones(1))
  credit, _, _ = jax.jit(program.assign)(
    state.method['credit'], rollouts, scores
  )
  arguments: tuple = (state, {}, rollouts, credit, jax.random.key(2))
  learn = program.compile().learn.lower(*arguments).compile()
  return learn, arguments


def padding(rollouts, share: float, packed: bool) -> float:
  """The part of the columns that is computed, and holds no token.

  Args:
    share: `learn/columns`. Narrow programs leave columns of responses out,
      packed ones whole rows.
  """
  there = rollouts.content.read(rollouts.response_mask)
  rows, width = there.shape
  length = rollouts.response_mask.shape[1]
  used = width * share if packed else width - length * (1 - share)
  return 1 - float(there.sum()) / (rows * used)


def _scored(score, config, params, rollouts, needs, **options):
  return score(params, config, rollouts, needs=needs, **options)


def call(learn, arguments) -> tuple[float, float]:
  """Seconds of one call, and its `learn/columns`."""
  import jax

  state, *rest = arguments
  state = jax.block_until_ready(jax.tree.map(jax.numpy.copy, state))
  started = time.process_time()
  _, metrics = jax.block_until_ready(learn(state, *rest))
  spent = time.process_time() - started
  return spent, float(metrics.get('learn/columns', 1.0))


if __name__ == '__main__':
  command.run(main)
