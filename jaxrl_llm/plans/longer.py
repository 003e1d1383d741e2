"""Thoughts that go on where the policy would have answered: budget forcing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import exits, given, prefixes
from jaxrl_llm.types import Array, Rollouts

SAID = 'Wait'
END = '</think>'


@dataclasses.dataclass(frozen=True)
class Waiting:
  """Takes back the end of a thought and says something in its place.

      q, thought, end, answer  ->  q, thought, said, more, end, answer'

  so many times over. A response that has no end of a thought, nothing behind
  it, or no room for more stays as it is.

  Attributes:
    times: the end is taken back. said: text in its place. end: of a thought.

  Raises:
    ValueError: fewer than 0 times, or nothing to say.

  Source: s1: Simple test-time scaling, arXiv 2501.19393, section 3.1, recalled,
    which J1, arXiv 2505.11875, does with a judge.
  """

  times: int = 0
  said: str = SAID
  end: str = END

  def __post_init__(self):
    if self.times < 0 or not (self.said and self.end):
      raise ValueError(
        f'{self.times} times {self.said!r} before {self.end!r}: the times must '
        'be 0 or more, and neither text empty'
      )

  def apply(self, tools, rollouts: Rollouts, key: Array) -> Rollouts:
    """The responses, each in as many columns as before."""
    for time in range(self.times):
      rollouts = self._once(tools, rollouts, jax.random.fold_in(key, time))
    return rollouts

  def _once(self, tools, rollouts, key):
    thought, with_end = exits.ended(tools, rollouts, self.end)
    [said] = tools.encode([self.said])
    start = thought + len(said)
    length = jnp.asarray(rollouts.length)
    # Without an end the token that ended a response is all that follows.
    ends = (with_end < length) & (start < tools.columns)
    cut = jnp.where(ends, thought, length)
    told = given.written(rollouts, [said] * len(cut))
    longer = prefixes.joined(rollouts, cut, told, ends)
    start = jnp.where(ends, start, length)
    return prefixes.continued(tools, longer, start, key, going=ends)
