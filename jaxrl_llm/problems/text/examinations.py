"""What a policy is examined on beside the questions held out, and how.

A set has a name and an address, see `tasks.addresses`:

    math=openai/gsm8k:subset=main:split=test:prompt=question

Without a name it has that of its file, dataset or task. All of its questions
are asked, behind the run's system message and examples, and its metrics are
`eval/NAME/...`. Nothing of a run but these depends on its
sets, so they may change while it goes on.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm.problems.text import questions as questions_lib
from jaxrl_llm.problems.text.answering import Answering
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.tasks import addresses, data
from jaxrl_llm.training import metrics
from jaxrl_llm.types import Array

_SET = re.compile(r'([A-Za-z_][\w.-]*)=(.+)', re.DOTALL)
# What `eval/...` is called already.
_TAKEN = {name.split('/')[1] for name in metrics.TABLE if name[:5] == 'eval/'}


def load(
  sets: Sequence[str], config: ConfigDict, tokenizer, train: Questions
) -> dict[str, Questions]:
  """The questions of every set, encoded, by its name.

  Args:
    sets: NAME=ADDRESS each, or an address.
    train: what is trained on, of which a warning tells if a set asks it, too.

  Raises:
    ValueError: a name that is taken, or as `data.at` and
      `questions.encode` do.
  """
  found: dict[str, Questions] = {}
  trained = {data.digest(row['prompt']) for row in train.rows} if sets else ()
  for text in sets:
    name, address = named(text)
    if name in found or name in _TAKEN:
      why = 'is given twice' if name in found else 'is the name of a metric'
      raise ValueError(f'the evaluation set {text!r}: {name} {why}; rename it')
    dataset = data.at(address, config.data, seed=config.seed)
    seen = sum(data.digest(row['prompt']) in trained for row in dataset.rows)
    if seen:
      logging.warning(
        '%d of %d questions of the evaluation set %s are trained on, too',
        seen,
        len(dataset),
        name,
      )
    found[name] = questions_lib.encode(
      dataset, config, tokenizer, shown=train.shots, chats=train.chats
    )
  return found


def named(text: str) -> tuple[str, str]:
  """The name and the address of a set."""
  given = _SET.fullmatch(text)
  if given:
    return given[1], given[2]
  first = addresses.parse(addresses.divided(text, ',')[0])
  return re.sub(r'[^\w.-]', '_', first.name), text


def answering(usual: Answering, settings: ConfigDict) -> Answering:
  """How questions are answered in evaluation.

  Args:
    usual: how they are in training.
    settings: `prompts`, `temperature`, `top_p` and `max_response`, each 0
      where it is that of training.

  Raises:
    ValueError: a value out of its range.
  """
  changed = {
    name: settings[name] for name in ('temperature', 'top_p') if settings[name]
  }
  try:
    sampling = usual.sampling.replace(**changed).checked()
  except ValueError as error:
    raise ValueError(f'eval.{error}') from error
  length = settings.max_response or usual.sampler.max_tokens
  return dataclasses.replace(
    usual,
    sampler=dataclasses.replace(usual.sampler, max_tokens=length),
    sampling=sampling,
    batch=settings.prompts or usual.batch,
  )


def key_of(name: str, key: Array) -> Array:
  """The key of a set, whatever others there are."""
  return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
