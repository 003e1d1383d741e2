"""Responses among the tokens that a masking policy keeps."""

from __future__ import annotations

import dataclasses

from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Masked(Plan):
  """Independent responses among the tokens that a masking policy keeps.

  It is the opponent that the recipe's reference names, and it keeps its most
  probable tokens, as many as have a mass of `share` and no fewer than `least`.
  The sampler records which of them the policy could draw, and the learner's
  log-probs are among these, so that every step stays within them.

  Attributes:
    samples: rows of a group. share: of the masking policy's mass, in (0, 1].
    least: tokens.

  Raises:
    ValueError: a share outside of (0, 1].

  Source: NLPO, arXiv 2210.01241, algorithm 1.
  """

  samples: int = 1
  share: float = 0.9
  least: int = 100

  def __post_init__(self):
    if not 0 < self.share <= 1:
      raise ValueError(f'a share of {self.share} is not in (0, 1]; 1 keeps all')

  @property
  def contract(self):
    return Contract(self.samples, provides={'support'}, refers=True)

  def collect(self, tools, prompts, state, key):
    rollouts = tools.masked(
      prompts, key, self.samples, share=self.share, least=self.least
    )
    return *tools.verify(rollouts), state
