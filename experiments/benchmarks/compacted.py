"""What many iterations as one program gain over the loop that dispatches each.

  python -m experiments.benchmarks.compacted

A problem whose iterations are pure in JAX: PPO and GRPO on the regulator, of
`experiments/configs/control.py`, and flow matching, of `.../flow.py`. The loop
dispatches each iteration and fetches its metrics, without evaluation and
checkpoints; `training.compact` makes all of them one program, of one seed and
of several side by side. They take turns, and milliseconds of one iteration are
the least of the rounds, by the clock, with everything compiled.
"""

from __future__ import annotations

import functools
import json
import pathlib
import tempfile
import time
from collections.abc import Callable

from absl import flags

from experiments import command
from experiments.benchmarks import markdown

_ROUNDS = flags.DEFINE_integer(
  'rounds', 3, 'Timed calls of each.', 1, allow_override=True
)
_ITERATIONS = flags.DEFINE_integer(
  'iterations', 50, 'Iterations of a call.', 1, allow_override=True
)
_RESULTS = command.results_flag()

# Config and recipe.
CELLS = (('control', 'ppo'), ('control', 'grpo'), ('flow', 'grpo'))
SEEDS = 8


def main() -> int:
  lines = []
  for problem, recipe in CELLS:
    found = measured(problem, recipe, _ITERATIONS.value, _ROUNDS.value)
    found |= {'problem': problem, 'recipe': recipe}
    lines.append(found | {'git_commit': command.commit()})
    print(found, flush=True)
  path = pathlib.Path(_RESULTS.value) / 'compacted.jsonl'
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  print(table(lines))
  return 0


def measured(problem: str, recipe: str, count: int, rounds: int) -> dict:
  """Milliseconds of an iteration: in the loop, compacted, and of a seed."""
  calls = {
    name: _ready(call) for name, call in _calls(problem, recipe, count).items()
  }
  times: dict[str, list[float]] = {name: [] for name in calls}
  for _ in range(rounds):
    for name, call in calls.items():
      started = time.perf_counter()
      call()
      times[name].append(time.perf_counter() - started)
  ms = {name: 1e3 * min(seconds) / count for name, seconds in times.items()}
  ms['seeds'] /= SEEDS
  return {f'{name} ms': round(value, 3) for name, value in ms.items()}


def _ready(call: Callable[[], None]) -> Callable[[], None]:
  call()
  return call


def _calls(problem, recipe, count) -> dict[str, Callable[[], None]]:
  """`count` iterations from scratch, in three ways."""
  import jax
  import jax.numpy as jnp

  from experiments.configs import control, flow
  from jaxrl_llm import problems
  from jaxrl_llm.policies.protocol import initial
  from jaxrl_llm.training import compact, loop

  config = {'control': control, 'flow': flow}[problem].get_config(recipe)
  with tempfile.TemporaryDirectory() as workdir:
    session, params = problems.assemble(config, pathlib.Path(workdir))
  start = functools.partial(jax.tree.map, jnp.copy, params)

  def in_the_loop():
    state = loop.begin(session, start())
    for step in range(count):
      state, _, _ = loop.iterate(session, state, step)
    jax.block_until_ready(state.params)

  def compacted():
    state = session.init(start())
    jax.block_until_ready(compact.iterations(session, state, count, 0))

  table = session.policy.table()
  init, numbers = functools.partial(initial, table), jnp.arange(SEEDS)

  def side_by_side():
    jax.block_until_ready(compact.seeds(session, init, count, numbers))

  return {'loop': in_the_loop, 'one program': compacted, 'seeds': side_by_side}


def table(lines: list[dict]) -> str:
  """The lines as Markdown, ratios to the loop among them."""
  head = (
    *('problem', 'recipe', 'ms, loop', 'ms, one program', 'faster'),
    *(f'ms of each of {SEEDS} seeds', 'faster'),
  )
  rows = []
  for line in lines:
    loop, one, each = (
      line[f'{n} ms'] for n in ('loop', 'one program', 'seeds')
    )
    cells = (loop, one, loop / one, each, loop / each)
    rows.append([line['problem'], line['recipe'], *(f'{x:.2f}' for x in cells)])
  return markdown.table(head, rows)


if __name__ == '__main__':
  command.run(main)
