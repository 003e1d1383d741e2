"""Preference data: recorded responses to a prompt, and which are better.

A record holds its `prompt` and one of

    chosen, rejected        two responses
    responses, scores       any number of them, higher is better
    responses, ranks        two or more, 1 is best; equal ranks are ties
    completion, label       one response, desirable (true) or not

A score may be a list of K numbers, one for each label, where all are to be
learned at once. A response is text, or chat messages of which the last is the
assistant's; the messages before it may only repeat the prompt. Where one is
messages, a prompt that is text is the user's. Without a `prompt` it is what the
responses share: the messages before their last, or the text that they begin
with. Rows come out with `responses`, texts, and `scores`, numbers: 1 and 0 for
a pair and for a label, (n - rank) / (n - 1) for ranks, the mean of several
labels, which are `labels`. Generated tasks write their own: the right answer,
and others with symbols in wrong places.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import random
from collections.abc import Mapping
from typing import Any

from jaxrl_llm.tasks import conversations, data

Row = dict[str, Any]
_FORMS = (
  ('chosen', 'rejected'),
  ('responses', 'scores'),
  ('responses', 'ranks'),
  ('completion', 'label'),
)


def load(
  settings: Any,
  *,
  seed: int,
  samples: int,
  labels: int = 1,
  by_policy: bool = False,
) -> tuple[data.Dataset, data.Dataset]:
  """The training and the held-out records that the settings ask for.

  Args:
    settings: as in `data.load`.
    seed: of generated records and of the split.
    samples: G, the most responses to a prompt, and their number in generated
      tasks.
    labels: K, numbers that a score is of.
    by_policy: generated pairs are those of `written_by_policies`.

  Raises:
    ValueError: as `data.load` and `judged` do.
  """

  def read(path, **fields):
    return load_records(path, samples=samples, labels=labels, **fields)

  train, held_out = data.load(settings, seed=seed, read=read)
  if by_policy:
    write = functools.partial(written_by_policies, seed=seed)
  else:
    write = functools.partial(
      written, seed=seed, samples=samples, labels=labels
    )
  return _completed(train, write), _completed(held_out, write)


def load_records(
  path,
  *,
  samples: int,
  labels: int = 1,
  prompt_field: str = 'prompt',
  **fields: Any,
) -> data.Dataset:
  """Records with their responses, read as by `data.load_records`.

  Raises:
    ValueError: as `data.load_records` and `judged` do, with file and line.
  """
  dataset = data.load_records(
    path,
    prompt_field=prompt_field,
    prepared=functools.partial(_with_prompt, field=prompt_field),
    **fields,
  )
  rows = []
  for row, place in zip(dataset.rows, dataset.places):
    prompt, responses, scores = judged(place, row, labels)
    if len(responses) > samples:
      raise ValueError(
        f'{place}: {len(responses)} responses are more than '
        f'recipe.samples={samples}; set it to at least {len(responses)}'
      )
    found = {'prompt': prompt, 'responses': responses}
    rows.append(row | found | _scored(scores, labels))
  return dataclasses.replace(dataset, rows=rows)


def _with_prompt(place: str, record: Row, field: str) -> Row:
  """The record with what its responses share as their prompt, if it has none.

  Raises:
    ValueError: they share nothing, or it is not clear where it ends.

  Source: `extract_prompt` of TRL.
  """
  names = ('chosen', 'rejected')
  if record.get(field) is not None or not set(names) <= record.keys():
    return record
  given = [record[name] for name in names]
  if all(isinstance(response, str) for response in given):
    prompt, rest = _shared_text(place, given)
  else:
    prompt, rest = _shared_messages(place, given)
  return record | {field: prompt} | dict(zip(names, rest))


def _shared_text(place: str, given: list[str]) -> tuple[str, list[str]]:
  prompt = os.path.commonprefix(given)
  # A space before the first word is part of that word.
  prompt = prompt.removesuffix(' ')
  if not prompt or len(set(given)) == 1:
    raise ValueError(
      f'{place}: without a prompt it is the text that the responses begin '
      f'with, and these {"are equal" if prompt else "share none"}; add a '
      'prompt'
    )
  return prompt, [response[len(prompt) :] for response in given]


def _shared_messages(place: str, given: list[Any]):
  talks = [
    conversations.conversation(f'{place}: response {i}', response)
    for i, response in enumerate(given)
  ]
  # The last message of each is its response, whatever it says.
  count = 0
  for same in zip(*(talk[:-1] for talk in talks)):
    if same[0] != same[1]:
      break
    count += 1
  if not count:
    raise ValueError(
      f'{place}: without a prompt it is the messages that the responses begin '
      'with, and these share none; add a prompt'
    )
  return talks[0][:count], [talk[count:] for talk in talks]


def _scored(scores: list[Any], labels: int) -> Row:
  """The fields of scores, which are lists where there are several labels."""
  if labels == 1:
    return {'scores': scores}
  return {'scores': [sum(each) / labels for each in scores], 'labels': scores}


def judged(
  place: str, row: Mapping[str, Any], labels: int = 1
) -> tuple[Any, list[str], list[Any]]:
  """The prompt of a record, its responses as texts, and their scores.

  Args:
    labels: K, of which each score is a list if there are several.

  Raises:
    ValueError: naming the place: none or several of the forms, too few
      responses, another number of scores, scores that are not finite numbers,
      ranks below 1, a label that is neither true nor false, or a response that
      is neither text nor messages.
  """
  forms = [form for form in _FORMS if set(form) <= row.keys()]
  if len(forms) != 1:
    more = (
      '; a completion without a label is a demonstration, for '
      'data.responses=demonstrated'
    )
    raise ValueError(
      f'{place}: a record needs either '
      f'{", or ".join(" and ".join(form) for form in _FORMS)}; this has '
      f'{sorted(row)}{more if "completion" in row else ""}'
    )
  first, second = forms[0]
  if first == 'chosen':
    given, marks = [row['chosen'], row['rejected']], [1, 0]
  elif first == 'completion':
    given, marks = [row['completion']], [_label(place, row['label'])]
  else:
    given, marks = row[first], row[second]
    for name, values in ((first, given), (second, marks)):
      if not isinstance(values, list):
        raise ValueError(f'{place}: {name} must be a list, not {values!r:.60}')
  least = 2 if second == 'ranks' else 1
  if len(given) != len(marks) or len(given) < least:
    raise ValueError(
      f'{place}: {len(given)} responses and {len(marks)} {second}; give '
      f'{"two" if least > 1 else "one"} or more, and one of these each'
    )
  prompt, texts = _said(place, given, row['prompt'])
  if labels > 1:
    return prompt, texts, [_labels(place, mark, labels) for mark in marks]
  scores = [_number(place, second, mark) for mark in marks]
  if second == 'ranks':
    if min(scores) < 1:
      raise ValueError(f'{place}: ranks {marks} must be 1 (the best) or more')
    scores = [(len(scores) - rank) / (len(scores) - 1) for rank in scores]
  return prompt, texts, scores


def _label(place: str, label: Any) -> int:
  if label not in (0, 1):  # True is 1 to Python.
    raise ValueError(f'{place}: label must be true or false, not {label!r}')
  return int(label)


def _labels(place: str, mark: Any, labels: int) -> list[float]:
  if not isinstance(mark, list) or len(mark) != labels:
    raise ValueError(
      f'{place}: a score must be a list of {labels} numbers, one for each of '
      f'the labels, not {mark!r:.60}'
    )
  return [_number(place, 'scores', each) for each in mark]


def _number(place, name, mark) -> float:
  number = isinstance(mark, int | float) and not isinstance(mark, bool)
  if not number or not math.isfinite(mark):
    raise ValueError(f'{place}: {name} must be finite numbers, not {mark!r}')
  return float(mark)


def _said(place: str, given: list[Any], prompt: Any) -> tuple[Any, list[str]]:
  """What the assistant said to a prompt, and the prompt.

  A prompt that is text is the user's where a response is a message.
  """
  texts = []
  for response in given:
    before, text = _parted(place, response)
    if before and prompt != before:
      asked = isinstance(prompt, str) and {'role': 'user', 'content': prompt}
      if before[-1] != asked:
        raise ValueError(
          f'{place}: the messages before a response must be those of the prompt'
        )
      prompt = before
    texts.append(text)
  chats = not all(isinstance(response, str) for response in given)
  if chats and isinstance(prompt, str):
    prompt = [{'role': 'user', 'content': prompt}]
  return prompt, texts


def _parted(place: str, response: Any) -> tuple[list[Mapping[str, Any]], str]:
  """The messages before a response, and its text."""
  if isinstance(response, str):
    return [], response
  talk = response
  if isinstance(response, list) and response:
    talk = conversations.conversation(f'{place}: a response', response)
  if talk is response or talk[-1]['role'] != 'assistant':
    raise ValueError(
      f'{place}: a response must be text, or messages that end with one of '
      f'the assistant, not {str(response)[:60]!r}'
    )
  if talk[-1].get('tool_calls'):
    raise ValueError(
      f'{place}: a response calls tools apart from its text; write the call '
      'into its content as the model does'
    )
  return talk[:-1], talk[-1]['content']


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


def referred(dataset: data.Dataset, mark: str) -> data.Dataset:
  """Responses as what a policy discriminator reads: a reference, a mark, one.

  The reference is the field `reference` of a record, else its answer.

  Args:
    mark: text between the two, as a rule the tokenizer's end of a text.

  Raises:
    ValueError: a record without a reference.
  """
  rows = []
  for row in dataset.rows:
    reference = row.get('reference', row.get('answer'))
    if not isinstance(reference, str) or not reference:
      raise ValueError(
        f'{dataset.name}: a policy discriminator compares responses with a '
        f'reference; the record of {str(row["prompt"])[:60]!r} has none. Add '
        'the text of one to the field "reference"'
      )
    responses = [
      f'{reference.removesuffix(mark)}{mark}{said.removesuffix(mark)}'
      for said in row['responses']
    ]
    rows.append(row | {'responses': responses})
  return dataclasses.replace(dataset, rows=rows)


def _completed(dataset: data.Dataset, write) -> data.Dataset:
  """A generated dataset with its responses; a read one as it is."""
  rows = [
    row if 'responses' in row else row | write(row) for row in dataset.rows
  ]
  return dataclasses.replace(dataset, rows=rows)


def written_by_policies(row: Mapping[str, Any], seed: int) -> Row:
  """Two responses, of which one is by the policy that wrote the reference.

  Policy k exchanges k pairs of different symbols of the right answer, k from 0
  to 3. The first two texts of one policy are `reference` and a response of
  score 1, that of another policy scores 0; their order is random.

  Args:
    row: with a `prompt` and the text of its `answer`.
    seed: with the prompt, of all that is random.

  Source: POLAR, arXiv 2507.05197, section 3.1: a trajectory of the same policy
    is the better one.
  """
  rng = random.Random(f'{seed}/{row["prompt"]}')
  own, other = rng.sample(range(4), 2)

  def said(count):
    text = row['answer']
    for _ in range(count):
      text = _exchanged(rng, text, row['answer'])
    return text

  pair = [(said(own), 1.0), (said(other), 0.0)]
  rng.shuffle(pair)
  texts, scores = map(list, zip(*pair))
  return {'reference': said(own), 'responses': texts, 'scores': scores}


def written(
  row: Mapping[str, Any], seed: int, samples: int, labels: int = 1
) -> Row:
  """The right answer to a generated question, and wrong ones.

  Response k has k pairs of different symbols exchanged, so that it is wrong
  and later ones tend to be worse; an answer of equal symbols is repeated k
  more times. Its score is the share of symbols in their right place; a pair
  is scored 1 and 0, and a single response is one of a pair. Label k of several
  is that share of the k-th of as many parts of the answer. The order is random,
  or a model could learn that.

  Args:
    row: with a `prompt` and the text of its `answer`.
    seed: with the prompt, of all that is random.
    samples: responses. labels: K.
  """
  rng = random.Random(f'{seed}/{row["prompt"]}')
  answer, count = row['answer'], max(samples, 2)
  texts = [answer]
  for _ in range(count - 1):
    texts.append(_exchanged(rng, texts[-1], answer))
  scores: list[Any] = [1.0, 0.0]
  if labels > 1:
    scores = [_by_part(text, answer, labels) for text in texts]
  elif count > 2:
    scores = [_agreement(text, answer) for text in texts]
  order = rng.sample(range(count), count)[:samples]
  found = _scored([scores[i] for i in order], labels)
  return {'responses': [texts[i] for i in order], **found}


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


def _by_part(text: str, answer: str, parts: int) -> list[float]:
  ends = [len(answer) * part // parts for part in range(parts)]
  ends.append(max(len(text), len(answer)))
  return [_agreement(text[a:b], answer[a:b]) for a, b in zip(ends, ends[1:])]


def _agreement(text: str, answer: str) -> float:
  same = sum(a == b for a, b in zip(text, answer))
  return same / max(len(text), len(answer), 1)
