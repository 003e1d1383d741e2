"""A verifier of responses that are Python programs.

The tests of a row stay outside: a program meets their questions, one process
each, and its output is compared here. Nothing that runs beside the program
knows an expected value or decides the score, so there is nothing in its reach
to read, to patch or to leave early: it has to compute the answers.
"""

from __future__ import annotations

import ast
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import sandbox

_BLOCK = re.compile(
  r'^```([^`\n]*)\n(.*?)(?:^```[ \t]*$|\Z)', re.MULTILINE | re.DOTALL
)
_PYTHON = ('', 'py', 'python', 'python3')
_LONGEST_PROGRAM = 1 << 18
_LONGEST_VALUE = 1 << 16


def score(
  responses: Sequence[str],
  rows: Sequence[Mapping[str, Any]],
  *,
  seconds: float = 3.0,
) -> list[float]:
  """1 where the response is a program that passes every test, else 0.

  Args:
    responses: read by `program`.
    rows: 'tests' is a list of
      - `{'input': text, 'output': text}`: what the program reads and has to
        print, where white space at the end of lines does not count; or
      - `'assert f(2) == [4]'`: an expression after the program, and the
        literal that it has to equal.
    seconds: for all tests of a response; the first that fails ends it. The
      time limit of the verifier processes has to be larger.

  Raises:
    ValueError: a row without tests, or a test of another form.
    sandbox.Unavailable: programs cannot be isolated here.
  """
  sandbox.require()
  with sandbox.Sandbox() as box:
    return [
      float(_passes(box, program(response), tests(row), seconds))
      for response, row in zip(responses, rows, strict=True)
    ]


def faster(
  responses: Sequence[str],
  rows: Sequence[Mapping[str, Any]],
  *,
  seconds: float = 3.0,
  repeats: int = 3,
) -> list[float]:
  """By how much a right program is faster than the row's.

      -1                          it is no Python
      -1/2                        it ends with an error, or too late
      0                           it fails a test
      1 + clip(log2 S, -1, 3)     else; S = (t' - t_0) / (t - t_0)

  t' and t are wall times of all tests, of the row's program and of this one,
  t_0 of as many empty programs. The three run after each other in each of
  `repeats` rounds, so that a busy machine slows all alike, and S is the middle
  of the rounds. Where most rounds are farther from it than it is from 1, S is
  1: noise earns nothing.

  Args:
    responses: read by `program`.
    rows: 'tests', as for `score`; 'reference' is the program to be improved.
    seconds: for all tests of a program in one round.
    repeats: rounds.

  Raises:
    ValueError: a row without a reference that passes its tests.
    sandbox.Unavailable: programs cannot be isolated here.

  Source: Leveraging Reinforcement Learning and Large Language Models for Code
    Optimization, arXiv 2312.05657; its numbers were not read, these are ours.
  """
  sandbox.require()
  with sandbox.Sandbox() as box:
    return [
      _speed(box, program(response), row, seconds, repeats)
      for response, row in zip(responses, rows, strict=True)
    ]


def _speed(box, text: str, row: Mapping[str, Any], seconds, repeats) -> float:
  wanted = tests(row)
  reference = row.get('reference')
  if not isinstance(reference, str) or not _passes(
    box, reference, wanted, seconds
  ):
    raise ValueError(
      f"a row needs 'reference', a program that passes its tests within "
      f'{seconds:g} s, not {reference!r:.80}'
    )
  try:
    ast.parse(text)
  except (SyntaxError, ValueError, MemoryError, RecursionError):
    return -1.0
  if not _passes(box, text, wanted, seconds):
    ends = [
      box.run(text + end, stdin, seconds=seconds).code
      for end, stdin, _ in wanted
    ]
    return -0.5 if any(code != 0 for code in ends) else 0.0
  rounds = [
    [_wall(box, each, wanted, seconds) for each in ('', reference, text)]
    for _ in range(repeats)
  ]
  start, before, after = zip(*rounds)
  return 1 + speed_up(start, before, after)


def _wall(box, text: str, wanted, seconds: float) -> float:
  """Seconds of all tests of a program; an empty one does not know them."""
  return sum(
    box.run(text and text + end, stdin, seconds=seconds).seconds
    for end, stdin, _ in wanted
  )


def speed_up(
  start: Sequence[float], before: Sequence[float], after: Sequence[float]
) -> float:
  """clip(log2 S, -1, 3) of `faster`, 0 within noise.

  Args:
    start, before, after: seconds of each round, of the empty program, the
      reference and the response.
  """
  # What is left of a program beside its start may be too short to be seen.
  least = max(_spread(start), 1e-3)
  logs = [
    math.log2(max(before - start, least) / max(after - start, least))
    for start, before, after in zip(start, before, after, strict=True)
  ]
  middle = statistics.median(logs)
  noise = statistics.median(abs(log - middle) for log in logs)
  return 0.0 if abs(middle) <= noise else min(max(middle, -1.0), 3.0)


def _spread(seconds: Sequence[float]) -> float:
  """How far the middle of some times is above the least."""
  return sorted(seconds)[len(seconds) // 2] - min(seconds)


def program(response: str) -> str:
  """The program in a response: its last Python block, or all of the text.

  A block stands between lines of three backticks, the first of which names
  Python or nothing; one that is not closed reaches to the end.
  """
  blocks = [
    text
    for language, text in _BLOCK.findall(response)
    if language.strip().lower() in _PYTHON
  ]
  return blocks[-1] if blocks else response


def tests(row: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
  """(what is put after the program, its input, what has to come out) each.

  What comes out is text for a test of a whole program, else a tuple of the
  one value that the expression has to equal.

  Raises:
    ValueError: there are none, or one has another form than `score` says.
  """
  given = row.get('tests')
  if not isinstance(given, list) or not given:
    raise ValueError(
      f"a row needs 'tests', a list of at least one, not {given!r:.80}"
    )
  return [_test(each) for each in given]


def _test(test: Any) -> tuple[str, str, Any]:
  if isinstance(test, Mapping) and isinstance(test.get('output'), str):
    return '', str(test.get('input', '')), test['output']
  if isinstance(test, str):
    for call, value in _equality(test):
      # On a line of its own, whatever was printed before.
      return f"\nprint('\\n' + repr({call}))\n", '', (value,)
  raise ValueError(
    f'the test {test!r:.80} is neither input and output, nor of the form '
    "'assert EXPRESSION == LITERAL'"
  )


def _equality(text: str) -> Iterator[tuple[str, Any]]:
  """The expression and the literal of an assertion, if it is one."""
  try:
    [statement] = ast.parse(text.strip()).body
  except (SyntaxError, ValueError):
    return
  match statement:
    case ast.Assert(ast.Compare(left, [ast.Eq()], [right])):
      try:
        yield ast.unparse(left), ast.literal_eval(right)
      except ValueError:
        return


def _passes(box, text: str, wanted, seconds: float) -> bool:
  if len(text) > _LONGEST_PROGRAM:
    return False
  for end, stdin, output in wanted:
    if seconds <= 0:
      return False
    finished = box.run(text + end, stdin, seconds=seconds)
    seconds -= finished.seconds
    if finished.code != 0 or not _same(finished.output, output):
      return False
  return True


def _same(printed: str, output: Any) -> bool:
  if isinstance(output, str):
    return _lines(printed) == _lines(output)
  last = printed.rstrip('\n').rpartition('\n')[2]
  try:
    value = ast.literal_eval(last[:_LONGEST_VALUE])
  except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
    return False
  return value == output[0]


def _lines(text: str) -> list[str]:
  return [line.rstrip() for line in text.rstrip().split('\n')]
