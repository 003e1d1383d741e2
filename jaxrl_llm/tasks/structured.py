"""Verifiers of responses with parts: verdicts, calls, actions, second thoughts.

    f(responses: list[str], rows: list[dict], **options) -> list[float]

as in `verifiers`. The standard library alone, because verifier processes
import it.
"""

from __future__ import annotations

import ast
import collections
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import answers

Rows = Sequence[Mapping[str, Any]]

_ANSWER = re.compile(r'<answer>(.*?)</answer>', re.DOTALL)
_THOUGHT = re.compile(r'<think>(.*?)</think>', re.DOTALL)
_ACTION = re.compile(r'["\']action["\']\s*:\s*["\'](\w+)["\']')
_WORD = re.compile(r'[^\W\d]\w*')
# 'A' and 'I' before a word are English, unless the word speaks of options.
_LETTER = re.compile(
  r"(?<![\w'’])(?![AI]\s+(?!(?:and|or|is|are)\b)[a-z])[A-Z](?![\w'’])"
)
_NUMBER = re.compile(r'-?\d+(?:\.\d+)?')
_PAIR = re.compile(rf'\[\s*({_NUMBER.pattern})\s*,\s*({_NUMBER.pattern})\s*\]')
# Calls longer than these are none that anyone meant.
_LONGEST_CALL = 1 << 14
_PARTS = ('think', 'answer', 'reflection', 'think', 'answer')
_REFLECTED = re.compile(
  r'\s*'.join(rf'<{part}>(?:(?!</?{part}>).)+</{part}>' for part in _PARTS)
  + r'\s*\Z',
  re.DOTALL,
)


def verdict(
  responses: Sequence[str], rows: Rows, *, pattern: str = '</think>'
) -> list[float]:
  """1 where the verdict is right and comes in its form, else 0.

  Args:
    responses: their final answers are those of `answers.final`.
    rows: 'answer' is the right verdict, such as A.
    pattern: a regular expression that the response has to hold; `.` also
      matches a line break.

  Raises:
    ValueError: as `verifiers.exact` does.

  Source: J1, Exploring Simple Test-Time Scaling for LLM-as-a-Judge, arXiv
    2505.11875, of which the abstract alone was read.

  Example:
    >>> verdict(['<think>so</think> A', 'A'], [{'answer': 'A'}] * 2)
    [1.0, 0.0]
  """
  form = re.compile(pattern, re.DOTALL)
  return [
    float(
      form.search(response) is not None
      and answers.final(response) in map(answers.final, answers.accepted(row))
    )
    for response, row in zip(responses, rows, strict=True)
  ]


def several(responses: Sequence[str], rows: Rows) -> list[float]:
  """How many of the right options are named, 0 where a wrong one is, too.

      |named| / |right|   where right holds all that are named, else 0

  Args:
    responses: capital letters of their answers, those between answer tags or
      else of `answers.final`, that stand alone name options, as in A, C.
    rows: 'answer' names the right ones in the same way, or is a list of them.

  Raises:
    ValueError: an answer that names none.

  Source: the soft reward of TW-GRPO, arXiv 2505.24718. Recalled.

  Example:
    >>> row = {'answer': 'A,C'}
    >>> several(['<answer>A</answer>', 'C and A', 'A, B'], [row] * 3)
    [0.5, 1.0, 0.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    given = row['answer']
    right = set(
      _LETTER.findall(given if isinstance(given, str) else ' '.join(given))
    )
    if not right:
      raise ValueError(
        f'the answer {given!r} names no option; write capital letters, such as '
        'A,C'
      )
    tagged = _ANSWER.findall(response)
    named = set(
      _LETTER.findall(tagged[-1] if tagged else answers.final(response))
    )
    scores.append(len(named) / len(right) if named <= right else 0.0)
  return scores


def first_error(responses: Sequence[str], rows: Rows) -> list[float]:
  """How near a judge is to the first wrong step of a solution, in [-1, 1].

      1                     neither the row nor the response knows an error
      1 - |k - k'| / steps  the row's first wrong step is k, the response's k'
      -1                    one of the two knows an error, or no step is named

  Args:
    responses: their final answers are numbers of steps from 0 on, or -1
      where all of them are right.
    rows: 'answer' is k or -1, 'steps' the number of steps.

  Raises:
    ValueError: a row without steps, or with an answer that is none of them.

  Source: FAPO, arXiv 2510.22543, the reward of its judge in verl.

  Example:
    >>> first_error(['2', '-1', 'all'], [{'answer': 3, 'steps': 4}] * 3)
    [0.75, -1.0, -1.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    steps, right = row.get('steps', 0), _whole(str(row['answer']))
    if right is None or not -1 <= right < steps:
      raise ValueError(
        f'the answer {row["answer"]!r} is no step of {steps}; write the number '
        "of the first wrong one, from 0 on, or -1, and their count in 'steps'"
      )
    said = _whole(answers.final(response))
    if said is None or not -1 <= said < steps or (said < 0) != (right < 0):
      scores.append(-1.0)
    else:
      scores.append(1 - abs(said - right) / steps)
  return scores


def _whole(text: str) -> int | None:
  found = re.fullmatch(r'\s*(-?\d{1,9})\s*', text)
  return int(found[1]) if found else None


def action(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where what is done on a screen is of the right kind, else 0.

  Args:
    responses: the first `<answer>`, or all of the text, such as
      `[{'action': 'click', 'coordinate': [6, 40]}]` or `click 6 40`.
    rows: 'action' is the right kind, such as click; letter case is ignored.

  Raises:
    ValueError: a row without an action.

  Source: UI-R1, arXiv 2503.21620, and its code.

  Example:
    >>> action(['click 6 40', 'scroll'], [{'action': 'click'}] * 2)
    [1.0, 0.0]
  """
  return [
    float(_action(response)[0] == _kind(row))
    for response, row in zip(responses, rows, strict=True)
  ]


def place(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where the right kind of action is done at a right place, else 0.

      [kind = action] [no box, or x1 <= x <= x2 and y1 <= y <= y2]

  UI-R1's reward is the sum of `action`, this and the form.

  Args:
    responses: as for `action`.
    rows: likewise; 'box' is [x1, y1, x2, y2] where the action has a place.

  Raises:
    ValueError: a row without an action, or with a box of another form.

  Source: UI-R1, arXiv 2503.21620, and its code.

  Example:
    >>> row = {'action': 'click', 'box': [0, 30, 9, 50]}
    >>> place(['click 6 40', 'click 20 40'], [row, row])
    [1.0, 0.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    kind, point = _action(response)
    inside = _inside(point, row.get('box'))
    scores.append(float(kind == _kind(row) and inside))
  return scores


def _action(response: str) -> tuple[str, list[float]]:
  """What is done, in lower case, and the first pair, or numbers behind it."""
  text = [*_ANSWER.findall(response), response][0]
  found = _ACTION.search(text)
  kind = found[1] if found else ''
  found = found or _WORD.search(text)
  if not found:
    return '', []
  pair = _PAIR.search(text)
  where = pair.groups() if pair else _NUMBER.findall(text, found.end())[:2]
  return (kind or found[0]).lower(), [float(x) for x in where]


def _kind(row: Mapping[str, Any]) -> str:
  if not isinstance(row.get('action'), str) or not row['action'].strip():
    raise ValueError(
      f"a row needs 'action', such as 'click', not {row.get('action')!r:.80}"
    )
  return row['action'].strip().lower()


def _inside(point: Sequence[float], box: Any) -> bool:
  if box is None:
    return True
  if not isinstance(box, list | tuple) or len(box) != 4:
    raise ValueError(f"'box' is {box!r:.80}; write [x1, y1, x2, y2]")
  left, top, right, bottom = map(float, box)
  return (
    len(point) == 2 and left <= point[0] <= right and top <= point[1] <= bottom
  )


def roles(responses: Sequence[str], rows: Rows) -> list[float]:
  """How right the roles are that a response speaks for.

  Args:
    responses: each `<answer>` is of one role; without one, the final answer.
    rows: a list in 'answers' is what each role should say, and the score is
      the share of those that do, in their order. Else 'answer' is what all
      should, and the score is 1 if most say it; of equally many the first.

  Raises:
    ValueError: as `verifiers.exact` does.

  Source: MultiRole-R1, arXiv 2507.20187, section 3.3.

  Example:
    >>> said = '<answer>yes</answer> <answer>no</answer>'
    >>> roles([said, said], [{'answers': ['yes', 'yes']}, {'answer': 'yes'}])
    [0.5, 1.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    said = [*map(answers.final, _ANSWER.findall(response))]
    said = said or [answers.final(response)]
    if 'answers' in row:
      wanted = answers.accepted({'answer': row['answers']})
      hits = [x == answers.final(y) for x, y in zip(said, wanted)]
      scores.append(sum(hits) / len(wanted))
    else:
      [(most, _)] = collections.Counter(said).most_common(1)
      right = map(answers.final, answers.accepted(row))
      scores.append(float(most in right))
  return scores


def same_call(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where a response calls the row's functions with its arguments, else 0.

  Calls are compared as syntax trees: spaces, quotes, the order of keywords and
  that of calls in a list do not count.

  Args:
    responses: what stands behind the last `</think>`, in a last `<tool_call>`
      if there is one, such as `[f(x=1), g('a')]` or `f(x=1)`.
    rows: 'answer' is written likewise, or a list of those that are right.

  Raises:
    ValueError: a row's answer is no call.

  Source: Exploring Superior Function Calls via Reinforcement Learning, arXiv
    2508.05118, of which the abstract alone was read.

  Example:
    >>> row = {'answer': "send(to='a', amount=5)"}
    >>> same_call(['send(amount=5, to="a")', 'send(5)'], [row, row])
    [1.0, 0.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    right = [_calls(answer) for answer in answers.accepted(row)]
    if None in right:
      raise ValueError(
        f"the answer {row['answer']!r:.80} is no call, such as 'f(x=1)', and "
        'no list of calls'
      )
    said = response.rpartition('</think>')[2].rpartition('<tool_call>')[2]
    found = _calls(said.partition('</tool_call>')[0])
    scores.append(float(found is not None and found in right))
  return scores


def _calls(text: str) -> list[str] | None:
  """Calls in one order of their own, or None."""
  text = text.strip()
  if len(text) > _LONGEST_CALL:
    return None
  try:
    tree = ast.parse(text, mode='eval').body
    each = tree.elts if isinstance(tree, ast.List) else [tree]
    if not each or not all(isinstance(call, ast.Call) for call in each):
      return None
    return sorted(map(_canonical, each))
  except (SyntaxError, ValueError, MemoryError, RecursionError):
    return None


def _canonical(call: Any) -> str:
  call.keywords.sort(key=lambda keyword: keyword.arg or '')
  return ast.dump(call)


def reflected(responses: Sequence[str], rows: Rows) -> list[float]:
  """A first answer, a reflection, and what it makes of a second answer.

      (1 - 0.5) a + 0.5 f + 0.1 e
      a = 0.75 right and right, 1 wrong and then right,
          -0.25 right and then wrong, 0 else
      f = 0.5 if the response is `<think> <answer> <reflection> <think>
          <answer>` at its end, each once or twice as here, else 0
      e = exp(-(|L - 2 S| / (S / 2))^2),  0 without two thoughts and answers

  S is the length of the first thought and answer, L of the response.

  Args:
    responses: answers stand in `<answer>`; one that is alone is both.
    rows: 'answer', as for `verifiers.exact`. Lengths are of characters, where
      the published code counts tokens.

  Raises:
    ValueError: as `verifiers.exact` does.

  Source: SRPO, arXiv 2506.01713, as its code means it; that code's conditions
    give 0 where a first answer was wrong, by the precedence of `&`.

  Example:
    >>> reflected(['<answer>3</answer>'], [{'answer': '3'}])
    [0.375]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    accepted = {*map(answers.final, answers.accepted(row))}
    said = _ANSWER.findall(response) or [response]
    first, last = (answers.final(said[i]) in accepted for i in (0, -1))
    gain = {(1, 1): 0.75, (0, 1): 1.0, (1, 0): -0.25, (0, 0): 0.0}
    form = 0.5 * _has_reflection(response)
    length = 0.1 * _measured(response)
    scores.append(0.5 * gain[first, last] + 0.5 * form + length)
  return scores


def _has_reflection(response: str) -> bool:
  counts = collections.Counter(_PARTS)
  return all(
    response.count(f'<{sign}{part}>') == count
    for part, count in counts.items()
    for sign in ('', '/')
  ) and bool(_REFLECTED.search(response))


def _measured(response: str) -> float:
  thoughts, said = _THOUGHT.findall(response), _ANSWER.findall(response)
  if min(len(thoughts), len(said)) < 2:
    return 0.0
  once = len(thoughts[0].strip()) + len(said[0].strip())
  if not once:
    return 0.0
  return math.exp(-((abs(len(response) - 2 * once) / (once / 2)) ** 2))
