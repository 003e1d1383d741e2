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
from jaxrl_llm.types import Prompts, Rollouts


@dataclasses.dataclass(frozen=True)
class Questions:
  """What prompts are made of, and what answers are verified against.

  Attributes:
    rows: A records, with `prompt`, `answer` and any other field.
    tokens: i32[A, P], left padded. mask: bool[A, P].
    domain: i32[A], which source a row comes from.
  """

  rows: Sequence[Mapping[str, Any]]
  tokens: np.ndarray
  mask: np.ndarray
  domain: np.ndarray

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
    )

  def rows_of(self, rollouts: Rollouts) -> list[Mapping[str, Any]]:
    """The record that each rollout answers."""
    return [self.rows[task] for task in np.asarray(rollouts.task)]


def load(config: ConfigDict, tokenizer) -> tuple[Questions, Questions]:
  """The questions to train on and those held out, encoded.

  Raises:
    ValueError: no questions, or prompts over the budget with `data.too_long`
      'stop'.
  """
  if config.data.too_long not in ('stop', 'drop'):
    raise ValueError(
      f"data.too_long {config.data.too_long!r} must be 'stop' or 'drop'"
    )
  train, held_out = data.load(config.data, seed=config.seed)
  return encode(train, config, tokenizer), encode(held_out, config, tokenizer)


def encode(dataset: data.Dataset, config: ConfigDict, tokenizer) -> Questions:
  """A dataset's prompts as tokens, those over the budget dropped or refused."""
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
  )


def _with_system(prompt, system: str):
  if not system:
    return prompt
  if isinstance(prompt, str):
    prompt = [{'role': 'user', 'content': prompt}]
  return [{'role': 'system', 'content': system}, *prompt]
