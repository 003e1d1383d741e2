"""Verifiers by name: functions from responses and rows to scores.

    f(responses: list[str], rows: list[dict], **options) -> list[float]

One score per response, any unit, higher is better. A verifier is named by a
key of `BUILTINS`, by such a key and its parameter (`numeric:0.01`,
`format:<think>.*</think>`), or by an import path `package.module:function`;
`label=` before any of these names its scores. It may raise: the row is then
masked and counted. This module needs the standard library alone, because
verifier processes import it.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxrl_llm import spelling
from jaxrl_llm.tasks import answers, imports, numbers, options, sandbox

Rows = Sequence[Mapping[str, Any]]

BUILTINS = {
  'exact': 'jaxrl_llm.tasks.verifiers:exact',
  'numeric': 'jaxrl_llm.tasks.verifiers:numeric',
  'multiple_choice': 'jaxrl_llm.tasks.verifiers:multiple_choice',
  'listed': 'jaxrl_llm.tasks.verifiers:listed',
  'format': 'jaxrl_llm.tasks.verifiers:matches',
  'math': 'jaxrl_llm.tasks.symbolic:equal',
  'reasoning_gym': 'jaxrl_llm.tasks.gym:score',
  'countdown': 'jaxrl_llm.tasks.expressions:countdown_score',
  'returned': 'jaxrl_llm.tasks.verifiers:returned',
  'code': 'jaxrl_llm.tasks.programs:score',
  'action': 'jaxrl_llm.tasks.structured:action',
  'place': 'jaxrl_llm.tasks.structured:place',
  'faster': 'jaxrl_llm.tasks.programs:faster',
  'first_error': 'jaxrl_llm.tasks.structured:first_error',
  'reflected': 'jaxrl_llm.tasks.structured:reflected',
  'roles': 'jaxrl_llm.tasks.structured:roles',
  'same_call': 'jaxrl_llm.tasks.structured:same_call',
  'several': 'jaxrl_llm.tasks.structured:several',
  'verdict': 'jaxrl_llm.tasks.structured:verdict',
}


def _pattern(text: str) -> str:
  re.compile(text)
  return text


def _seconds(text: str) -> float:
  seconds = float(text)
  if not 0 < seconds < math.inf:
    raise ValueError(f'{text} s; use more than 0, and a finite number')
  return seconds


# The one parameter that may follow the name: its keyword, and its type.
PARAMETERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
  'code': ('seconds', _seconds),
  'faster': ('seconds', _seconds),
  'format': ('pattern', _pattern),
  'numeric': ('tolerance', float),
  'verdict': ('pattern', _pattern),
}
# Linear in the response and unable to hang: no process is worth its cost.
# `format` is not among them, because a pattern may backtrack for ever.
INLINE = frozenset(
  {'exact', 'numeric', 'multiple_choice', 'listed', 'countdown', 'returned'}
)
# Judges of whole batches, which the run itself loads: `reward_model:FOLDER`, or
# several folders with commas between them.
MODELS = frozenset(
  {
    'reward_model',
    'reward_model_worst',
    'reward_model_uncertain',
    'reaction_model',
    'preference_model',
    'policy_discriminator',
  }
)
# What a verifier that takes whole batches is marked with.
_BATCHED = 'takes_batches'
_LABEL = re.compile(r'([A-Za-z_]\w*)=(?=.)')
# Of what a model says: the number behind the last @.
_OUTPUT = re.compile(r'(.*)@([0-9]+)', re.DOTALL)


def exact(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where the response's final answer equals one of the row's, else 0.

  Final answers are those of `answers.final`: the marked one, or the whole
  text; runs of white space count as one space, case matters.

  Raises:
    ValueError: a row's answer is empty, or neither text nor number.

  Example:
    >>> exact(['so #### 7', '8'], [{'answer': '7'}, {'answer': 7}])
    [1.0, 0.0]
  """
  return [
    float(_text(response) in map(_text, answers.accepted(row)))
    for response, row in zip(responses, rows, strict=True)
  ]


def _text(text: str) -> str:
  """A final answer; a sentence loses the sign at its end, so all words do."""
  return re.sub(r'(?<=[^\W\d_]{2})[!?]+\Z', '', answers.final(text))


def numeric(
  responses: Sequence[str], rows: Rows, *, tolerance: float = 1e-6
) -> list[float]:
  """1 where the response's number equals one of the row's, else 0.

      x = a  if both are integers,  else  |x - a| <= tolerance * max(1, |a|)

  Args:
    responses: read by `answers.number`; one without a number scores 0.
    rows: their 'answer' states one number. Where one of the two has a percent
      sign and the other has none, 50% is both 50 and 0.5.
    tolerance: of numbers that are not integers.

  Raises:
    ValueError: a row's answer holds no number.

  Example:
    >>> numeric(['It is 1,200.', 'about 12'], [{'answer': '1200'}] * 2)
    [1.0, 0.0]
  """
  return [
    float(
      any(
        _same_number(answers.number(response), answer, tolerance)
        for answer in answers.accepted(row)
      )
    )
    for response, row in zip(responses, rows, strict=True)
  ]


def _same_number(
  found: Sequence[numbers.Number], answer: str, tolerance: float
) -> bool:
  right = numbers.stated(answers.final(answer))
  if not right:
    raise ValueError(
      f'the answer {answer!r} holds no number; use the verifier exact or math'
    )
  return any(numbers.same(x, a, tolerance) for x in found for a in right)


def multiple_choice(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where the response picks an option that is right, else 0.

  Args:
    responses: read by `options.chosen`.
    rows: 'answer' names an option as in `options.reference`, or is a list of
      those that are right; the options are in 'choices' or 'options'.

  Raises:
    ValueError: the row's answer names no option.

  Example:
    >>> row = {'answer': 'B', 'choices': ['red', 'blue']}
    >>> multiple_choice(['The answer is (B).', 'A'], [row, row])
    [1.0, 0.0]
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    answer = row['answer']
    given = answer if isinstance(answer, list) else [answer]
    right = [options.reference(row, one) for one in given]
    said = options.chosen(response, options.of(row), options.numbered(row))
    scores.append(float(said in right))
  return scores


def listed(responses: Sequence[str], rows: Rows) -> list[float]:
  """1 where the final answer is one of the row's 'choices', else 0."""
  return [
    float(answers.final(response) in map(answers.final, row['choices']))
    for response, row in zip(responses, rows, strict=True)
  ]


def matches(
  responses: Sequence[str], rows: Rows, *, pattern: str
) -> list[float]:
  """1 where the regular expression is found in the response, else 0.

  Args:
    responses: whole texts; `.` also matches a line break.
    rows: unused but for their number.
    pattern: of `re.search`; anchor it with `\\A` and `\\Z` to match all.

  Example:
    >>> texts = ['<think> 1 </think> 2', '2']
    >>> matches(texts, [{}, {}], pattern='<think>.*</think>')
    [1.0, 0.0]
  """
  expression = re.compile(pattern, re.DOTALL)
  return [
    float(expression.search(response) is not None)
    for response, _ in zip(responses, rows, strict=True)
  ]


def returned(responses: Sequence[str], rows: Rows) -> list[float]:
  """What an environment gave in all, as a plan of episodes writes it.

  Args:
    responses: unused but for their number.
    rows: 'return' is the sum of an episode's rewards.

  Raises:
    KeyError: nothing was returned: the response is no episode.
  """
  return [float(row['return']) for _, row in zip(responses, rows, strict=True)]


def without_label(spec: str) -> str:
  """The verifier itself: `label=verifier` is `verifier`."""
  label = _LABEL.match(spec)
  return spec[label.end() :] if label else spec


def name_of(spec: str) -> str:
  """The label, or the name without its parameter: what metrics are called."""
  label = _LABEL.match(spec)
  if label:
    return label[1]
  name, _, rest = spec.partition(':')
  return name if name in BUILTINS or name in MODELS else rest or name


def is_inline(spec: str) -> bool:
  """Whether a verifier needs no process of its own."""
  return name_of(without_label(spec)) in INLINE or is_model(spec)


def is_model(spec: str) -> bool:
  """Whether a verifier is a reward model."""
  return name_of(without_label(spec)) in MODELS


def folders_of(spec: str) -> tuple[list[str], str]:
  """The folders of a reward model, and the number of its label, '' for all.

  Example:
    >>> folders_of('safe=reward_model:a@b/1,c@0')
    (['a@b/1', 'c'], '0')
  """
  rest = without_label(spec).partition(':')[2]
  found = _OUTPUT.fullmatch(rest)
  folders, label = found.groups() if found else (rest, '')
  return [*filter(None, folders.split(','))], label


@functools.cache
def resolve(spec: str) -> Callable[..., Any]:
  """The function behind a verifier's name.

  Raises:
    ValueError: unknown name, module or function, with the nearest known; a
      missing, unwanted or malformed parameter.
    sandbox.Unavailable: programs are to be run and cannot be isolated here.
  """
  spec = without_label(spec)
  name, colon, parameter = spec.partition(':')
  if name not in BUILTINS:
    if colon and parameter:
      return imports.imported(f'verifier {spec!r}', spec)
    near = spelling.nearest(name, BUILTINS)
    raise ValueError(
      f'unknown verifier {spec!r}; '
      + (f'did you mean {near!r}? ' if near else '')
      + f'known: {", ".join(sorted(BUILTINS))}, or package.module:function'
    )
  function = imports.imported(f'verifier {spec!r}', BUILTINS[name])
  if name in ('code', 'faster'):
    sandbox.require()
  if not colon:
    if name == 'format':
      raise ValueError(
        "verifier 'format' needs its pattern, as in 'format:<think>.*</think>'"
      )
    return function
  if name not in PARAMETERS:
    raise ValueError(f'verifier {name!r} takes no parameter, got {spec!r}')
  keyword, convert = PARAMETERS[name]
  try:
    value = convert(parameter)
  except (ValueError, re.error) as error:
    raise ValueError(f'verifier {spec!r}: bad {keyword}: {error}') from error
  return functools.partial(function, **{keyword: value})


def own_seconds(spec: str) -> float:
  """The time a built-in gives a response by itself, 0 where it gives none."""
  function = resolve(spec)
  if without_label(spec).partition(':')[0] not in BUILTINS:
    return 0.0
  option = inspect.signature(function).parameters.get('seconds')
  return option.default if option else 0.0


def score(spec: str, response: Any, row: Any) -> tuple[str, Any, str]:
  """Scores one response and survives whatever the verifier does.

  Args:
    response: of the policy, or several in a list, for `score_all`.
    row: of its question, or as many.

  Returns:
    (kind, score, detail): kind is 'ok', 'errors' (it raised, or did not
    return one number) or 'nan' (not finite); the score is 0 unless 'ok'.
  """
  if isinstance(row, list):
    return score_all(spec, response, row)
  kind, values, detail = score_all(spec, [response], [row])
  if kind == 'ok':
    [value] = values
    return judged(value)
  return kind, 0.0, detail


def score_all(
  spec: str, responses: Sequence[str], rows: Rows
) -> tuple[str, list[float], str]:
  """Scores N responses in one call, and survives whatever the verifier does.

  Returns:
    (kind, scores, detail): kind is 'ok', or 'errors' (it raised, or did not
    return N numbers); no scores then. They need not be finite.
  """
  try:
    scores = resolve(spec)(responses, rows)
    if len(scores) != len(rows):
      count = f'{len(rows)} response{"s" * (len(rows) > 1)}'
      return 'errors', [], f'{len(scores)} scores for {count}'
    return 'ok', [float(value) for value in scores], ''
  # SystemExit too: a verifier that calls sys.exit() has failed on these rows.
  except (Exception, SystemExit) as error:
    return 'errors', [], f'{type(error).__name__}: {error}'


def judged(value: float) -> tuple[str, float, str]:
  """A score of a verifier as what comes of it, see `score`."""
  if not math.isfinite(value):
    return 'nan', 0.0, f'score {value}'
  return 'ok', value, ''


def batched(function: Callable[..., Any]) -> Callable[..., Any]:
  """Marks a verifier that is given all rows of a batch in one call.

  Example:
    >>> @batched
    ... def longest(responses, rows):
    ...   most = max(map(len, responses))
    ...   return [float(len(response) == most) for response in responses]
    >>> longest(['a', 'bc'], [{}, {}])
    [0.0, 1.0]
  """
  setattr(function, _BATCHED, True)
  return function


def is_batched(spec: str) -> bool:
  """Whether a verifier is marked as `batched`.

  Raises:
    ValueError: as `resolve` does.
  """
  return not is_model(spec) and getattr(resolve(spec), _BATCHED, False)
