"""Finding the answer inside a response: the text a verifier compares.

Pure string functions on the standard library alone, linear in the length of
the text, so that they are safe to run in the training process.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxrl_llm.tasks import numbers

# Signs around a text that say nothing of it, and how many of them are undone.
_AROUND = (
  ('```', '```'),
  ('***', '***'),
  ('**', '**'),
  ('*', '*'),
  ('__', '__'),
  ('`', '`'),
  ('$$', '$$'),
  ('$', '$'),
  ('\\(', '\\)'),
  ('\\[', '\\]'),
  ('"', '"'),
  ("'", "'"),
  ('“', '”'),
  ('‘', '’'),
  ('«', '»'),
)
_LAYERS = 16
# Before these, a statement is too far from the end to be the last word.
_MAX_REMARKS = 16
_MARKUP = re.compile(
  r'</?(?:b|strong|i|em|u|p|br)\s*/?>'
  # How models end a turn.
  r'|<\|\w{1,40}\|>|</s>|<eos>|<end_of_turn>'
)
# JSON: a key, and what follows it.
_KEY = re.compile(r'answer"\s*:', re.IGNORECASE)
_VALUE = re.compile(r'\s*(?:"((?:[^"\\\n]|\\.)*)"|([^\s",{}\[\]]+))\s*[,}\n]')
_STYLE = re.compile(
  r'\\(?:text(?:bf|it|rm|sf)?|math(?:bf|it|rm|sf)|mbox|boxed|fbox|boldsymbol)'
  r'\s*\{'
)
_BRACES = re.compile(r'\\.|[{}]', re.DOTALL)
_BOX = re.compile(
  # The last, as plain TeX would write it: \boxed 42.
  r'\\(?:boxed|fbox)\s*(?:(?P<opens>\{)|(?P<plain>[^\s{][^$\n]*))|\\.|[{}]',
  re.DOTALL,
)
# Of at most 40 characters.
_BETWEEN_BOXES = re.compile(
  r'(?:[ ,;$}]|\\q?quad|\\[()\[\]])*(?:and|or|\\text\{ ?(?:and|or) ?\})?'
  r'(?:[ $]|\\q?quad|\\[()\[\]])*\\(?:boxed|fbox) ?\{'
)
_HASHES = re.compile(
  r'(?P<begins>^[ \t>]*)?(?<!#)####(?!#)[ \t]*(?P<value>.*)', re.MULTILINE
)
# How headings begin, and answers with more text below them do not: with a
# word, or with the number of an item.
_HEADING = re.compile(
  r'[^\w\\]*(?:[^\W\d_]{2}|\w{1,2}[.):][ \t]+\S|\d+(?:st|nd|rd|th)\b)'
)
_SPOKEN = re.compile(
  # 'Answer the question:' asks for an answer, and 'answer choices:' lists some.
  r'(?:\b|(?<=final_))(?:answers?|ans)\b(?!\s+(?:the|this|these|each|all|choices|options)\b)'
  r'(?:[^.!?:：=\n]|\.(?=\d)){0,60}?'
  r'(?:\b(?:is|are|was)\b|\b(?:should|would|must|will)\s+be\b|\bequals\b'
  r'|[:：=]|\s[-–—](?=\s))'
  r'|答案(?:应该|應該)?(?:是|为|為|[:：])'
  # A heading, with the answer below it.
  r'|^[^\w\n]*(?:(?:the|my|our|final|correct|short)\W+){0,3}answers?[^\w\n]*\n',
  re.IGNORECASE | re.MULTILINE,
)
_BEFORE_ANSWER = re.compile(
  r'(?:(?<=\n)[-*•][ \t]+|[-=]{3,}(?=\n)|\s|\*{1,3}(?=\s)|[:：]'
  r'|(?:as follows|the following|given by|therefore|thus|simply|clearly'
  r'|exactly|equal to)\b|not\s[^.!?\n]{1,40}?\sbut\s)*'
)
# 'If the answer is unclear, ask' and 'this answer is' state no answer ...
_SUPPOSED = re.compile(
  r'\b(?:(?:if|whether|unless|hope)\b[^,.!?\n]*'
  r'|(?:this|that|an|any|another|other|wrong|incorrect)\s+)\Z',
  re.IGNORECASE,
)
# ... and these are said of one.
_REMARK = re.compile(
  r'(?:not|also|indeed|(?:un|in)?(?:clear|correct)|right|wrong|obvious|based'
  r'|above|below|shown|found|derived|obtained|verified|consistent|reasonable'
  r'|valid|final|helpful)\b',
  re.IGNORECASE,
)
_DISPLAYS = (('$$', '$$'), ('\\[', '\\]'), ('```', '```'))
_CLOSERS = r'["\'”’)*`\]$]*'
_STOP = re.compile(
  # Not in 'Dr. Who', 'George W. Bush' or 'J. Smith', but in 'B. Note that'.
  r'(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bSt)(?<!\b[A-Z])[.!?。]'
  rf'{_CLOSERS}(?:\Z|\s+(?=[^a-z\s=≈+*/<>-]))'
  r'|。|(?<=[\d}$)*`%])[.!?]\s+\S'
  rf'|(?<=\b[A-Z])[.!]{_CLOSERS}(?:\Z|\s+(?=\S+[ \t]+[a-z]))'
)


def bare(text: str) -> str:
  """A text without what stands around it: bold, quotes, `$`, a full stop."""
  for _ in range(_LAYERS):
    before, text = text, text.strip().rstrip('.,;:。')
    for opening, closing in _AROUND:
      inside = text[len(opening) : -len(closing)]
      if text == f'{opening}{inside}{closing}' and closing not in inside:
        # A fence may name its language.
        inside = re.sub(r'\A\w+\n', '', inside) if opening == '```' else inside
        text = inside.strip() or text
    for sign in ('**', '*', '`'):
      # The other one of a pair stood before the answer.
      if text.count(sign) == 1:
        text = text.removeprefix(sign).removesuffix(sign)
    style = _STYLE.match(text)
    if style and _closing(text, style.end()) == len(text) - 1:
      text = text[style.end() : -1]
    if text == before:
      break
  return text


def _closing(text: str, start: int) -> int:
  """The place of the brace that closes one right before `start`, or -1."""
  depth = 1
  for brace in _BRACES.finditer(text, start):
    depth += {'{': 1, '}': -1}.get(brace[0], 0)
    if not depth:
      return brace.start()
  return -1


def _boxed(text: str) -> str | None:
  """The content of the last closed box, with those that it is listed with."""
  boxes: list[tuple[int, int]] = []
  opened: list[tuple[bool, int]] = []
  for sign in _BOX.finditer(text):
    if sign['opens'] or sign[0] == '{':
      opened.append((bool(sign['opens']), sign.end()))
    elif sign['plain']:
      boxes.append(sign.span('plain'))
    elif sign[0] == '}' and opened:
      is_box, start = opened.pop()
      if is_box:
        # An outer box closes behind those in it.
        while boxes and boxes[-1][0] >= start:
          boxes.pop()
        boxes.append((start, sign.start()))
  contents: dict[str, None] = {}
  following = None
  for start, end in reversed(boxes):
    if following is not None:
      between = ' '.join(text[end:following].split())
      if len(between) > 40 or not _BETWEEN_BOXES.fullmatch(between):
        break
    following = start
    contents[text[start:end].strip()] = None
  return ', '.join(reversed(contents)) if boxes else None


def _tagged(text: str) -> str | None:
  """What the last `<answer>` holds, closed or not."""
  _, *tagged = re.split('<answer>', text, flags=re.IGNORECASE)
  if not tagged:
    return None
  return re.split('</answer>', tagged[-1], flags=re.IGNORECASE)[0]


def _hashed(text: str) -> str | None:
  """What follows the last `####` that is GSM8K's mark, and no heading."""
  end = len(text.rstrip())
  for match in reversed([*_HASHES.finditer(text)]):
    value = match['value'].rstrip(' \t#').rpartition('####')[2].strip()
    above_text = match['begins'] is not None and match.end() < end
    if value and not (above_text and _HEADING.match(bare(value))):
      return value
  return None


def _spoken(text: str) -> str | None:
  """What the last statement of an answer says, to the end of its sentence."""
  supposed = None
  found = collections.deque(_SPOKEN.finditer(text), maxlen=_MAX_REMARKS)
  for match in reversed(found):
    opening = _BEFORE_ANSWER.match(text, match.end())
    keyed = _VALUE.match(text, match.end())
    if keyed and _KEY.fullmatch(match[0]):
      return keyed[1] or keyed[2]
    said = _sentence(text, opening.end() if opening else match.end())
    before = text[max(match.start() - 100, 0) : match.start()]
    if said and not (_SUPPOSED.search(before) or _REMARK.match(said)):
      return said
    supposed = supposed or said
  return supposed or None


def _sentence(text: str, start: int) -> str:
  """From a place to the end of its sentence, line or displayed formula."""
  for opening, closing in _DISPLAYS:
    if text.startswith(opening, start):
      end = text.find(closing, start + len(opening))
      if end >= 0:
        return bare(text[start : end + len(closing)])
  end = text.find('\n', start)
  line = text[start : end if end >= 0 else None]
  stop = _STOP.search(line)
  return bare(line[: stop.start()] if stop else line)


def marks(text: str) -> Iterator[str]:
  """The answers that a response points out, the most certain first.

  Of each kind of mark the last: `\\boxed{x}` or `\\fbox{x}`,
  `<answer>x</answer>`, `#### x` where it is no heading, and a sentence such as
  'the answer is x' or 'Answer: x', also as a heading with x below it. What
  stands before `</think>` is reasoning, and points at nothing.
  """
  text = without_reasoning(text)
  for find in (_boxed, _tagged, _hashed, _spoken):
    found = find(text)
    if found and bare(found):
      yield found.strip()


def without_reasoning(text: str) -> str:
  """The response from `</think>` on, where anything follows; without markup."""
  after = text.rpartition('</think>')[2]
  text = _MARKUP.sub('', after if after.strip() else text)
  # One sign, that is not taken for full stops.
  return re.sub(r'(\.\d+)\.\.\.(?!\.)', r'\1…', text)


def marked(text: str) -> str | None:
  """The answer that a response points out, or None when it points at none."""
  for mark in marks(text):
    return inner(mark)
  return None


def inner(mark: str) -> str:
  """The answer in a mark, bare and without 'Answer:' before it."""
  mark = bare(mark)
  return _spoken(mark) or mark


def final(text: str) -> str:
  """The marked answer or the whole response, bare, its spaces run together."""
  found = marked(text)
  whole = bare(without_reasoning(text)) if found is None else found
  return ' '.join(whole.split())


def number(text: str) -> list[numbers.Number]:
  """The number of the marked answer, or the last of a text without a mark.

  Returns:
    Its readings, as of `numbers.stated`; [] where there is none.
  """
  found = marked(text)
  if found is None:
    return numbers.last(without_reasoning(text))
  return numbers.stated(found)


def accepted(row: Mapping[str, Any]) -> list[str]:
  """The reference answers of a question, any of which is right.

  Args:
    row: 'answer' is a text or number, or a list of them.

  Raises:
    ValueError: it is anything else, or empty.
  """
  answer = row['answer']
  given = answer if isinstance(answer, list | tuple) else [answer]
  if not given or not all(
    isinstance(one, str | int | float) and str(one).strip() for one in given
  ):
    raise ValueError(
      f'the answer {answer!r} is nothing to compare with; write a text, a '
      'number, or a list of those that are right'
    )
  return [str(one) for one in given]
