"""The responses that a run kept: which, in what order, and what is known."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.command import Refused

Line = dict[str, Any]


def read(workdir: pathlib.Path) -> list[Line]:
  """The responses that a run kept.

  Raises:
    Refused: there are none.
  """
  from jaxrl_llm.training import writers

  path = workdir / 'samples.jsonl'
  if not path.is_file():
    raise Refused(f'{workdir} is no run folder: no {path.name}')
  lines = writers.read(path)
  if not lines:
    raise Refused(
      f'{path} is empty: wait for the first iteration, or run with '
      '--config.log.samples=8'
    )
  return lines


def of_file(path: pathlib.Path) -> list[Line]:
  """The lines of a file, but a last one that is still being written.

  Raises:
    Refused: another one is no JSON.
  """
  found, texts = [], path.read_bytes().split(b'\n')
  for number, text in enumerate(texts, 1):
    try:
      found += [json.loads(text)] if text.strip() else []
    except ValueError as error:
      if number < len(texts):
        raise Refused(
          f'{path}:{number} {text[:40]!r} is no JSON; a response is an object '
          'on a line, as a run and experiments.eval write them'
        ) from error
  return found


def chosen(lines: Sequence[Line], step: int | None) -> list[Line]:
  """Those of an iteration.

  Raises:
    Refused: none was kept then; the nearest is named.
  """
  known = sorted({line['step'] for line in lines})
  step = known[-1] if step is None else step
  if step not in known:
    near = min(known, key=lambda each: abs(each - step))
    raise Refused(
      f'no response of iteration {step} was kept; the nearest is --step={near}'
    )
  return [line for line in lines if line['step'] == step]


def grouped(lines: Iterable[Line]) -> list[list[Line]]:
  """Lines of one prompt and answer together, in their order."""
  groups: dict[str, list[Line]] = {}
  for line in lines:
    key = json.dumps([prompt_of(line), line.get('answer')])
    groups.setdefault(key, []).append(line)
  return list(groups.values())


def mean_of(group: Sequence[Line]) -> float:
  """The mean reward, of those that have one."""
  rewards = [line['reward'] for line in group if line['reward'] is not None]
  return sum(rewards) / len(rewards) if rewards else 0.0


def variance_of(group: Sequence[Line]) -> float:
  """The variance of the rewards."""
  mean = mean_of(group)
  return sum(((x['reward'] or 0.0) - mean) ** 2 for x in group) / len(group)


# Keys by which groups are sorted.
ORDERS = {
  'kept': lambda group: 0,
  'worst': mean_of,
  'best': lambda group: -mean_of(group),
  'mixed': lambda group: -variance_of(group),
}


def prompt_of(line: Line) -> str:
  """The prompt in words, also where it is messages, or a task's number."""
  if 'prompt' not in line:
    return f'task {line["task"]}'
  prompt = line['prompt']
  if isinstance(prompt, list):
    return '\n'.join(f'{m.get("role")}: {m.get("content")}' for m in prompt)
  return str(prompt)


def response_of(line: Line) -> str:
  """What was said, or, of other policies than text, the arrays of it."""
  if 'response' in line:
    return str(line['response'])
  told = line['content'] | {'paid': line['paid']}
  return '\n'.join(
    f'{name} {json.dumps(_short(x))}' for name, x in told.items()
  )


def _short(value):
  """Numbers with four digits behind the point, in lists of any depth."""
  if isinstance(value, list):
    return [_short(each) for each in value]
  return round(value, 4) if isinstance(value, float) else value


def about(line: Line) -> str:
  """What is known of a response, on one line."""
  reward = line['reward']
  marks = [
    'no reward' if reward is None else f'reward {reward:.3f}',
    _scores(line),
    _advantage(line),
    f'{line["length"]} tokens' if 'length' in line else '',
    'cut at the budget' if line.get('truncated') else '',
    '' if line.get('valid', True) else 'not judged',
    f'ended: {line["stop"]}' if 'stop' in line else '',
  ]
  return ', '.join(filter(None, marks))


def _advantage(line: Line) -> str:
  """The mean of its tokens'; '' where none was kept, or it has none."""
  known = [x for x in line.get('advantage') or [] if x is not None]
  return f'advantage {sum(known) / len(known):+.3f}' if any(known) else ''


def _scores(line: Line) -> str:
  scores = line.get('scores') or []
  if len(scores) < 2:  # One is the reward, weighted.
    return ''
  return 'scores ' + ' '.join('-' if x is None else f'{x:g}' for x in scores)
