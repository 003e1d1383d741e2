"""Questions whose wordings have answers of their own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import fields, wordings
from jaxrl_llm.plans.base import Contract, Plan


def answered(records: Sequence[Mapping[str, Any]], wordings: int) -> None:
  """Refuses questions whose wordings have no answers, see `Contract.checks`."""
  fields.refuse(
    records,
    lambda record: len(record.get('answers', ())) >= wordings,
    f'have fewer answers than the {wordings} orders that the recipe asks in',
    'list one for each in the field "answers", that of the prompt first',
  )


@dataclasses.dataclass(frozen=True)
class Orders(Plan):
  """A group of responses to each wording, which has an answer of its own.

  The field `answers` of a record has one for each wording: a judge that is
  shown two texts the other way round should call the other one better. The
  j-th responses to all wordings of a question belong together: they have the
  same extras `bundle` and `paper`, i32[N].

  Attributes:
    samples: responses to a wording. orders: wordings of a question.

  Source: J1: Incentivizing Thinking in LLM-as-a-Judge via Reinforcement
    Learning, arXiv 2505.10320, recalled.
  """

  samples: int = 8
  orders: int = 2

  @property
  def contract(self):
    checks = (
      functools.partial(wordings.enough, wordings=self.orders),
      functools.partial(answered, wordings=self.orders),
    )
    return Contract(
      self.samples,
      provides={'bundle', 'paper'},
      may_lag=True,
      rewords=True,
      groups=self.orders,
      checks=checks,
    )

  def collect(self, tools, prompts, state, key):
    prompts = wordings.reworded(tools, prompts, self.orders)
    rollouts = tools.generate(prompts, key, self.samples)
    place = jnp.arange(rollouts.valid.shape[0], dtype=jnp.int32)
    order = np.asarray(place // self.samples % self.orders)
    rows = [
      {**record, 'answer': record['answers'][i]}
      for record, i in zip(tools.rows(rollouts.task), order, strict=True)
    ]
    rollouts, scores = tools.verify(rollouts, rows=rows)
    rollouts = rollouts.with_extras(
      bundle=place // (self.samples * self.orders), paper=place % self.samples
    )
    return rollouts, scores, state
