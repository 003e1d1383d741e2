"""Questions: a dataset encoded for one tokenizer and one token budget."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm.problems.text import chat, dialogue, shots
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text.chats import Chats
from jaxrl_llm.problems.text.shots import Shot
from jaxrl_llm.tasks import conversations, data
from jaxrl_llm.types import Prompts


@dataclasses.dataclass(frozen=True)
class Questions:
  """What prompts are made of, and what answers are verified against.

  Attributes:
    rows: A records, with `prompt`, `answer` and any other field.
    tokens: i32[A, P], left padded. mask: bool[A, P].
    domain: i32[A], which source a row comes from. domains: their names.
    weights: how often each is drawn, () if every row is as likely.
    shots: examples put before every prompt.
    columns: arrays with leading axis A that go with the prompts, such as the
      records' numeric fields f32[A].
    system: put before every prompt without a system message of its own, ''
      for none.
    chats: what writes the prompts. variables: what else its template is given.
    is_message: of a prompt in text, whether it goes through the template, too.
    counts: what was found in the data, by name.
    places: where each record comes from, for messages.
  """

  rows: Sequence[Mapping[str, Any]]
  tokens: np.ndarray
  mask: np.ndarray
  domain: np.ndarray
  chats: Chats
  columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  system: str = ''
  variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  is_message: Callable[[str], bool] = chat.no_message
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  places: Sequence[str] = ()
  domains: Sequence[str] = ()
  weights: tuple[float, ...] = ()
  shots: Sequence[Shot] = ()

  def __len__(self) -> int:
    return len(self.rows)

  def asked(self, task: int) -> Asked:
    """What is put before the policy for a row of the table."""
    place, row = self.places[task], self.rows[task]
    return asked_of(place, row, self.system, self.is_message, self.shots)

  @property
  def in_messages(self) -> bool:
    """Whether the chat template writes the first prompt."""
    return not isinstance(self.asked(0).prompt, str)

  def prompts(self, tasks: np.ndarray) -> Prompts:
    """The prompts of some rows of the table."""
    tasks = np.asarray(tasks, np.int32)
    return Prompts(
      tokens=jnp.asarray(self.tokens[tasks]),
      mask=jnp.asarray(self.mask[tasks]),
      task=jnp.asarray(tasks),
      domain=jnp.asarray(self.domain[tasks]),
      extras={k: jnp.asarray(x[tasks]) for k, x in self.columns.items()},
    )

  def reworded(self, tasks, texts: Sequence[Any]) -> Prompts:
    """Prompts of some rows of the table, in other words.

    Raises:
      ValueError: a text over the budget of a prompt.
    """
    return self.encoded(tasks, self._reworded(tasks, texts))

  def encoded(self, tasks, asked: Sequence[Asked]) -> Prompts:
    """Prompts of some rows of the table that ask something else.

    Raises:
      ValueError: one over the budget of a prompt.
    """
    tokens, mask, too_long = _encoded(self.chats, asked, self.tokens.shape[1])
    if len(too_long):
      raise ValueError(
        f'the prompt {asked[too_long[0]].prompt!r} exceeds sample.max_prompt='
        f'{self.tokens.shape[1]} tokens; raise it'
      )
    prompts = self.prompts(tasks)
    return prompts.replace(tokens=jnp.asarray(tokens), mask=jnp.asarray(mask))

  def fit(self, tasks, texts: Sequence[Any]) -> list[bool]:
    """Which of these texts are within the budget of a prompt."""
    asked = self._reworded(tasks, texts)
    too_long = set(_encoded(self.chats, asked, self.tokens.shape[1])[2])
    return [number not in too_long for number in range(len(texts))]

  def _reworded(self, tasks, texts) -> list[Asked]:
    return self.changed(tasks, [{'prompt': said} for said in texts])

  def changed(self, tasks, changes: Sequence[Mapping[str, Any]]) -> list[Asked]:
    """What is asked by some rows of the table, with other fields."""
    return [
      asked_of(
        self.places[task],
        self.rows[task] | change,
        self.system,
        self.is_message,
        self.shots,
      )
      for task, change in zip(np.asarray(tasks), changes, strict=True)
    ]


def load(
  config: ConfigDict,
  tokenizer,
  columns: Sequence[str] = (),
  chats: Chats | None = None,
) -> tuple[Questions, Questions]:
  """The questions to train on and those held out, encoded.

  Args:
    columns: numeric fields that the records to train on must have.
    chats: what writes the prompts; None: the tokenizer as it is.
    starts: the token that stands in place of each prompt, None of those
      that are written; () of none.

  Raises:
    ValueError: no questions, prompts over the budget with `data.too_long`
      'stop', or a record without a number in a column.
  """
  train, held_out = data.load(config.data, seed=config.seed)
  shown, train = shots.taken(train, config.data.shots, seed=config.seed)
  return (
    encode(train, config, tokenizer, columns, shown, chats),
    encode(held_out, config, tokenizer, shown=shown, chats=chats),
  )


def encode(
  dataset: data.Dataset,
  config: ConfigDict,
  tokenizer,
  columns: Sequence[str] = (),
  shown: Sequence[Shot] = (),
  chats: Chats | None = None,
  starts: Sequence[int | None] = (),
) -> Questions:
  """A dataset's prompts as tokens, those over the budget dropped or refused.

  Args:
    columns: numeric fields that the records must have.
    shown: examples before every prompt.
    chats: what writes the prompts; None: the tokenizer as it is.
    starts: the token that stands in place of each prompt, None of those
      that are written; () of none.

  Raises:
    ValueError: what `data` asks for cannot be done, with file and line where
      one record is at fault.
  """
  if config.data.too_long not in ('stop', 'drop'):
    raise ValueError(
      f"data.too_long {config.data.too_long!r} must be 'stop' or 'drop'"
    )
  length, system = config.sample.max_prompt, config.data.system
  variables = variables_of(config.data.chat_template_kwargs)
  chats = chats or Chats(dialogue.Reader(tokenizer), variables)
  is_message = chat.is_message(tokenizer, config.data.chat)
  places = [dataset.place(row) for row in range(len(dataset))]
  asked = [
    asked_of(*pair, system, is_message, shown)
    for pair in zip(places, dataset.rows)
  ]
  _say_what_is_odd(dataset, asked, system, variables, tokenizer)
  tokens, mask, too_long = _encoded(chats, asked, length, starts)
  if len(too_long):
    found = (
      f'{len(too_long)} of {len(asked)} prompts of {dataset.name} exceed '
      f'sample.max_prompt={length} tokens'
    )
    if config.data.too_long == 'stop' or len(too_long) == len(asked):
      raise ValueError(f'{found}; raise it, or set data.too_long=drop')
    logging.warning('%s and are dropped', found)
  kept = np.setdiff1d(np.arange(len(asked)), too_long)
  return Questions(
    rows=[dataset.rows[i] for i in kept],
    tokens=tokens[kept],
    mask=mask[kept],
    domain=np.asarray(dataset.domain, np.int32)[kept],
    columns={name: _column(dataset, name)[kept] for name in columns},
    system=system,
    chats=chats,
    variables=variables,
    is_message=is_message,
    places=[places[i] for i in kept],
    domains=dataset.domains,
    weights=dataset.weights,
    shots=shown,
  )


class Asked(NamedTuple):
  """What is put before the policy: text or messages, tools, and from where."""

  place: str
  prompt: str | list[Mapping[str, Any]]
  tools: list[Any]


def asked_of(
  place: str,
  row: Mapping[str, Any],
  system: str,
  is_message: Callable[[str], bool],
  shown: Sequence[Shot] = (),
) -> Asked:
  """A record's prompt with the system message, unless it has its own.

  Args:
    is_message: see `chat.is_message`; with a system message all texts are.
    shown: examples put before it.
  """
  prompt = data.prompt_of(place, row['prompt'])
  if isinstance(prompt, str) and (system or is_message(prompt)):
    prompt = [{'role': 'user', 'content': prompt}]
  prompt = shots.before(prompt, shown)
  if isinstance(prompt, str):
    return Asked(place, prompt, [])
  if system and not conversations.own_system(prompt):
    prompt = [{'role': 'system', 'content': system}, *prompt]
  return Asked(place, prompt, conversations.tools(place, row.get('tools')))


def _encoded(
  chats: Chats,
  asked: Sequence[Asked],
  length: int,
  starts: Sequence[int | None] = (),
):
  """As `text.padded`; what a record is refused for names its place.

  Args:
    starts: as of `encode`.
  """
  rows = []
  every = starts or [None] * len(asked)
  for (place, prompt, tools), start in zip(asked, every, strict=True):
    try:
      first = [] if start is None else [start]
      rows.append(first or chats.begin(prompt, tools))
    except ValueError as error:
      raise ValueError(f'{place}: {error}') from error
    if not rows[-1]:
      raise ValueError(
        f'{place}: the prompt {prompt!r} has no tokens; there is nothing to '
        'continue'
      )
  return text.padded(rows, length)


def _say_what_is_odd(dataset, asked, system, variables, tokenizer) -> None:
  """Says once what records decide against a setting or in spite of a field."""
  name, count = dataset.name, len(asked)

  def say(number, words):
    if number:
      logging.warning('%d of %d prompts of %s %s', number, count, name, words)

  if system:
    say(
      sum(map(_own_system, dataset.rows)),
      'have a system message of their own, which they keep; others are given '
      'data.system',
    )
  chats = [each.prompt for each in asked if isinstance(each.prompt, list)]
  say(
    sum(
      isinstance(each.prompt, str) and bool(row.get('tools'))
      for each, row in zip(asked, dataset.rows)
    ),
    'are text and come with tools, which only a chat template would write',
  )
  if not chats:
    return
  template = chat.Template(tokenizer, variables)
  if template.reads_clock:
    logging.warning(
      'the chat template writes the date into the prompts of %s, so that a run '
      'that goes on tomorrow asks otherwise; set data.chat_template_kwargs to '
      '{"date_string": "01 Jan 2026"}, if it reads that',
      name,
    )
  say(
    sum(map(template.spells, chats)),
    'hold control tokens in what people wrote, where they are encoded as text',
  )


def _own_system(row: Mapping[str, Any]) -> bool:
  prompt = row['prompt']
  return not isinstance(prompt, str) and conversations.own_system(prompt)


def variables_of(given: str) -> dict[str, Any]:
  """The setting `data.chat_template_kwargs`, a JSON object."""
  try:
    variables = json.loads(given)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'data.chat_template_kwargs {given[:60]!r} is no JSON: {error}'
    ) from error
  if not isinstance(variables, dict):
    raise ValueError(
      f'data.chat_template_kwargs {given[:60]!r} must be a JSON object, as in '
      '{"enable_thinking": false}'
    )
  return variables


def check(parts: Sequence[Questions], tokenizer, vocab: int) -> None:
  """Refuses settings that do nothing, and tokens that the model has not.

  Args:
    parts: all questions of a run.

  Raises:
    ValueError: naming the setting, or file, line and token.
  """
  rows = [row for part in parts for row in part.rows]
  system, variables = parts[0].system, parts[0].variables
  if system and all(map(_own_system, rows)):
    raise ValueError(
      'data.system would do nothing: every prompt has a system message of its '
      'own; leave it out'
    )
  if variables and not system:
    taken = parts[0].is_message
    prompts = [row['prompt'] for row in rows]
    if all(isinstance(said, str) and not taken(said) for said in prompts):
      raise ValueError(
        f'data.chat_template_kwargs {variables} would do nothing: all prompts '
        'are text, which no template writes; leave it out'
      )
  for part in parts:
    _check_vocabulary(part, tokenizer, vocab)


def _check_vocabulary(questions: Questions, tokenizer, vocab: int) -> None:
  tokens = {'the prompt': np.where(questions.mask, questions.tokens, 0)}
  if 'recorded' in questions.columns:
    given = questions.columns
    tokens['a response'] = np.where(
      given['recorded_mask'], given['recorded'], 0
    )
  for what, ids in tokens.items():
    ids = ids.reshape(len(questions), -1)
    for row in np.flatnonzero((ids >= vocab).any(axis=1)).tolist():
      place = f'{questions.places[row]}: {what}'
      text.check_vocabulary(tokenizer, ids[row], vocab, place)


def _column(dataset: data.Dataset, name: str) -> np.ndarray:
  """f32[A]: a numeric field of every record."""
  values = [row.get(name) for row in dataset.rows]
  for row, value in zip(dataset.rows, values):
    if not isinstance(value, int | float):
      raise ValueError(
        f'the recipe reads the number {name!r} of every question, and in '
        f'{dataset.name} it is {value!r} for {row["prompt"]!r}'
      )
  return np.array(values, np.float32)
