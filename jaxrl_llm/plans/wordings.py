"""Plans that ask one question in several words.

The field `wordings` of a question's record lists other prompts for it, texts
or chat messages; the prompt itself is the first wording.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import fields
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.rewards import behaviour
from jaxrl_llm.tasks import bleu


def _known(record):
  # One other wording may stand without a list, and none be null.
  others = record.get('wordings') or ()
  others = (others,) if isinstance(others, str) else others
  return [record['prompt'], *others]


def enough(records: Sequence[Mapping[str, Any]], wordings: int) -> None:
  """Refuses questions with fewer wordings, see `Contract.checks`."""
  fields.refuse(
    records,
    lambda record: len(_known(record)) >= wordings,
    f'have fewer wordings than the {wordings} that the recipe asks in',
    'add the others to the field "wordings", or lower recipe.wordings',
  )


def reworded(tools, prompts, wordings: int):
  """`wordings` prompts of each question, adjacent."""
  tasks = np.asarray(prompts.task)
  texts = []
  for record in tools.rows(prompts.task):
    texts += _known(record)[:wordings]
  return tools.prompts(jnp.asarray(tasks.repeat(wordings)), texts)


@dataclasses.dataclass(frozen=True)
class Wordings(Plan):
  """A group of responses to each wording of a question.

  The extra `agreement` f32[N] is a response's mean similarity, `bleu.shared`,
  to those for the other wordings.

  Attributes:
    samples: responses to a wording. groups: wordings of a question.

  Source: PS-GRPO, arXiv 2510.04392, section 3.
  """

  samples: int = 4
  groups: int = 4

  @property
  def contract(self):
    return Contract(
      self.samples,
      provides={'agreement'},
      may_lag=True,
      rewords=True,
      groups=self.groups,
      checks=(functools.partial(enough, wordings=self.groups),),
    )

  def collect(self, tools, prompts, state, key):
    prompts = reworded(tools, prompts, self.groups)
    rollouts = tools.generate(prompts, key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    texts = tools.decode(rollouts)
    rows = self.samples * self.groups
    similarity = np.zeros((len(texts), len(texts)), np.float32)
    for first in range(0, len(texts), rows):
      own = range(first, first + rows)
      for i in own:
        similarity[i, own] = [bleu.shared(texts[i], texts[j]) for j in own]
    question = jnp.arange(len(texts)) // rows
    agreement = behaviour.mean_similarity(
      jnp.asarray(similarity), question, rollouts.group
    )
    return rollouts.with_extras(agreement=agreement), scores, state
