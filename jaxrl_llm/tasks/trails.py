"""What is asked of documents: of a folder of yours, or of made-up books.

A book is a folder of 26 documents, one a letter, `k.txt` of which may be

    k
    71m

Road 71 leads from k to m. `k7130=` asks where one comes by road 71 and then by
30, two hops, of which `m.txt` says the second. Nobody can know it of a book
without searching it. The standard library alone, as in `toys`.
"""

from __future__ import annotations

import functools
import os
import pathlib
import random
import re
import string
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import folders

Row = dict[str, Any]
# What a model of somebody else's is told; of books it is told less.
_ASKED = (
  'Write one question and its answer about this document. To get from what the '
  'question names to the answer must take {hops} steps, of which each but the '
  'first needs a search. Search for what you need, then end with\n'
  '<question>...</question><answer>...</answer>\n\n'
  'Document {name}:\n{text}'
)
# Books that proposers are shown, and those of which nothing is proposed.
_SHOWN, _KEPT = range(64), range(64, 72)


def document(
  rng: random.Random, *, folder: str = '', hops: int = 4, limit: int = 1000
) -> Row:
  """A passage of a folder, of which somebody is to ask a question.

  The number of `hops` is drawn in the ratios of Dr. Zero, n : ... : 2 : 1.

  Args:
    rng: source of randomness.
    folder: of documents; '' for a book. hops: at most.
    limit: characters of a passage that are shown.

  Raises:
    FileNotFoundError, ValueError: as of `folders.passages`.
  """
  folder = folder or book(0)
  name, text = rng.choice(folders.passages(folder))
  taken, shown = _hops(rng, hops), text[:limit]
  return {
    'prompt': _ASKED.format(hops=taken, name=name, text=shown),
    # Its name, which somebody must find who is asked the prompt itself.
    'answer': name,
    'document': shown,
    'documents': folder,
    'hops': taken,
  }


def trail(rng: random.Random, *, hops: int = 2, careless: float = 0.0) -> Row:
  """A document of a book, of which somebody is to ask: `k 71m 2:`.

  Who asks `k7130=w` has searched for m. A careless teacher has not and guesses.

  Args:
    rng: source of randomness.
    hops: at most. careless: probability that the demonstration is a guess.
  """
  return _row(rng, _SHOWN, hops, careless, asks=True)


def walk(
  rng: random.Random,
  *,
  hops: int = 2,
  careless: float = 0.0,
  kept: bool = False,
) -> Row:
  """A question about a book: `k7130=`, answered by two searches and `w`.

  Args:
    rng: source of randomness.
    hops: at most. careless: probability that the demonstration is a guess.
    kept: of the books of which `trail` shows nothing.
  """
  return _row(rng, _KEPT if kept else _SHOWN, hops, careless, asks=False)


def _hops(rng: random.Random, most: int) -> int:
  if most < 1:
    raise ValueError(f'hops={most} must be at least 1')
  return rng.choices(range(1, most + 1), range(most, 0, -1))[0]


def _row(rng, books: Sequence[int], hops, careless, *, asks: bool) -> Row:
  number = rng.choice(books)
  roads = _roads(number)
  taken = _hops(rng, hops)
  met, ways = [rng.choice(string.ascii_lowercase)], ''
  for _ in range(taken):
    road = roads[met[-1]]
    met.append(road[-1])
    ways += road[:-1]
  # Who asks has read the first document.
  searched, answer = met[asks:-1], met[-1]
  if rng.random() < careless:
    searched, answer = [], rng.choice(string.ascii_lowercase)
  first, question = f'{met[0]} {roads[met[0]]}', f'{met[0]}{ways}='
  return {
    'prompt': f'{first} {taken}:' if asks else question,
    'answer': question + met[-1] if asks else met[-1],
    'demonstration': [
      *(message for name in searched for message in _search(roads, name)),
      {'role': 'assistant', 'content': question * asks + answer},
    ],
    'document': first,
    'documents': book(number),
    'hops': taken,
  }


def _search(roads, name) -> Sequence[Row]:
  """A search for a letter, and what it finds."""
  function = {'name': 'search', 'arguments': {'query': name}}
  call = {'id': 'call00000', 'type': 'function', 'function': function}
  found = f'{name}.txt: {name}\n{roads[name]}'
  return (
    {'role': 'assistant', 'content': '', 'tool_calls': [call]},
    {'role': 'tool', 'name': 'search', 'content': found},
  )


@functools.cache
def _roads(number: int) -> Mapping[str, str]:
  """The road from each letter of a book and where it leads, as `71m`.

  One comes back to a letter after all others.
  """
  rng = random.Random(number)
  order = rng.sample(string.ascii_lowercase, 26)
  after = [*order[1:], order[0]]
  return {name: f'{rng.randint(10, 99)}{to}' for name, to in zip(order, after)}


@functools.cache
def book(number: int) -> str:
  """The folder of a book, written where it is not there."""
  roads = _roads(number)
  texts = {name: f'{name}\n{road}\n' for name, road in roads.items()}
  shelf = pathlib.Path(tempfile.gettempdir()) / f'jaxrl_llm-{os.getuid()}'
  # Other books of the same number, of another version, stay others.
  mark = zlib.crc32(''.join(texts.values()).encode())
  folder = shelf / f'book-{number}-{mark:08x}'
  if not folder.exists():
    shelf.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(dir=shelf))
    for name, text in texts.items():
      (made / f'{name}.txt').write_text(text)
    try:
      made.rename(folder)
    except OSError:
      # Another process was faster.
      if not folder.exists():
        raise
  return str(folder)


def asked(text: str) -> tuple[str, str] | None:
  """The question and the answer in what is asked of a book, or neither.

  Example:
    >>> asked('k7130=w')
    ('k7130=', 'w')
  """
  found = re.fullmatch(r'([a-z][0-9]+=)([a-z])', text)
  return (found[1], found[2]) if found else None
