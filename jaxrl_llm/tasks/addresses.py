"""Where questions come from, in one line of a setting.

    PATH[:KEY=VALUE]...

PATH is a file or folder, OWNER/NAME of the Hugging Face hub, or a generated
task; `records` says what each may be. Keys of records are `subset` and `split`,
`rows` (the first ones alone), `prompt` and `answer`, the names of those fields,
and, of a dataset of the hub that is not to be kept whole, `stream`, from a
buffer of how many rows they are drawn, and the `seed` of that; of generated
tasks `rows` (how many), `level`, and every option of the task:

    openai/gsm8k:subset=main:split=train[:1000]:prompt=question
    reasoning_gym:chain_sum:min_terms=2:max_terms=4

Several stand with commas between them. What they hold is one set of questions,
each as likely as any other, unless all have a `weight`: then a source is drawn
as often as its weight says, whatever its size.

    a.jsonl:weight=0.7,b.jsonl:weight=0.3
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_llm import spelling
from jaxrl_llm.tasks import records

# What an address may say of records, and the arguments of who reads them.
_READ = {
  'subset': 'subset',
  'split': 'split',
  'rows': 'rows',
  'prompt': 'prompt_field',
  'answer': 'answer_field',
  'stream': 'stream',
  'seed': 'seed',
}
_COUNTS = ('rows', 'stream', 'seed')
# Arguments of `data.generate` that are no options of a task.
_OURS = {'name', 'size', 'seed', 'part'}
_KEY = re.compile(r'(\w+)=(.*)', re.DOTALL)


class Address(NamedTuple):
  """A source of questions.

  Attributes:
    path: without its keys.
    keys: what stands behind it, by name, as text.
  """

  path: str
  keys: Mapping[str, str]

  @property
  def kind(self) -> str:
    """What holds the questions: file, folder, hub or, if none, generated."""
    if records.on_hub(self.path):
      return 'hub'
    if not records.exists(self.path):
      return 'generated'
    return 'folder' if os.path.isdir(self.path) else 'file'

  @property
  def arguments(self) -> dict[str, Any]:
    """Of `data.load_records` or of `data.generate`, beside the path.

    Raises:
      ValueError: a key that records have not, or a number that is none.
    """
    rows = {'rows': self._count('rows')} if 'rows' in self.keys else {}
    if self.kind == 'generated':
      for key in self.keys.keys() & _OURS:
        raise ValueError(
          f'{self.path}:{key}={self.keys[key]}: {key} is said by the run; take '
          'it out, or say rows=, which is how many questions there are'
        )
      found = {key: _value(text) for key, text in self.keys.items()} | rows
      return {k: value for k, value in found.items() if k != 'weight'}
    for key in self.keys.keys() - _READ.keys() - {'weight'}:
      raise ValueError(
        f'{self.path}:{key}={self.keys[key]}: records have no {key!r}. '
        f'{spelling.suggestion(key, [*_READ, "weight"])}'
      )
    if 'seed' in self.keys and self.keys.get('stream', '1') == '1':
      raise ValueError(
        f'{self.path}:seed={self.keys["seed"]} would do nothing: rows are '
        'drawn from the buffer of a stream; say stream=2 or '
        'more, or leave it out'
      )
    found = {_READ[k]: self.keys[k] for k in _READ if k in self.keys}
    return found | {k: self._count(k) for k in _COUNTS if k in self.keys}

  @property
  def which(self) -> dict[str, Any]:
    """Which records of a dataset of the hub are read, as of `records.read`.

    Of one that is kept whole, all: what is read of it may then change.
    """
    found = {k: self.keys[k] for k in ('subset', 'split') if k in self.keys}
    if 'stream' not in self.keys:
      return found
    return found | {k: self._count(k) for k in _COUNTS if k in self.keys}

  @property
  def name(self) -> str:
    """Of the source, for metrics: the file, folder, dataset or task."""
    if self.kind == 'generated':
      return self.path
    return os.path.splitext(os.path.basename(self.path.rstrip('/')))[0]

  def without(self, key: str) -> Address:
    """The address that says nothing of a key."""
    return Address(self.path, {k: v for k, v in self.keys.items() if k != key})

  def _count(self, key: str) -> int:
    text, least = self.keys[key], 0 if key == 'seed' else 1
    if not text.isdecimal() or int(text) < least:
      raise ValueError(
        f'{self.path}:{key}={text} must be a whole number of at least {least}'
      )
    return int(text)


def training(settings: Any) -> list[Address]:
  """Where the questions to train on come from.

  Args:
    settings: see `data.load`. What they say of all records, or of generated
      tasks, holds where an address says nothing else.

  Raises:
    ValueError: as `parse` does.
  """
  subset, split = settings.subset, settings.split
  return _settled(settings.path, settings, subset=subset, split=split)


def held_out(settings: Any) -> list[Address]:
  """Where those held out come from; none: from where the others do."""
  path = settings.held_out_path
  return beside(path, settings) if path else []


def beside(text: str, settings: Any) -> list[Address]:
  """Where questions come from that are not trained on.

  Raises:
    ValueError: one has a weight, which would do nothing.
  """
  found = _settled(text, settings)
  for address in found:
    if 'weight' in address.keys:
      raise ValueError(
        f'{address.path}:weight={address.keys["weight"]} would do nothing: all '
        'questions that are not trained on are asked; leave it out'
      )
  return found


def _settled(text: str, settings: Any, **where: str) -> list[Address]:
  whole = os.path.exists(text)
  return [
    _with_usual(parse(each), settings, where)
    for each in ([text] if whole else divided(text, ','))
  ]


def _with_usual(address: Address, settings: Any, where) -> Address:
  fields = {'prompt': settings.prompt_field, 'answer': settings.answer_field}
  usual = {k: v for k, v in where.items() if v} | fields
  if address.kind == 'generated':
    usual = {'level': str(settings.level)}
  return Address(address.path, {**usual, **address.keys})


def weights(addresses: Sequence[Address]) -> tuple[float, ...]:
  """How often each source is drawn, as shares that add up to 1; () if none is.

  Raises:
    ValueError: some have a weight and others none, a single source has one, or
      one is no number above 0.
  """
  given = [a.keys['weight'] for a in addresses if 'weight' in a.keys]
  if not given:
    return ()
  if len(given) < len(addresses) or len(addresses) == 1:
    without = [a.path for a in addresses if 'weight' not in a.keys]
    raise ValueError(
      f'weights {", ".join(given)}: '
      + (
        f'{", ".join(without)} has none; give one to every source, or to none'
        if without
        else 'there is one source, which is drawn anyway; leave it out'
      )
    )
  found = [_weight(address) for address in addresses]
  return tuple(weight / math.fsum(found) for weight in found)


def _weight(address: Address) -> float:
  text = address.keys['weight']
  try:
    weight = float(text)
  except ValueError:
    weight = math.nan
  if not 0 < weight < math.inf:
    raise ValueError(
      f'{address.path}:weight={text} must be a number above 0; leave out a '
      'source that is never to be drawn'
    )
  return weight


def parse(text: str) -> Address:
  """The address in a text.

  Raises:
    ValueError: no path, a key given twice, or something else behind them.
  """
  if os.path.exists(text):
    return Address(text, {})
  path: list[str] = []
  keys: dict[str, str] = {}
  for piece in divided(text, ':'):
    key = _KEY.fullmatch(piece)
    if key is None and keys:
      raise ValueError(f'{text}: {piece!r} behind the keys is no KEY=VALUE')
    if key is None:
      path.append(piece)
    elif key[1] in keys:
      raise ValueError(f'{text}: {key[1]} is given twice; leave one out')
    else:
      keys[key[1]] = key[2]
  if not any(path):
    raise ValueError(f'{text!r} names no source of questions; give a path')
  return Address(':'.join(path), keys)


def divided(text: str, mark: str) -> list[str]:
  """Pieces of a text between marks that stand in no brackets or quotes.

  Example:
    >>> divided('task:signs=["+", ":"]:level=2', ':')
    ['task', 'signs=["+", ":"]', 'level=2']
  """
  pieces, depth, quoted = [''], 0, False
  for letter in text:
    quoted ^= letter == '"'
    if not quoted:
      depth += (letter in '([{') - (letter in ')]}')
    if letter == mark and not (quoted or depth > 0):
      pieces.append('')
    else:
      pieces[-1] += letter
  return pieces


def _value(text: str) -> Any:
  """A number, list or the like in JSON; else the text."""
  try:
    return json.loads(text)
  except ValueError:
    return text
