"""Groups whose rows answer one question in several wordings."""

from __future__ import annotations

import dataclasses
import functools

from jaxrl_llm.plans import settings, wordings
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Variants(Plan):
  """One group of responses to all wordings of a question.

  Attributes:
    samples: rows of a group. wordings: of a question; they share the rows.

  Raises:
    ValueError: wordings that do not divide the rows.

  Source: Information-Consistent Language Model Recommendations, arXiv
    2512.12858, reconstructed from its abstract.
  """

  samples: int = 8
  wordings: int = 4

  def __post_init__(self):
    settings.even(self.samples, self.wordings, 'wordings')

  @property
  def contract(self):
    check = functools.partial(wordings.enough, wordings=self.wordings)
    return Contract(
      self.samples,
      may_lag=True,
      one_prompt=False,
      rewords=True,
      checks=(check,),
    )

  def collect(self, tools, prompts, state, key):
    prompts = wordings.reworded(tools, prompts, self.wordings)
    each = self.samples // self.wordings
    rollouts = tools.generate(prompts, key, each)
    rollouts = rollouts.replace(group=rollouts.group // self.wordings)
    return *tools.verify(rollouts), state
