"""Shows what a run wrote: prompts, and the responses to each.

  python -m experiments.show runs/default-grpo-0
      the responses of the newest iteration that were kept
  ... --step=20 --order=worst --task=word --count=3
      of iteration 20 at most three prompts, those that earned least first,
      of prompts that have a word

Each prompt comes with its answer and what the group earned, each response with
its reward, the scores of the verifiers, its length, and, of an agent, its turns
and what it was told between them. What earned more than its group is green on a
terminal, what earned less is red. How many are kept: --config.log.samples of
the run.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from experiments import command

Line = dict[str, Any]
_STEP = flags.DEFINE_integer(
  'step', None, 'Iteration; the newest without.', allow_override=True
)
_ORDER = flags.DEFINE_enum(
  'order',
  'kept',
  ['kept', 'worst', 'best', 'mixed'],
  'Of prompts: as they were kept, by their mean reward, or those first whose '
  'responses differ most.',
  allow_override=True,
)
_TASK = flags.DEFINE_string(
  'task', '', 'Only prompts that have this in them.', allow_override=True
)
_COUNT = flags.DEFINE_integer(
  'count', 8, 'Prompts at most.', allow_override=True
)
_GREEN, _RED, _DIM, _PLAIN = '\033[32m', '\033[31m', '\033[2m', '\033[0m'
# Before the words of the policy, and of others.
_TOLD = {'said': '', 'told': '> ', 'before': '> '}


def main(words: Sequence[str]) -> int:
  if len(words) != 1:
    raise command.Refused(
      'show one run, as in python -m experiments.show runs/default-grpo-0'
    )
  if _COUNT.value < 1:
    raise command.Refused(f'--count={_COUNT.value} must be 1 or more')
  lines = chosen(read(command.folder('workdir', words[0])), _STEP.value)
  groups = grouped(line for line in lines if _TASK.value in _text(line))
  if not groups:
    raise command.Refused(
      f'no prompt of iteration {lines[0]["step"]} has {_TASK.value!r} in it'
    )
  colour = sys.stdout.isatty() and 'NO_COLOR' not in os.environ
  width = shutil.get_terminal_size().columns
  ordered = sorted(groups, key=_KEYS[_ORDER.value])
  blocks = [told(group, width, colour) for group in ordered[: _COUNT.value]]
  print('\n\n'.join(blocks))
  left = len(groups) - len(blocks)
  if left:
    print(f'\n{left} more prompts; --count={len(groups)} shows all')
  return 0


def read(workdir: pathlib.Path) -> list[Line]:
  """The responses that a run kept.

  Raises:
    Refused: there are none.
  """
  from jaxrl_llm.training import writers

  path = workdir / 'samples.jsonl'
  if not path.is_file():
    raise command.Refused(f'{workdir} is no run folder: no {path.name}')
  lines = writers.read(path)
  if not lines:
    raise command.Refused(
      f'{path} is empty: wait for the first iteration, or run with '
      '--config.log.samples=8'
    )
  return lines


def chosen(lines: Sequence[Line], step: int | None) -> list[Line]:
  """Those of an iteration.

  Raises:
    Refused: none was kept then; the nearest is named.
  """
  known = sorted({line['step'] for line in lines})
  step = known[-1] if step is None else step
  if step not in known:
    near = min(known, key=lambda each: abs(each - step))
    raise command.Refused(
      f'no response of iteration {step} was kept; the nearest is --step={near}'
    )
  return [line for line in lines if line['step'] == step]


def grouped(lines: Iterable[Line]) -> list[list[Line]]:
  """Lines of one prompt and answer together, in their order."""
  groups: dict[str, list[Line]] = {}
  for line in lines:
    key = json.dumps([line.get('prompt'), line.get('answer')])
    groups.setdefault(key, []).append(line)
  return list(groups.values())


def _mean(group: Sequence[Line]) -> float:
  rewards = [line['reward'] for line in group if line['reward'] is not None]
  return sum(rewards) / len(rewards) if rewards else 0.0


def _spread(group: Sequence[Line]) -> float:
  mean = _mean(group)
  return sum(((x['reward'] or 0.0) - mean) ** 2 for x in group) / len(group)


_KEYS = {
  'kept': lambda group: 0,
  'worst': _mean,
  'best': lambda group: -_mean(group),
  'mixed': lambda group: -_spread(group),
}


def _text(line: Line) -> str:
  """The prompt in words, also where it is messages."""
  prompt = line.get('prompt', '')
  if isinstance(prompt, str):
    return prompt
  if isinstance(prompt, list):
    return '\n'.join(f'{m.get("role")}: {m.get("content")}' for m in prompt)
  return json.dumps(prompt)


def told(group: Sequence[Line], width: int, colour: bool) -> str:
  """A prompt and its responses, as wide as the terminal."""
  first, mean = group[0], _mean(group)
  head = f'iteration {first["step"]}, mean reward {mean:.3f}'
  if first.get('answer') is not None:
    head += f', answer {first["answer"]}'
  rows = [head, *_wrapped(_text(first), width, '  ')]
  for line in group:
    reward = line['reward']
    marks = [
      'no reward' if reward is None else f'reward {reward:.3f}',
      _scores(line),
      f'{line["length"]} tokens' if 'length' in line else '',
      'cut at the budget' if line.get('truncated') else '',
      '' if line.get('valid', True) else 'not judged',
      f'ended: {line["stop"]}' if 'stop' in line else '',
    ]
    about = ', '.join(filter(None, marks))
    if colour and reward is not None and reward != mean:
      about = f'{_GREEN if reward > mean else _RED}{about}{_PLAIN}'
    rows += ['', about, *_response(line, width, colour)]
  return '\n'.join(rows)


def _scores(line: Line) -> str:
  scores = line.get('scores') or []
  if len(scores) < 2:  # One is the reward, weighted.
    return ''
  return 'scores ' + ' '.join('-' if x is None else f'{x:g}' for x in scores)


def _response(line: Line, width: int, colour: bool) -> list[str]:
  if 'turns' not in line:
    return _wrapped(str(line.get('response', '')), width, '    ')
  rows = []
  for turn in line['turns']:
    [(who, words)] = turn.items()
    part = _wrapped(words, width, f'    {_TOLD.get(who, "")}')
    if colour and who != 'said':
      part = [f'{_DIM}{row}{_PLAIN}' for row in part]
    rows += part
  return rows


def _wrapped(text: str, width: int, indent: str) -> list[str]:
  """The lines of a text, the long ones cut in pieces."""
  most = max(width - len(indent), 20)
  pieces = [
    textwrap.wrap(row, most, drop_whitespace=False) or ['']
    for row in text.split('\n')
  ]
  return [indent + piece for each in pieces for piece in each]


if __name__ == '__main__':
  command.run(main, words='RUN')
