"""Demonstrations some of whose thoughts are left out."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, recorded, spans


@dataclasses.dataclass(frozen=True)
class Dropped(recorded.Recorded):
  """The recorded responses, some of them with empty thoughts.

  Whether a response loses its thoughts is drawn anew each time it is read. What
  stands between the marks is then another text, whose tokens are to be said as
  those of the thought were; all others stay. Without both marks, or where the
  response would become too long, it stays as it is.

  Attributes:
    share: of the responses that lose theirs.
    begin, end: marks of a thought. empty: the text in its place.

  Raises:
    ValueError: a share that is none, or a mark without text.

  Source: TON, arXiv 2505.16854, section 3.2.
  """

  share: float = 0.5
  begin: str = '<think>'
  end: str = '</think>'
  empty: str = '\n\n'

  def __post_init__(self):
    if not 0 <= self.share <= 1:
      raise ValueError(
        f'a share of {self.share:g} thoughts cannot be left out; use one in '
        '[0, 1]'
      )
    if not (self.begin and self.end):
      raise ValueError(
        f'a thought between {self.begin!r} and {self.end!r} cannot be found; '
        'give both marks a text'
      )

  def collect(self, tools, prompts, state, key):
    rollouts, scores, state = super().collect(tools, prompts, state, key)
    lost = jax.random.uniform(key, rollouts.valid.shape) < self.share
    [empty] = tools.encode([self.empty])
    said = tools.pieces(rollouts)
    response, mask, action = (
      np.asarray(x)
      for x in (
        rollouts.content.response,
        rollouts.response_mask,
        rollouts.action_mask,
      )
    )
    texts = {}
    for row in np.flatnonzero(lost):
      there = mask[row]
      ids, own = response[row, there].tolist(), action[row, there].tolist()
      for first, last in reversed(self._thoughts(said[row])):
        if all(own[first:last]):
          ids[first:last], own[first:last] = empty, [True] * len(empty)
      if len(ids) <= response.shape[1]:
        texts[int(row)] = ids, own
    tools.note('plan/dropped', float(jnp.mean(lost)))
    return actions.replaced(rollouts, texts), scores, state

  def _thoughts(self, pieces):
    """The first token of every thought, and the first one behind it."""
    pattern = f'{re.escape(self.begin)}(.*?){re.escape(self.end)}'
    found = re.finditer(pattern, ''.join(pieces), re.DOTALL)
    return [spans.inside(pieces, *thought.span(1)) for thought in found]
