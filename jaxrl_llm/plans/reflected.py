"""Episodes that went wrong, told as if the policy had noticed and mended it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, playing
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Reflected(Plan):
  """Episodes of which bad ones turn into the good one of their group.

  A bad episode earned less than the best of its group by more than a gap, which
  is good. Where they part, it is rewritten:

      what was said and told until then, and the turn that was wrong   given
      a sentence that it was                                         learned
      the good episode from the turn on at which they part           learned

  What the environment says is given throughout. The row has the scores of the
  good episode, and the log-probs of the policy. Episodes stay as they are where
  the wrong turn was their last one, or where there is no room for both.

  Attributes:
    samples: episodes from a prompt. turns: the most of an episode.
    good: alpha, what the best must earn more than. gap: beta.
    revisions: sentences, of which each bad episode gets one by chance.

  Raises:
    ValueError: no sentence, or a sampler that records its candidates.

  Source: Agent-R, arXiv 2501.11425, sections 3.1 and 3.2.
  """

  samples: int = 8
  turns: int = 4
  good: float = 0.5
  gap: float = 0.2
  revisions: tuple[str, ...] = ('No. ',)

  def __post_init__(self):
    if not self.revisions:
      raise ValueError(
        'revisions is empty: a bad episode needs a sentence to turn at'
      )

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'environment'},
      turns=self.turns,
      written=self.revisions,
    )

  def collect(self, tools, prompts, state, key):
    act, choose = jax.random.split(key)
    rows, log = playing.play(
      tools, prompts, act, samples=self.samples, turns=self.turns
    )
    rows, scores = playing.judged(tools, rows, log)
    sentences = tools.encode(self.revisions)
    which = jax.random.randint(choose, rows.valid.shape, 0, len(sentences))
    rewards = np.asarray(scores.total)
    rewards = np.where(rows.valid, rewards, -np.inf)
    source, texts = np.arange(len(rewards)), {}
    for row, best in self._pairs(rewards):
      words = sentences[int(which[row])]
      spliced = _spliced(rows, log, row, best, words)
      if spliced is not None:
        source[row], texts[row] = best, spliced
    tools.note('plan/reflected', len(texts) / len(rewards))
    if not texts:
      return rows, scores, state
    changed = jnp.asarray(source != np.arange(len(rewards)))
    truncated = rows.truncated[source]
    rows = actions.replaced(rows, texts).replace(truncated=truncated)
    rows = actions.partly_drawn(tools, rows, changed)
    components = scores.components[jnp.asarray(source)]
    return rows, scores.replace(components=components), state

  def _pairs(self, rewards):
    """(bad, good) rows of each group."""
    for first in range(0, len(rewards), self.samples):
      own = rewards[first : first + self.samples]
      best = int(own.argmax())
      if own[best] > self.good:
        for row in np.flatnonzero(own[best] - own > self.gap):
          if np.isfinite(own[row]):
            yield first + int(row), first + best


def _spliced(rows, log, bad, good, words):
  """(tokens, which are learned) of a bad episode that turns good, or None."""
  both = log.taken[bad] & log.taken[good]
  apart = both & (log.action[bad] != log.action[good])
  if not apart.any():
    return None
  turn = int(apart.argmax())
  if turn + 1 == log.taken.shape[1] or not log.taken[bad, turn + 1]:
    return None
  tokens = np.asarray(rows.content.response)
  until, since = log.start[bad, turn + 1], log.start[good, turn]
  end = int(rows.length[good])
  said = [*tokens[bad, :until], *words, *tokens[good, since:end]]
  if len(said) > tokens.shape[1]:
    return None
  learned = np.asarray(rows.action_mask)[good, since:end]
  return said, [*[False] * until, *[True] * len(words), *learned]
