"""Datasets: questions with checkable answers, from files and generators.

Rows are plain dicts with 'prompt' (text or chat messages), 'answer', and any
other field; a verifier gets them whole. A question belongs to training or to
the held-out set by its own text, so that the two never share one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import json
import pathlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm import spelling
from jaxrl_llm.tasks import (
  addresses,
  conversations,
  generated,
  numbers,
  options,
  records,
)

Row = dict[str, Any]
PARTS = ('train', 'held_out')
# Of 256: which question hashes are held out by generated tasks.
_HELD_OUT_BYTES = 64
# Questions drawn in vain before a generated task is called exhausted.
_MAX_REPEATS = 2000
_GYM = 'reasoning_gym:'


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Questions, in a fixed order.

  Attributes:
    name: for messages.
    rows: A dicts with 'prompt', 'answer' and any other field.
    domain: i32[A], index into `domains` of the source of a row.
    domains: names of the sources.
    verifier: the verifier that fits, '' when only the user can know.
    places: 'file:line' of each row, () for generated ones.
    weights: how often each domain is drawn, () if every row is as likely.
  """

  name: str
  rows: Sequence[Row]
  domain: np.ndarray
  domains: tuple[str, ...]
  verifier: str = ''
  places: Sequence[str] = ()
  weights: tuple[float, ...] = ()

  def __post_init__(self):
    if not self.rows:
      raise ValueError(
        f'dataset {self.name} is empty: it holds no record; give another '
        'data.path'
      )
    if len(self.domain) != len(self.rows):
      raise ValueError(
        f'dataset {self.name} has {len(self.rows)} rows and '
        f'{len(self.domain)} domain ids'
      )

  def __len__(self) -> int:
    return len(self.rows)

  def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
    """The dataset of some rows, in the given order."""
    return dataclasses.replace(
      self,
      rows=[self.rows[i] for i in indices],
      domain=self.domain[np.asarray(indices, int)],
      places=[self.places[i] for i in indices] if self.places else (),
    )

  def place(self, row: int) -> str:
    """Where a row comes from, for messages."""
    return self.places[row] if self.places else f'{self.name}, question {row}'


def load(
  settings: Any, *, seed: int, read: Callable[..., Dataset] | None = None
) -> tuple[Dataset, Dataset]:
  """The training and the held-out questions that the settings ask for.

  Args:
    settings: with attributes `path` and `held_out_path`, see `addresses`;
      `level` (generated tasks), `size` (their training rows), `held_out`
      (rows, shared evenly by several sources), `subset` and `split` (of
      `path`), `prompt_field` and `answer_field` (of records).
    seed: of generated questions and of the split.
    read: of records, in place of `load_records`.

  Raises:
    ValueError: as `addresses.parse`, `generate`, `read` and `split` do.
  """
  read = read or load_records
  sources, others = addresses.training(settings), addresses.held_out(settings)
  shares = addresses.weights(sources)
  if others:
    train = [_asked(a, settings.size, 'train', seed, read) for a in sources]
    held_out = [
      _asked(a, settings.held_out, 'held_out', seed, read) for a in others
    ]
  else:
    counts = _counts(settings.held_out, len(sources))
    both = [
      _both(address, settings.size, count, seed, read)
      for address, count in zip(sources, counts)
    ]
    train, held_out = map(list, zip(*both))
  questions = joined([a.name for a in sources], train, shares)
  away = joined([a.name for a in others or sources], held_out)
  return without(questions, away), away


def at(text: str, settings: Any, *, seed: int) -> Dataset:
  """All questions at the addresses in a text, none of them for training.

  Args:
    text: see `addresses`.
    settings: as in `load`, of which those of training alone are not read;
      `held_out` is how many are generated where an address says nothing else.

  Raises:
    ValueError: as `load` does.
  """
  sources = addresses.beside(text, settings)
  found = [
    _asked(each, settings.held_out, 'held_out', seed, load_records)
    for each in sources
  ]
  return joined([each.name for each in sources], found)


def _counts(total: int, parts: int) -> list[int]:
  """A number in parts that differ by 1 at most.

  Raises:
    ValueError: there are more parts than that.
  """
  if total < parts:
    raise ValueError(
      f'data.held_out={total} questions cannot be held out of {parts} sources; '
      'hold out one of each at least, or give data.held_out_path'
    )
  return [total // parts + (i < total % parts) for i in range(parts)]


def _both(address, size, held_out, seed, read) -> tuple[Dataset, Dataset]:
  """The questions at an address, and those of it that are held out."""
  train = _asked(address, size, 'train', seed, read)
  if address.kind != 'generated':
    return split(train, held_out, seed=seed)
  same = address.without('rows')
  return train, _asked(same, held_out, 'held_out', seed, read)


def _asked(address, size, part, seed, read) -> Dataset:
  """The questions at an address; `size` generated ones, if it says no other."""
  arguments = address.arguments
  if address.kind != 'generated':
    return read(address.path, **arguments)
  size = arguments.pop('rows', size)
  return generate(address.path, size, seed=seed, part=part, **arguments)


def joined(
  names: Sequence[str],
  parts: Sequence[Dataset],
  shares: Sequence[float] = (),
) -> Dataset:
  """The questions of several sources, one source behind the other.

  Args:
    names: of the sources, before the names of their domains where one has
      several.
    parts: as many datasets; one alone is what comes out.
    shares: of each source in what is drawn, () if every question is as likely.
      The domains of a source are drawn as often as their rows are.

  Raises:
    ValueError: two sources of one name.
  """
  if len(parts) == 1:
    return parts[0]
  if len(set(names)) < len(names):
    raise ValueError(
      f'the sources {", ".join(names)} are not all of different names, by '
      'which metrics tell them apart; rename a file, or put the files into '
      'one folder'
    )
  domains: list[str] = []
  ids, weights = [], []
  for i, (name, part) in enumerate(zip(names, parts)):
    ids.append(part.domain + len(domains))
    several = len(part.domains) > 1
    domains += [f'{name}:{x}' if several else name for x in part.domains]
    if shares:
      count = np.bincount(part.domain, minlength=len(part.domains))
      weights += (shares[i] * count / len(part)).tolist()
  return Dataset(
    ', '.join(part.name for part in parts),
    [row for part in parts for row in part.rows],
    np.concatenate(ids).astype(np.int32),
    tuple(domains),
    places=[part.place(i) for part in parts for i in range(len(part))],
    weights=tuple(weights),
  )


def generate(
  name: str,
  size: int,
  *,
  seed: int = 0,
  part: str = 'train',
  level: int = 1,
  **options: Any,
) -> Dataset:
  """Distinct questions of a generated task.

  Row i is a function of (name, options, seed, part, i): a longer dataset
  begins with the shorter one. A question's hash decides whether it may be
  trained on or is held out, so that the parts share no question whatever
  their seeds and sizes.

  Args:
    name: a key of `generated.TOYS`, or `reasoning_gym:TASK`.
    size: rows.
    seed: of the questions.
    part: 'train' or 'held_out' (a quarter of all questions).
    level: difficulty of a toy, 1 the easiest; 0: all of them in turn, each a
      domain.
    **options: difficulty options of the toy or task, over those of the level.

  Raises:
    ValueError: an unknown name, part, level or option, or too few different
      questions.
    ModuleNotFoundError: reasoning-gym is asked for and not installed.
  """
  if part not in PARTS:
    raise ValueError(f'part {part!r} must be one of {PARTS}')
  if size < 1:
    raise ValueError(f'{name}: {size} rows were asked for; ask for at least 1')
  if name.startswith(_GYM):
    made, verifier = _gym_rows(name, size, seed, level, options)
    candidates, domains = ((row, 0) for row in made), (name,)
  else:
    candidates, domains, verifier = _toy_rows(name, seed, level, options)
  rows, domain, seen, repeats = [], [], set(), 0
  for row, source in candidates:
    question = digest(row['prompt'])
    held_out = question[0] < _HELD_OUT_BYTES
    if held_out == (part == 'held_out') and question not in seen:
      seen.add(question)
      rows.append(row)
      domain.append(source)
      repeats = 0
      if len(rows) == size:
        of = np.array(domain, np.int32)
        return Dataset(name, rows, of, domains, verifier)
    repeats += 1
    if repeats > _MAX_REPEATS:
      break
  raise ValueError(
    f'{name} has about {len(rows)} different {part} questions at this '
    f'difficulty, not {size}; ask for fewer, or make it harder'
  )


def _toy_rows(name, seed, level, options):
  """Rows and the domains they are of, the names of those, and the verifier."""
  if name not in generated.TOYS:
    near = spelling.nearest(name, generated.TOYS)
    raise ValueError(
      f'unknown task {name!r}; '
      + (f'did you mean {near!r}? ' if near else '')
      + f'known: {", ".join(sorted(generated.TOYS))}, {_GYM}TASK, OWNER/NAME '
      'of the Hugging Face hub, or an existing file or folder'
    )
  toy = generated.TOYS[name]
  count = len(toy.levels)
  if not 0 <= level <= count or (level == 0 and count == 1):
    several = ', or 0 for all of them' if count > 1 else ''
    raise ValueError(
      f'{name} has no level {level}; choose 1 to {count}{several}'
    )
  known = [*inspect.signature(toy.row).parameters][1:]
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(f'{name} has no options {unknown}; known: {known}')
  levels = [level] if level else range(1, count + 1)
  chosen = [toy.levels[number - 1] | options for number in levels]
  domains = tuple(f'{name}:{number}' for number in levels)

  def rows():
    for index in itertools.count():
      place = index % len(chosen)
      rng = random.Random(f'{name}/{seed}/{index}')
      yield toy.row(rng, **chosen[place]), place

  return rows(), domains, toy.verifier


def _gym_rows(name, size, seed, level, options) -> tuple[Iterator[Row], str]:
  # Imported on use: slow, and an optional dependency.
  from jaxrl_llm.tasks import gym

  if level != 1:
    raise ValueError(f'{name} has options, no levels; leave level=1')
  limit = 8 * size + _MAX_REPEATS
  task = name.removeprefix(_GYM)
  return gym.questions(task, seed, limit, **options), 'reasoning_gym'


def _field(place: str, record: Mapping[str, Any], name: str, kind: str) -> Any:
  """A field of a record, its prompt or its answer."""
  if name not in record:
    nothing = ', or set that to nothing where no verifier needs one'
    raise ValueError(
      f'{place}: no field {name!r}; the record has {sorted(record)}; name one '
      f'with data.{kind}_field{nothing if kind == "answer" else ""}'
    )
  return record[name]


def _unfolded(record: Row, source: str, answer_field: str) -> tuple[Row, str]:
  """A row as of verl with its answer as a field, and the source that it names.

  There the answer is `reward_model.ground_truth`, and `data_source` the name.
  """
  folded = record.get('reward_model')
  if not isinstance(folded, dict) or 'ground_truth' not in folded:
    return record, source
  named = record.get('data_source')
  if isinstance(named, str) and named:
    # Names of metrics have a stroke where a part ends.
    source = named.replace('/', '.')
  if answer_field and answer_field not in record:
    record = record | {answer_field: folded['ground_truth']}
  return record, source


def load_records(
  path: str | pathlib.Path,
  *,
  prompt_field: str = 'prompt',
  answer_field: str = 'answer',
  answer_mark: str = '####',
  prepared: Callable[[str, Row], Row] = lambda place, record: record,
  **which: Any,
) -> Dataset:
  """Questions from records; a file of a folder is a domain.

  A worked answer in the style of GSM8K, with `#### 42` as its last line, is cut
  to that number, and kept whole as 'solution'. Numbers and booleans become
  text, but for the place of an option, an integer beside 'choices' or
  'options'. A list holds several right answers. The prompt and answer fields
  are renamed to 'prompt' and 'answer', and all other fields are kept. Rows of
  verl need no other names: `reward_model.ground_truth` is their answer, and
  each `data_source` a domain.

  Args:
    path: a file, a folder or a dataset of the hub, see `records`.
    prompt_field: text, or chat messages [{'role': ..., 'content': ...}, ...].
    answer_field: '' where verifiers need no answer.
    answer_mark: '' leaves answers as they are.
    prepared: what is done to a record before it is read.
    which: subset, split and rows, as of `records.read`.

  Raises:
    ValueError: no rows, a malformed record, a missing field, a prompt that is
      neither text nor messages, or an answer that is null, NaN, an object or
      an empty list; with file and line.
  """
  rows, sources, places = [], [], []
  for place, source, record in records.read(path, **which):
    record, source = _unfolded(record, source, answer_field)
    record = prepared(place, record)
    row = dict(record)
    asked = _field(place, record, prompt_field, 'prompt')
    row['prompt'] = prompt_of(place, asked)
    if answer_field:
      answer = _field(place, record, answer_field, 'answer')
      row['answer'] = _answer(place, answer, bool(options.of(record)))
      worked = _worked(answer, answer_mark) if answer_mark else ''
      if worked:
        row |= {'answer': worked, 'solution': answer}
    rows.append(row)
    sources.append(source)
    places.append(place)
  domains = tuple(sorted(set(sources)))
  ids = np.array([domains.index(s) for s in sources], np.int32)
  return Dataset(str(path), rows, ids, domains, places=places)


def _answer(place: str, answer: Any, among: bool) -> Any:
  """A reference answer, or a list of them, as text.

  Args:
    among: options stand beside it, of which an integer is the place.
  """
  given = answer if isinstance(answer, list) else [answer]
  # A table of numbers writes NaN where there is none.
  if not given or not all(
    isinstance(x, str | int | float) and x == x for x in given
  ):
    raise ValueError(
      f'{place}: the answer {str(answer)[:60]} is nothing to compare with; '
      'write a text, a number or a list of those that are right, or set '
      'data.answer_field to nothing where no verifier needs one'
    )
  texts = [x if among and type(x) is int else str(x) for x in given]
  return texts if isinstance(answer, list) else texts[0]


def _worked(answer: Any, mark: str) -> str:
  """The number on the marked last line of a worked answer, else ''."""
  above, _, line = str(answer).rstrip().rpartition('\n')
  number = line.removeprefix(mark).strip()
  worked = above.strip() and line.startswith(mark) and numbers.stated(number)
  return number if worked else ''


def prompt_of(place: str, prompt: Any) -> Any:
  """The prompt: text as it is, or a conversation, see `conversations`.

  Raises:
    ValueError: it is neither, or empty.
  """
  if isinstance(prompt, str) and prompt:
    return prompt
  if isinstance(prompt, list) and prompt:
    return conversations.conversation(place, prompt)
  raise ValueError(
    f'{place}: the prompt must be text, or a list of messages with role and '
    f'content, not {str(prompt)[:60]!r}'
  )


def digest(prompt: Any, salt: str = '') -> bytes:
  """A hash of a question, blind to white space."""
  text = prompt if isinstance(prompt, str) else json.dumps(prompt)
  text = f'{salt}{" ".join(text.split())}'
  return hashlib.blake2b(text.encode(errors='surrogatepass')).digest()


def split(
  dataset: Dataset, held_out: int, *, seed: int = 0
) -> tuple[Dataset, Dataset]:
  """Training and held-out rows; copies of a question stay on one side.

  Args:
    dataset: to divide.
    held_out: distinct questions to hold out.
    seed: which ones. A question's rank depends on its text and the seed, so
      that adding rows to a file moves few of them.

  Raises:
    ValueError: not at least one question on each side.
  """
  digests = [digest(row['prompt'], f'{seed}/') for row in dataset.rows]
  ranked = sorted(set(digests))
  if len(ranked) < 2:
    raise ValueError(
      f'{dataset.name} has one question, and one to train on and one to hold '
      'out are needed; add more, or name others in data.held_out_path'
    )
  if not 0 < held_out < len(ranked):
    raise ValueError(
      f'{dataset.name} has {len(ranked)} different questions, of which '
      f'{held_out} cannot be held out; set data.held_out to 1 to '
      f'{len(ranked) - 1}, or name others in data.held_out_path'
    )
  chosen = set(ranked[:held_out])
  away = np.array([d in chosen for d in digests])
  return dataset.take(np.flatnonzero(~away)), dataset.take(np.flatnonzero(away))


def without(dataset: Dataset, other: Dataset) -> Dataset:
  """The rows whose question the other dataset does not ask.

  Raises:
    ValueError: it asks them all.
  """
  asked = {digest(row['prompt']) for row in other.rows}
  kept = [
    i
    for i, row in enumerate(dataset.rows)
    if digest(row['prompt']) not in asked
  ]
  if not kept:
    raise ValueError(
      f'every question of {dataset.name} is held out in {other.name}; train '
      'on others'
    )
  return dataset.take(kept)
