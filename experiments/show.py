"""Shows what a run wrote: prompts, and the responses to each.

  python -m experiments.show runs/default-grpo-0
      the responses of the newest iteration that were kept
  ... --step=20 --worst --task=word --count=3
      of iteration 20 at most three prompts, those that earned least first,
      of prompts that have a word; --best is the other way round, and --mixed
      begins with those whose responses differ most
  ... --html
      all of it as a page, with curves, results and settings

Each prompt comes with its answer and what the group earned, each response with
its reward, the scores of the verifiers, its advantage, its length, and, of an
agent, its turns and what it was told between them. Responses to a prompt stand
side by side where there is room. What earned more than its group is green on a
terminal, what earned less is red. How many are kept: --config.log.samples of
the run.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from absl import flags

from experiments import command, samples
from experiments.samples import Line

_STEP = flags.DEFINE_integer(
  'step', None, 'Iteration; the newest without.', allow_override=True
)
_ORDERS = {
  name: flags.DEFINE_bool(name, False, says, allow_override=True)
  for name, says in (
    ('worst', 'Prompts that earned least first.'),
    ('best', 'Prompts that earned most first.'),
    ('mixed', 'Prompts first whose responses differ most.'),
  )
}
_TASK = flags.DEFINE_string(
  'task', '', 'Only prompts that have this in them.', allow_override=True
)
_HTML = flags.DEFINE_bool(
  'html', False, 'Write RUN/report.html, with curves and settings, instead.'
)
_COUNT = flags.DEFINE_integer(
  'count', 8, 'Prompts at most.', allow_override=True
)
_GREEN, _RED, _DIM, _PLAIN = '\033[32m', '\033[31m', '\033[2m', '\033[0m'
# Of characters that a terminal would obey.
_PICTURES = {
  **{i: 0x2400 + i for i in range(32) if i != ord('\n')},
  **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}
# Columns of a terminal that a response is given where others are beside it.
_COLUMN = 38
# A line and its colour, '' for none.
_Row = tuple[str, str]
# Before the words of the policy, and of others.
_TOLD = {'said': '', 'told': '> ', 'before': '> '}


def main(words: Sequence[str]) -> int:
  if len(words) != 1:
    raise command.Refused(
      'show one run, as in python -m experiments.show runs/default-grpo-0'
    )
  if _COUNT.value < 1:
    raise command.Refused(f'--count={_COUNT.value} must be 1 or more')
  orders = [name for name, flag in _ORDERS.items() if flag.value] or ['kept']
  if len(orders) > 1:
    raise command.Refused(f'one order at a time, not --{" --".join(orders)}')
  workdir = command.folder('workdir', words[0])
  if _HTML.value:
    from experiments import page

    print(f'written to {page.write(workdir)}')
    return 0
  lines = samples.chosen(samples.read(workdir), _STEP.value)
  groups = samples.grouped(
    line for line in lines if _TASK.value in samples.prompt_of(line)
  )
  if not groups:
    raise command.Refused(
      f'no prompt of iteration {lines[0]["step"]} has {_TASK.value!r} in it'
    )
  colour = sys.stdout.isatty() and 'NO_COLOR' not in os.environ
  width = shutil.get_terminal_size().columns
  ordered = sorted(groups, key=samples.ORDERS[orders[0]])
  blocks = [told(group, width, colour) for group in ordered[: _COUNT.value]]
  print('\n\n'.join(blocks))
  left = len(groups) - len(blocks)
  if left:
    print(f'\n{left} more prompts; --count={len(groups)} shows all')
  return 0


def told(group: Sequence[Line], width: int, colour: bool) -> str:
  """A prompt and its responses, as wide as the terminal."""
  first, mean = group[0], samples.mean_of(group)
  head = f'iteration {first["step"]}, mean reward {mean:.3f}'
  if first.get('answer') is not None:
    head += f', answer {first["answer"]}'
  rows = [head, *_wrapped(samples.prompt_of(first), width, '  ')]
  beside = max(1, min(width // _COLUMN, len(group)))
  for start in range(0, len(group), beside):
    blocks = [
      list(_block(line, mean, width // beside - 2 * (beside > 1)))
      for line in group[start : start + beside]
    ]
    rows.append('')
    for cells in itertools.zip_longest(*blocks, fillvalue=('', '')):
      rows.append(_beside(cells, width // beside, colour))
  return '\n'.join(rows)


def _beside(cells: Sequence[_Row], width: int, colour: bool) -> str:
  """Lines of several responses as one."""
  found = []
  for text, style in cells:
    padding = ' ' * (width - len(text))
    shown = f'{style}{text}{_PLAIN}' if colour and style else text
    found.append(shown + padding)
  return ''.join(found).rstrip()


def _block(line: Line, mean: float, width: int) -> Iterator[_Row]:
  """The lines of a response, first what is known of it."""
  reward, style = line['reward'], ''
  if reward is not None and reward != mean:
    style = _GREEN if reward > mean else _RED
  for row in textwrap.wrap(samples.about(line), max(width, 20)):
    yield row, style
  turns = line.get('turns', [{'said': samples.response_of(line)}])
  for who, words in (next(iter(turn.items())) for turn in turns):
    for row in _wrapped(words, width, f'    {_TOLD.get(who, "")}'):
      yield row, '' if who == 'said' else _DIM


def _wrapped(text: str, width: int, indent: str) -> list[str]:
  """The lines of a text, the long ones cut in pieces.

  Control characters are shown by their pictures.
  """
  text = text.translate(_PICTURES)
  most = max(width - len(indent), 20)
  pieces = [
    textwrap.wrap(row, most, drop_whitespace=False) or ['']
    for row in text.split('\n')
  ]
  return [indent + piece for each in pieces for piece in each]


if __name__ == '__main__':
  command.run(main, words='RUN')
