"""Groups whose rows have beginnings that are assigned to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, given, prefixes, settings
from jaxrl_llm.plans.base import Contract, Plan


def begins_with(said: str, texts: Sequence[str]) -> int:
  """The longest of the texts that something said begins with, -1 of none.

  White space before it and an empty text do not count.

  Example:
    >>> begins_with('<think> 1 + 1', ('<short>', '<think>'))
    1
  """
  said = said.lstrip()
  found = [i for i, text in enumerate(texts) if text and said.startswith(text)]
  return max(found, key=lambda i: len(texts[i]), default=-1)


@dataclasses.dataclass(frozen=True)
class Begun(Plan):
  """Responses that go on from texts, as many from each.

  The tokens of a beginning are no actions, unless they are `chosen`: then they
  count as the policy's own decision, with the log-probs that it gives them.

  The extras are `beginning` i32[N], the place of a row's text among the
  beginnings; `assigned` bool[N]; and `begun` bool[N, T], tokens of an assigned
  beginning. Of a row that is free, `beginning` is the text that it happens to
  begin with, -1 of none.

  Attributes:
    beginnings: texts; an empty one leaves its rows free.
    samples: rows of a group, those of each beginning adjacent.
    chosen: whether a beginning is the policy's decision.

  Raises:
    ValueError: two equal beginnings, rows that they do not share evenly, or a
      sampler that records its candidates, among which a chosen beginning need
      not be.

  Source: HBPO, arXiv 2507.15844, section 3.2; A2FM, arXiv 2510.12838.
  """

  beginnings: tuple[str, ...]
  samples: int = 16
  chosen: bool = False

  def __post_init__(self):
    count = len(self.beginnings)
    if len({*self.beginnings}) < count:
      raise ValueError(
        f'two of the beginnings {self.beginnings} are the same; give each its '
        'own text'
      )
    settings.even(self.samples, count, 'beginnings')

  @property
  def contract(self):
    return Contract(
      self.samples,
      provides={'beginning', 'assigned', 'begun'},
      may_lag=True,
      written=self.beginnings,
    )

  def collect(self, tools, prompts, state, key):
    rows, place = self.opened(tools, prompts)
    begun, cut = rows.response_mask, rows.length
    rollouts = prefixes.continued(tools, rows, cut, key)
    if self.chosen:
      chosen = rollouts.action_mask | begun
      rollouts = rollouts.replace(action_mask=chosen)
      rollouts = actions.partly_drawn(tools, rollouts, begun)
    said = () if all(self.beginnings) else tools.decode(rollouts)
    rollouts = rollouts.with_extras(
      beginning=jnp.asarray(self.named(place, said), jnp.int32),
      assigned=jnp.any(begun, axis=1),
      begun=begun,
    )
    return *tools.verify(rollouts), state

  def opened(self, tools, prompts):
    """Rows of which the beginnings alone are written, and whose each is."""
    count = prompts.tokens.shape[0]
    each = self.samples // len(self.beginnings)
    place = np.tile(np.arange(len(self.beginnings)).repeat(each), count)
    ids = tools.encode(self.beginnings)
    blank = given.blank(prompts, self.samples, tools.columns)
    return given.written(blank, [ids[i] for i in place]), place

  def named(self, place, said: Sequence[str]):
    """i[N]: the beginning that each row has; a free one by what it said."""
    if all(self.beginnings):
      return place
    return np.array(
      [
        number
        if self.beginnings[number]
        else begins_with(text, self.beginnings)
        for number, text in zip(place, said, strict=True)
      ]
    )
