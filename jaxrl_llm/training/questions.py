"""Questions: a dataset encoded for one tokenizer and one token budget."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm.rollouts import chat, text
from jaxrl_llm.tasks import conversations, data
from jaxrl_llm.types import Prompts


@dataclasses.dataclass(frozen=True)
class Questions:
  """What prompts are made of, and what answers are verified against.

  Attributes:
    rows: A records, with `prompt`, `answer` and any other field.
    tokens: i32[A, P], left padded. mask: bool[A, P].
    domain: i32[A], which source a row comes from.
    columns: arrays with leading axis A that go with the prompts, such as the
      records' numeric fields f32[A].
    system: put before every prompt without a system message of its own, ''
      for none.
    variables: what the chat template is given beside the prompt.
    counts: what was found in the data, by name.
    places: where each record comes from, for messages.
  """

  rows: Sequence[Mapping[str, Any]]
  tokens: np.ndarray
  mask: np.ndarray
  domain: np.ndarray
  columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  system: str = ''
  variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  places: Sequence[str] = ()

  def __len__(self) -> int:
    return len(self.rows)

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

  def reworded(self, tasks, texts: Sequence[Any], tokenizer) -> Prompts:
    """Prompts of some rows of the table, in other words.

    Raises:
      ValueError: a text over the budget of a prompt.
    """
    width = self.tokens.shape[1]
    asked = [
      _asked(self.places[task], self.rows[task] | {'prompt': said}, self.system)
      for task, said in zip(np.asarray(tasks), texts, strict=True)
    ]
    tokens, mask, too_long = _encoded(tokenizer, asked, width, self.variables)
    if too_long:
      raise ValueError(
        f'the prompt {texts[too_long[0]]!r} exceeds sample.max_prompt={width} '
        'tokens; raise it'
      )
    prompts = self.prompts(tasks)
    return prompts.replace(tokens=jnp.asarray(tokens), mask=jnp.asarray(mask))


def load(
  config: ConfigDict, tokenizer, columns: Sequence[str] = ()
) -> tuple[Questions, Questions]:
  """The questions to train on and those held out, encoded.

  Args:
    columns: numeric fields that the records to train on must have.

  Raises:
    ValueError: no questions, prompts over the budget with `data.too_long`
      'stop', or a record without a number in a column.
  """
  train, held_out = data.load(config.data, seed=config.seed)
  return (
    encode(train, config, tokenizer, columns),
    encode(held_out, config, tokenizer),
  )


def encode(
  dataset: data.Dataset,
  config: ConfigDict,
  tokenizer,
  columns: Sequence[str] = (),
) -> Questions:
  """A dataset's prompts as tokens, those over the budget dropped or refused.

  Raises:
    ValueError: what `data` asks for cannot be done or would do nothing, with
      file and line where one record is at fault.
  """
  if config.data.too_long not in ('stop', 'drop'):
    raise ValueError(
      f"data.too_long {config.data.too_long!r} must be 'stop' or 'drop'"
    )
  length, system = config.sample.max_prompt, config.data.system
  variables = _variables(config.data.chat_template_kwargs)
  places = [dataset.place(row) for row in range(len(dataset))]
  asked = [_asked(*pair, system) for pair in zip(places, dataset.rows)]
  _say_what_is_odd(dataset, asked, system, variables, tokenizer)
  tokens, mask, too_long = _encoded(tokenizer, asked, length, variables)
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
    variables=variables,
    places=[places[i] for i in kept],
  )


class _Asked(NamedTuple):
  """What is put before the policy: text or messages, tools, and from where."""

  place: str
  prompt: str | list[Mapping[str, Any]]
  tools: list[Any]


def _asked(place: str, row: Mapping[str, Any], system: str) -> _Asked:
  """A record's prompt with the system message, unless it has its own."""
  prompt = data.prompt_of(place, row['prompt'])
  if system and isinstance(prompt, str):
    prompt = [{'role': 'user', 'content': prompt}]
  if isinstance(prompt, str):
    return _Asked(place, prompt, [])
  if system and not conversations.own_system(prompt):
    prompt = [{'role': 'system', 'content': system}, *prompt]
  return _Asked(place, prompt, conversations.tools(place, row.get('tools')))


def _encoded(tokenizer, asked: Sequence[_Asked], length: int, variables):
  """As `text.padded`; what a record is refused for names its place."""
  template = None
  if not all(isinstance(each.prompt, str) for each in asked):
    template = chat.Template(tokenizer, variables)
  rows = []
  for place, prompt, tools in asked:
    try:
      rows.append(
        text.encode_prompt(tokenizer, prompt)
        if isinstance(prompt, str)
        else template.encode(prompt, tools)
      )
    except ValueError as error:
      raise ValueError(f'{place}: {error}') from error
    if not rows[-1]:
      raise ValueError(
        f'{place}: the prompt {prompt!r} has no tokens; there is nothing to '
        'continue'
      )
  return text.padded(rows, length)


def _say_what_is_odd(dataset, asked, system, variables, tokenizer) -> None:
  """Refuses settings that do nothing, and says what some records decide."""
  name, count = dataset.name, len(asked)
  chats = [each.prompt for each in asked if not isinstance(each.prompt, str)]
  if variables and not chats:
    raise ValueError(
      f'data.chat_template_kwargs {variables} would do nothing: the prompts of '
      f'{name} are text, which no template writes; leave it out'
    )
  given = [row['prompt'] for row in dataset.rows]
  own = sum(conversations.own_system(p) for p in given if isinstance(p, list))
  if system and own == count:
    raise ValueError(
      f'data.system would do nothing: every prompt of {name} has a system '
      'message of its own; leave it out'
    )
  if system and own:
    logging.warning(
      '%d of %d prompts of %s have a system message of their own, which they '
      'keep; the others are given data.system', own, count, name,
    )  # fmt: skip
  spelled = 0
  if chats:
    spelled = sum(map(chat.Template(tokenizer).spells, chats))
  if spelled:
    logging.warning(
      '%d of %d prompts of %s hold control tokens in what people wrote; they '
      'are encoded as text there', spelled, count, name,
    )  # fmt: skip


def _variables(given: str) -> dict[str, Any]:
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


def check_vocabulary(questions: Questions, tokenizer, vocab: int) -> None:
  """Refuses prompts and recorded responses with tokens that no model has.

  Raises:
    ValueError: naming file, line and token, see `text.check_vocabulary`.
  """
  tokens = {'the prompt': np.where(questions.mask, questions.tokens, 0)}
  if 'recorded' in questions.columns:
    given = questions.columns
    tokens['a response'] = np.where(
      given['recorded_mask'], given['recorded'], 0
    )
  for what, ids in tokens.items():
    ids = ids.reshape(len(questions), -1)
    for row in np.flatnonzero((ids >= vocab).any(axis=1)):
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


def _with_system(prompt, system: str):
  if not system:
    return prompt
  if isinstance(prompt, str):
    prompt = [{'role': 'user', 'content': prompt}]
  return [{'role': 'system', 'content': system}, *prompt]
