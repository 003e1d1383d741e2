"""Preference data: recorded responses to a prompt, and which are better.

A record of a JSONL file holds its `prompt` and one of

    chosen, rejected        two responses
    responses, scores       any number of them, higher is better
    responses, ranks        likewise, 1 is best; equal ranks are ties

A response is text, or chat messages of which the last is the assistant's; the
messages before it may only repeat the prompt. Rows come out with `responses`,
texts, and `scores`, numbers: 1 and 0 for a pair, (n - rank) / (n - 1) for
ranks. Generated tasks write their own: the right answer, and others with
symbols in wrong places.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Any

from jaxrl_llm.tasks import data

Row = dict[str, Any]
_FORMS = 'chosen and rejected, responses and scores, or responses and ranks'


def load(
  settings: Any, *, seed: int, samples: int
) -> tuple[data.Dataset, data.Dataset]:
  """The training and the held-out records that the settings ask for.

  Args:
    settings: as in `data.load`.
    seed: of generated records and of the split.
    samples: G, the most responses to a prompt, and their number in generated
      tasks.

  Raises:
    ValueError: as `data.load` and `judged` do.
  """

  def read(path, **fields):
    return load_jsonl(path, samples=samples, **fields)

  parts = data.load(settings, seed=seed, read=read)
  return tuple(_completed(part, seed, samples) for part in parts)


def load_jsonl(path, *, samples: int, **fields: str) -> data.Dataset:
  """Records of a JSONL file, or of a folder of them, as `data.load_jsonl`.

  Raises:
    ValueError: as `data.load_jsonl` and `judged` do, with file and line.
  """
  dataset = data.load_jsonl(path, **fields)
  rows = []
  for row, (place, _, _) in zip(dataset.rows, data.read_records(path)):
    responses, scores = judged(place, row)
    if len(responses) > samples:
      raise ValueError(
        f'{place}: {len(responses)} responses are more than '
        f'recipe.samples={samples}; set it to at least {len(responses)}'
      )
    rows.append(row | {'responses': responses, 'scores': scores})
  return dataclasses.replace(dataset, rows=rows)


def judged(place: str, row: Mapping[str, Any]) -> tuple[list[str], list[float]]:
  """The responses of a record as texts, and their scores.

  Raises:
    ValueError: naming the place: none or several of the three forms, one
      response only, another number of scores, scores that are not finite
      numbers, ranks below 1, or a response that is neither text nor messages.
  """
  forms = [
    form
    for form in (('chosen', 'rejected'), ('responses', 'scores'),
                 ('responses', 'ranks'))
    if set(form) <= row.keys()
  ]  # fmt: skip
  if len(forms) != 1:
    raise ValueError(
      f'{place}: a record needs either {_FORMS}; this has {sorted(row)}'
    )
  first, second = forms[0]
  if first == 'chosen':
    given, marks = [row['chosen'], row['rejected']], [1, 0]
  else:
    given, marks = row[first], row[second]
    for name, values in ((first, given), (second, marks)):
      if not isinstance(values, list):
        raise ValueError(f'{place}: {name} must be a list, not {values!r:.60}')
  if len(given) != len(marks) or len(given) < 2:
    raise ValueError(
      f'{place}: {len(given)} responses and {len(marks)} {second}; give two '
      'or more, and one of these each'
    )
  texts = [_text(place, response, row['prompt']) for response in given]
  scores = [_number(place, second, mark) for mark in marks]
  if second == 'ranks':
    if min(scores) < 1:
      raise ValueError(f'{place}: ranks {marks} must be 1 (the best) or more')
    scores = [(len(scores) - rank) / (len(scores) - 1) for rank in scores]
  return texts, scores


def _number(place, name, mark) -> float:
  number = isinstance(mark, int | float) and not isinstance(mark, bool)
  if not number or not math.isfinite(mark):
    raise ValueError(f'{place}: {name} must be finite numbers, not {mark!r}')
  return float(mark)


def _text(place: str, response: Any, prompt: Any) -> str:
  """What the assistant said."""
  if isinstance(response, str):
    return response
  messages = response if isinstance(response, list) and response else [None]
  last, before = messages[-1], messages[:-1]
  said = isinstance(last, dict) and last.get('role') == 'assistant'
  if not said or not isinstance(last.get('content'), str):
    raise ValueError(
      f'{place}: a response must be text, or messages that end with one of '
      f'the assistant, not {str(response)[:60]!r}'
    )
  asked = prompt
  if isinstance(prompt, str):
    asked = [{'role': 'user', 'content': prompt}]
  if before and before != asked:
    raise ValueError(
      f'{place}: the messages before a response must be those of the prompt'
    )
  return last['content']


def compared(dataset: data.Dataset, mark: str) -> data.Dataset:
  """Pairs as what a preference model reads: a response, a mark, its rival.

  Args:
    mark: text between the two, as a rule the tokenizer's end of a text.

  Raises:
    ValueError: a record without exactly two responses.
  """
  rows = []
  for row in dataset.rows:
    if len(row['responses']) != 2:
      raise ValueError(
        f'{dataset.name}: a preference model compares two responses; the '
        f'record of {str(row["prompt"])[:60]!r} has {len(row["responses"])}'
      )
    # One may bring the mark that ends it.
    first, second = (said.removesuffix(mark) for said in row['responses'])
    responses = [f'{first}{mark}{second}', f'{second}{mark}{first}']
    rows.append(row | {'responses': responses})
  return dataclasses.replace(dataset, rows=rows)


def _completed(dataset: data.Dataset, seed: int, samples: int) -> data.Dataset:
  """A generated dataset with its responses; a read one as it is."""
  rows = [
    row if 'responses' in row else row | written(row, seed, samples)
    for row in dataset.rows
  ]
  return dataclasses.replace(dataset, rows=rows)


def written(row: Mapping[str, Any], seed: int, samples: int) -> Row:
  """The right answer to a generated question, and wrong ones.

  Response k has k pairs of different symbols exchanged, so that it is wrong
  and later ones tend to be worse; an answer of equal symbols is repeated k
  more times. Its score is the share of symbols in their right place; a pair
  is scored 1 and 0. The order is random, or a model could learn that.

  Args:
    row: with a `prompt` and the text of its `answer`.
    seed: with the prompt, of all that is random.
    samples: responses, at least 2.
  """
  rng = random.Random(f'{seed}/{row["prompt"]}')
  answer = row['answer']
  texts = [answer]
  for _ in range(samples - 1):
    texts.append(_exchanged(rng, texts[-1], answer))
  scores = [1.0, 0.0]
  if samples > 2:
    scores = [_agreement(text, answer) for text in texts]
  order = rng.sample(range(samples), samples)
  return {
    'responses': [texts[i] for i in order],
    'scores': [scores[i] for i in order],
  }


def _exchanged(rng: random.Random, text: str, answer: str) -> str:
  """The text with two different symbols exchanged, and not the answer."""
  pairs = [
    (i, j) for j in range(len(text)) for i in range(j) if text[i] != text[j]
  ]
  rng.shuffle(pairs)
  for i, j in pairs:
    symbols = list(text)
    symbols[i], symbols[j] = symbols[j], symbols[i]
    if symbols != list(answer):
      return ''.join(symbols)
  return text + answer


def _agreement(text: str, answer: str) -> float:
  same = sum(a == b for a, b in zip(text, answer))
  return same / max(len(text), len(answer), 1)
