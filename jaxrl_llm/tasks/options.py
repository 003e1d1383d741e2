"""Multiple choice: the options of a question, and the one that a text picks."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from jaxrl_llm.tasks import answers, numbers

Options = Mapping[str, str]
_QUOTES = r'[("\'$*`\[]*'
_UNQUOTES = r'[)"\'$*`\]]*'
_STYLE = re.compile(r'\\[a-zA-Z]+\s*\{([^{}]*)\}')
_ALONE = re.compile(
  r'[\W_]*(?:(?:the|correct|option|choice|letter|answer)\b\W*)*([A-Za-z])[\W_]*',
  re.IGNORECASE,
)
# 'B. green', '(b) green', 'B - green', 'B, because'
_LABEL = re.compile(r'\W*(?:([A-Z])(?:\s*[.):,;]|\s+[-–—]|\s*\Z)|([a-z])[.):])')
_LABELS = re.compile(r"\(([A-Za-z])\)|(?<![\w'’])([A-Z])[.):]")
_LIST = re.compile(
  rf'\b([A-Z]){_UNQUOTES}(?:\s*(?:[,/&;+]|\b(?:and|or|to)\b))+\s*'
  rf"{_QUOTES}([A-Z])(?![\w'’])"
)
# '2', '(2)', '2. green', 'option 2', 'is 2 because'.
_NUMBERED = (
  r'(^[^\w\n]{{0,8}}|\b(?:option|choice|answer|is)[^\w\n]{{1,8}}|[({{]){0}'
  r'(?=[^\w\n]*$|[.):,;]\s|[)}}]|\s+(?:because|since|as)\b)'
)
# 'Of A, B, C and D' names none.
_MANY = re.compile(
  r'\b[A-Z](?:(?:\s*(?:[,/&;]|\band\b|\bor\b))+\s*[A-Z]\b){2,}'
)
_CALLED = re.compile(
  r'\b(?:option|choice|letter|answer)\s+(?:is\s+)?'
  rf'{_QUOTES}([A-Za-z]){_UNQUOTES}(?=[.,;:!?]|\s*\Z|\s+(?:is|was)\b)',
  re.IGNORECASE,
)
_CAPITAL = re.compile(r"\(([A-Za-z])\)|(?<![\w'’\\-])([A-Z])(?![\w'’])")
# 'A' and 'I' before a word are English, unless the word speaks of an option.
_ENGLISH = re.compile(
  r'\s+(?!(?:is|was|because|since|as|and|or|but|for|due|over|rather)\b)[a-z]'
)
# What follows is about other options: 'B because C is too large'.
_ASIDE = re.compile(
  r'\b(?:because|since|while|whereas|although|though|as|given|where)\b.*',
  re.DOTALL | re.IGNORECASE,
)
# The texts of options are one character each while a statement is read.
_TEXTS = {
  letter: chr(0xE000 + i) for i, letter in enumerate(string.ascii_uppercase)
}
_LETTER = rf'(?:\b[A-Z]\b|[\ue000-\ue019]){_UNQUOTES}'
_NAME = _QUOTES + _LETTER
_REJECTED = re.compile(
  r'(?:\b(?:not|neither|except|than|anything but|all but|instead of|unlike'
  r'|eliminate[sd]?|exclude[sd]?|rule[sd]?\s+out)|n[\'’]t)(?:\s+be)?'
  rf'(?:\s+(?:options?|choices?))?\s+{_NAME}'
  # More of them, but not the next statement: 'not A, and B is right'.
  rf'(?:(?:\s*,\s*{_NAME}){{0,8}}(?:\s*,?\s+(?:or|nor|and)\s+(?:not\s+)?{_NAME}'
  r'(?!\s+(?:is|was|must|seems?)\b))+)?'
  rf'|(?:{_LETTER}(?:\s*(?:[,/&]|\band\b|\bor\b)(?:\s*and\b)?\s*{_NAME}){{0,8}}'
  rf'\s+(?:are|were)|{_LETTER}(?:\s+(?:is|was|can|seems?)|\s*:))\s*(?:\w+ly\s+)?'
  r'(?:not|n[o\'’]t|wrong|incorrect|false|out|invalid|eliminated|excluded|ruled'
  r'|impossible|too|an?\s+(?:\w+\s+)?distractor)\b',
  re.IGNORECASE,
)
# 'B and C look plausible, but B is correct'
_AFFIRMED = re.compile(
  rf'\b([A-Z]){_UNQUOTES}\s+(?:is|must\s+be)\s+(?:the\s+)?(?:\w+ly\s+)?'
  r'(?:correct|right|true|best|answer)\b',
  re.IGNORECASE,
)
_CHINESE = re.compile(
  r'(?<=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3])(?=[A-Z])'
  r'|(?<=[A-Z])(?=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3])'
)


def of(row: Mapping[str, Any]) -> dict[str, str]:
  """The options of a question: their texts by capital letter.

  Args:
    row: 'choices' or 'options' is a list of texts, A first, as of MMLU and
      MMLU-Pro; texts by label, as of MedQA; or {'text': [...], 'label':
      [...]}, as of ARC.

  Returns:
    {} where it has neither.
  """
  return dict(zip(string.ascii_uppercase, _listed(row)[0]))


def _listed(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
  """The texts of a question's options, and what it calls them itself."""
  given = row.get('choices') or row.get('options') or []
  labels = [*string.ascii_uppercase[: len(given)]]
  if isinstance(given, Mapping):
    labels = given.get('label', given)
    given = given.get('text', given.values())
  return [*map(str, given)], [*map(str, labels)]


def reference(row: Mapping[str, Any], answer: Any) -> str:
  """The letter of the right option of a question.

  Args:
    row: of the question.
    answer: a letter; an integer, the place in the list of options from 0, as
      of MMLU; the text of an option; or what the question calls it.

  Raises:
    ValueError: it names no option, or these are more than letters.
  """
  texts, labels = _listed(row)
  letters = string.ascii_uppercase
  if len(texts) > len(letters):
    raise ValueError(
      f'{len(texts)} options are more than letters; use at most {len(letters)}'
    )
  if isinstance(answer, int) and not isinstance(answer, bool):
    if 0 <= answer < len(texts):
      return letters[answer]
  elif answer in labels:
    return letters[labels.index(answer)]
  elif answer in texts:
    return letters[texts.index(answer)]
  elif found := chosen(str(answer), of(row)):
    return found
  raise ValueError(
    f'the answer {answer!r} names no option; write a letter, the place in the '
    f'list from 0 as an integer, or one of the options {texts}, which belong '
    "into the field 'choices' or 'options'"
  )


def numbered(row: Mapping[str, Any]) -> dict[str, str]:
  """The letters of options that a question calls by numbers, as ARC may.

  {} where it does not, or where a number may be the text of another option.
  """
  texts, labels = _listed(row)
  if not all(label.isdecimal() for label in labels) or {*texts} & {*labels}:
    return {}
  return dict(zip(labels, string.ascii_uppercase))


def chosen(
  text: str, options: Options, labels: Mapping[str, str] | None = None
) -> str | None:
  """The letter of the option that a response picks.

  Read are the answers that it marks (`answers.marks`), up to the first that
  names an option; without any, a line that is a letter alone, a first line
  that begins with a label such as `B.`, and else the last sentence that names
  an option. A list that repeats the options names none.

  A capital letter that stands alone is a name, unless it is the word 'A' or
  'I' or is rejected ('not B', 'B is wrong'); a small letter is one where
  nothing else stands; and so is the text of an option.

  Args:
    text: a response.
    options: texts by letter; {} allows every letter.
    labels: letters by the numbers that the question calls them, of `numbered`.

  Returns:
    None where no option is named, or where two are.
  """
  for number, letter in (labels or {}).items():
    text = re.sub(
      _NUMBERED.format(number), rf'\g<1>{letter}', text, flags=re.I | re.M
    )
  # A letter beyond the options is an answer, and a wrong one.
  beyond = False
  for mark in answers.marks(text):
    said = answers.inner(mark)
    if found := _named(said, options):
      return _only(found)
    beyond |= _ALONE.fullmatch(said) is not None
  if beyond:
    return None
  text = _without_list(answers.without_reasoning(text))
  lines = [answers.bare(line) for line in text.splitlines() if line.strip()]
  for line in reversed(lines):
    if alone := _letter(_ALONE.fullmatch(_plain(line)), options):
      return alone
  if lines and _letter(_LABEL.match(lines[0]), options):
    return _only(_named(lines[0], options))
  for sentence in reversed(re.split(r'(?<=[.!?])\s+|\n', '\n'.join(lines))):
    found = _named(answers.bare(sentence), options)
    if found:
      return _only(found)
  return None


def _only(letters: set[str]) -> str | None:
  return min(letters) if len(letters) == 1 else None


def _plain(text: str) -> str:
  """Without `\\textbf{}` and the like, three deep; letters stand alone."""
  for _ in range(3):
    text = _STYLE.sub(r' \1 ', text)
  return _CHINESE.sub(' ', text)


def _letter(match: re.Match[str] | None, options: Options) -> str:
  """The letter that a pattern found, '' if it is no option's."""
  letter = next(filter(None, match.groups())).upper() if match else ''
  return letter if not options or letter in options else ''


def _without_list(text: str) -> str:
  """The text without lines whose labels follow each other: A., B., C."""
  lines = text.splitlines()
  labels = [_letter(_LABEL.match(line), {}) for line in lines]
  listed = set()
  for i, (one, other) in enumerate(zip(labels, labels[1:])):
    if one and other and ord(other) == ord(one) + 1:
      listed |= {i, i + 1}
  return '\n'.join(line for i, line in enumerate(lines) if i not in listed)


def _named(text: str, options: Options) -> set[str]:
  """The letters of the options that a statement names."""
  text = _plain(text)
  if alone := _letter(_ALONE.fullmatch(text), options):
    return {alone}
  said = ''.join(text.split()).casefold()
  for letter, option in options.items():
    if ''.join(answers.final(option).split()).casefold() == said:
      return {letter}
  said = _REJECTED.sub(' ', text)
  # 'Vitamin C' is the text of an option, not option C; the longer ones first.
  for letter in sorted(options, key=lambda x: -len(options[x])):
    if len(options[letter]) > 1:
      # 5 is not in 0.5, -5 and 5.5.
      pattern = (
        rf'(?<!\w)(?<!\d[.,])(?<!-(?=\d)){re.escape(options[letter])}'
        r'(?!\w|[.,]\d)'
      )
      said = re.sub(pattern, _TEXTS[letter], said, flags=re.IGNORECASE)
  said = _ASIDE.sub('', _MANY.sub(' ', _REJECTED.sub(' ', said)))
  label = _letter(_LABEL.match(said), options)
  listed = _LIST.search(said)
  if label and not listed:
    labels = {_letter(match, options) for match in _LABELS.finditer(said)}
    if labels <= {label, ''}:
      return {label}
  found = set(listed.groups() if listed else ())
  affirmed = {match[1].upper() for match in _AFFIRMED.finditer(said)}
  if len(affirmed) == 1:
    return {x for x in affirmed if not options or x in options}
  texts = {letter for letter in options if _TEXTS[letter] in said}
  for match in (*_CALLED.finditer(said), *_CAPITAL.finditer(said)):
    word = match.lastindex == 2 and match[2] in 'AI'
    if not (word and _ENGLISH.match(said, match.end())):
      found.add(_letter(match, options))
  found = {x for x in found if x and (not options or x in options)}
  return found or _valued(text, options) or texts


def _valued(text: str, options: Options) -> set[str]:
  """The options that are the number of a statement, if all are numbers."""
  values = {x: numbers.stated(options[x]) for x in options}
  if not values or not all(values.values()):
    return set()
  return {
    x
    for x, value in values.items()
    for one in numbers.stated(text)
    if numbers.same(one, value[0], 1e-6)
  }
