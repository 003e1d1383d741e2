"""Evaluates a run, or any Hugging Face folder, on held-out questions.

  python -m experiments.eval --workdir=runs/default-grpo-0
      the newest checkpoint of a run, on the questions it held out
  python -m experiments.eval --config.model.path=FOLDER \\
      --config.data.path=FILE.jsonl --config.data.held_out=500
      a model folder, with settings as in experiments.train
  python -m experiments.eval --workdir=RUN --questions=test.jsonl \\
      --questions=gsm8k=openai/gsm8k:subset=main:split=test:prompt=question
      all questions of these, and no others
  python -m experiments.eval --workdir=RUN --waits=2
      where each answer takes back the end of its thought twice, says "Wait"
      in its place, and goes on: test-time scaling, as of s1 and J1

Prints a table, and writes the same numbers as JSON: greedy accuracy with its
95 % interval; of `samples` answers at the temperature of evaluation, unbiased
pass@k and maj@k with theirs. All answers are written beside it, as JSONL.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from absl import flags

from experiments import command, settings

_CONFIG = command.config_flag(command.here('configs', 'default.py'))
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Run folder to evaluate.', allow_override=True
)
_SAMPLES = flags.DEFINE_integer(
  'samples',
  16,
  'Answers per question for pass@k and maj@k; 0: greedy only.',
  allow_override=True,
)
_QUESTIONS = flags.DEFINE_multi_string(
  'questions',
  [],
  'What to evaluate on, in place of held-out questions and of eval.sets: '
  'NAME=PATH, or PATH as of data.path; may be repeated.',
)
_WAITS = flags.DEFINE_integer(
  'waits', 0, 'Times that the end of a thought is taken back; 0: never.'
)
_WAIT = flags.DEFINE_string('wait', 'Wait', 'What is said in its place.')
_END = flags.DEFINE_string('thought_end', '</think>', 'What ends a thought.')
_OUTPUT = flags.DEFINE_string(
  'output',
  '',
  'JSON file (default: WORKDIR/eval.json, else eval.json).',
  allow_override=True,
)


def main() -> int:
  if _SAMPLES.value < 0:
    raise command.Refused(f'--samples={_SAMPLES.value} must be 0 or more')
  waiting = _waiting()
  given = command.overridden()
  if _WORKDIR.value and given:
    raise command.Refused(
      f'--workdir brings its own settings; {", ".join(given)} would do '
      'nothing. Leave out one of the two'
    )
  if not _WORKDIR.value and not _CONFIG.value.model.path:
    raise command.Refused(
      'nothing to evaluate: give --workdir=RUN or --config.model.path=FOLDER'
    )
  metrics, source, answers = _evaluate(waiting)
  from jaxrl_llm.training import writers

  print(table(metrics))
  default = pathlib.Path(_WORKDIR.value or '.') / 'eval.json'
  output = pathlib.Path(_OUTPUT.value or default)
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_text(json.dumps(source | metrics, indent=2) + '\n')
  if answers:
    writers.write_lines(output.with_suffix('.jsonl'), answers)
  print(f'written to {output}, and all answers to a .jsonl beside it')
  return 0


def _evaluate(waiting):
  from experiments import runs
  from jaxrl_llm.problems.text import assembly
  from jaxrl_llm.training import keys

  if _WORKDIR.value:
    workdir = command.folder('workdir', _WORKDIR.value)
    parts, state = runs.restore(workdir)
    params, step = state.params, int(state.step)
    source = {'workdir': str(workdir), 'step': step}
  else:
    config = _CONFIG.value
    settings.check_overrides(config, evaluation=True)
    settings.check_values(config)
    config.warm_start.steps = 0
    parts, params = assembly.assemble(config, pathlib.Path('.'))
    step, source = 0, {'model': config.model.path}
  try:
    key = keys.key_for(parts.config.seed, step, keys.Purpose.EVAL)
    more, answers = {}, list[dict[str, Any]]()
    if _QUESTIONS.value and parts.config.problem != 'text':
      raise command.Refused(
        f'--questions would do nothing: the run is about {parts.config.problem}'
        ', where nobody asks any'
      )
    if _QUESTIONS.value:
      more = {'sets': parts.encoded(_QUESTIONS.value)}
    if waiting.times:
      _check_waits(parts)
      more['waiting'] = waiting
    metrics = parts.measure(
      params, key, samples=_SAMPLES.value, record=answers.extend, **more
    )
  finally:
    parts.close()
  if waiting.times:
    _check_taken(answers)
  found = {(row['set'], row['question']) for row in answers}
  asked = len(found) or parts.asked
  counts = {'questions': asked, 'samples': _SAMPLES.value}
  return metrics, source | counts, answers


def _waiting():
  """How often the end of a thought is taken back, and what is said there."""
  from jaxrl_llm.plans import longer

  if not _WAITS.value:
    for flag in (_WAIT, _END):
      if flag.present:
        raise command.Refused(
          f'--{flag.name}={flag.value} would do nothing: --waits is 0; use '
          '--waits=1 or more, or leave it out'
        )
  try:
    return longer.Waiting(_WAITS.value, _WAIT.value, _END.value)
  except ValueError as error:
    raise command.Refused(f'--waits, --wait, --thought_end: {error}') from error


def _check_waits(parts) -> None:
  """Refuses runs whose answers are no single texts."""
  alone = parts.config.problem == 'text' and not (
    parts.examining.turns or parts.examining.program
  )
  if not alone:
    raise command.Refused(
      f'--waits={_WAITS.value} takes back the ends of single answers in text, '
      'which this run does not give; leave it out'
    )


def _check_taken(answers) -> None:
  """Refuses waits that no answer had an end of a thought for."""
  marks = _WAIT.value, _END.value
  if not any(mark in row['response'] for row in answers for mark in marks):
    raise command.Refused(
      f'--waits={_WAITS.value} took nothing back: no answer holds '
      f'{_END.value!r}; say with --thought_end what ends a thought of this '
      'model, or leave --waits out'
    )


def table(metrics: dict[str, float]) -> str:
  """Each estimate with its interval, one line each."""
  width = max(12, *(len(name) + 2 for name in metrics))
  lines = [f'{"":{width}}{"estimate":>10}{"95 % interval":>20}']
  for name, value in metrics.items():
    if name.endswith(('/low', '/high')):
      continue
    low, high = (metrics.get(f'{name}/{end}') for end in ('low', 'high'))
    interval = '' if low is None else f'[{low:.3f}, {high:.3f}]'
    lines.append(f'{name:{width}}{value:>10.3f}{interval:>20}')
  return '\n'.join(lines)


if __name__ == '__main__':
  command.run(main)
