"""Steps of the default experiment with a slow verifier, in turn and pipelined.

  python -m experiments.benchmarks.overlap

The verifier takes `cases.WAITED` seconds a response and computes nothing, as
one that asks a server. Iterations of both runs take turns. Medians in seconds,
the first three left out, which compile.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import tempfile

from absl import flags

from experiments import command
from experiments.benchmarks import cases

_STEPS = flags.DEFINE_integer(
  'steps', 15, 'Iterations of each run.', 4, allow_override=True
)
_RESULTS = command.results_flag()

_TIMES = ('sample', 'verify', 'learn', 'step')
_COMPILING = 3


def main() -> int:
  with contextlib.ExitStack() as stack:
    runs = {pipeline: _run(stack, pipeline) for pipeline in (0, 1)}
    times: dict[int, list[dict]] = {pipeline: [] for pipeline in runs}
    for step in range(_STEPS.value):
      for pipeline, iteration in runs.items():
        times[pipeline].append(iteration(step))
      print(f'{step + 1} of {_STEPS.value}', flush=True)
  lines = [
    {
      'pipeline': pipeline,
      'waited': cases.WAITED,
      'git_commit': command.commit(),
    }
    | {
      name: round(statistics.median(t[name] for t in found[_COMPILING:]), 3)
      for name in _TIMES
    }
    for pipeline, found in times.items()
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (pathlib.Path(_RESULTS.value) / 'overlap.jsonl').write_text(text)
  print(text, end='')
  return 0


def _run(stack: contextlib.ExitStack, pipeline: int):
  """A function of the step that runs one iteration and returns its times."""
  from experiments.configs import default
  from jaxrl_llm.problems.text import assembly
  from jaxrl_llm.training import loop

  config = default.get_config()
  config.update_from_flattened_dict(
    {
      'pipeline': pipeline,
      # Of the time of a step nothing depends on what the model knows.
      'warm_start.steps': 0,
      'verify.names': ('experiments.benchmarks.cases:patient',),
    }
  )
  folder = stack.enter_context(tempfile.TemporaryDirectory())
  parts, params = assembly.assemble(config, pathlib.Path(folder))
  stack.enter_context(contextlib.closing(parts))
  state = loop.begin(parts, params)

  def iteration(step):
    nonlocal state
    state, metrics, _ = loop.iterate(parts, state, step)
    return {name: metrics[f'time/{name}'] for name in _TIMES}

  return iteration


if __name__ == '__main__':
  command.run(main)
