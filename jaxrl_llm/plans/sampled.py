"""Independent responses to each prompt."""

from __future__ import annotations

import dataclasses

from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Independent(Plan):
  """`samples` independent responses to each prompt.

  Attributes:
    samples: rows of a group.
    columns: numeric fields of the data, provided as extras f32[N].
  """

  samples: int = 8
  columns: tuple[str, ...] = ()

  @property
  def contract(self):
    return Contract(
      self.samples,
      may_lag=True,
      provides=frozenset(self.columns),
      columns=self.columns,
    )

  def collect(self, tools, prompts, state, key):
    rollouts = tools.generate(prompts, key, self.samples)
    return *tools.verify(rollouts), state


def independent(
  *, samples: int = 8, columns: tuple[str, ...] = ()
) -> Independent:
  """`samples` independent responses to each prompt.

  Example:
    >>> independent(samples=4).contract.samples
    4
  """
  return Independent(samples, columns)
