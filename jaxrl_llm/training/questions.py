"""Questions: a dataset encoded for one tokenizer and one token budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm.rollouts import text
from jaxrl_llm.tasks import data
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
    system: put before every prompt, '' for none.
    counts: what was found in the data, by name.
  """

  rows: Sequence[Mapping[str, Any]]
  tokens: np.ndarray
  mask: np.ndarray
  domain: np.ndarray
  columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  system: str = ''
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

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
    texts = [_with_system(text_, self.system) for text_ in texts]
    tokens, mask, too_long = text.encode_prompts(tokenizer, texts, width)
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
  """A dataset's prompts as tokens, those over the budget dropped or refused."""
  if config.data.too_long not in ('stop', 'drop'):
    raise ValueError(
      f"data.too_long {config.data.too_long!r} must be 'stop' or 'drop'"
    )
  length, system = config.sample.max_prompt, config.data.system
  prompts = [_with_system(row['prompt'], system) for row in dataset.rows]
  tokens, mask, too_long = text.encode_prompts(tokenizer, prompts, length)
  if len(too_long):
    found = (
      f'{len(too_long)} of {len(prompts)} prompts of {dataset.name} exceed '
      f'sample.max_prompt={length} tokens'
    )
    if config.data.too_long == 'stop' or len(too_long) == len(prompts):
      raise ValueError(f'{found}; raise it, or set data.too_long=drop')
    logging.warning('%s and are dropped', found)
  kept = np.setdiff1d(np.arange(len(prompts)), too_long)
  return Questions(
    rows=[dataset.rows[i] for i in kept],
    tokens=tokens[kept],
    mask=mask[kept],
    domain=np.asarray(dataset.domain, np.int32)[kept],
    columns={name: _column(dataset, name)[kept] for name in columns},
    system=system,
  )


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
