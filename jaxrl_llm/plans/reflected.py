"""Episodes that went wrong, told as if the policy had noticed and mended it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import actions, grown, mended, verdicts
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Reflected(Plan):
  """Episodes of a tree search, of which bad ones turn into good ones.

  A bad episode earned less than one that is good by more than a gap. It is
  rewritten, up to its first wrong turn, with that one of the good ones which
  has most turns with it in common, the first of the best of several:

      what was said and told until then, and the turn that was wrong   given
      a sentence that it was                                         learned
      the good episode from the turn on at which they part           learned

  What the environment says is given throughout. The row has the scores of the
  good episode, and the log-probs of the policy. Episodes stay as they are where
  the wrong turn was their last one, or where there is no room for both.

  Attributes:
    samples: episodes from a prompt. turns: the most of an episode.
    good: alpha, what a good one earns more than. gap: beta.
    revisions: sentences, of which each bad episode gets one by chance.
    children: episodes from a node of the tree; `samples` of them are
      independent. explore: as of `search_tree.bound`.
    ask: how the policy is asked whether a turn was wrong, see
      `verdicts.first_wrong`; ''; or no room to ask: the turn at which the two
      part. fine: words of a verdict that a turn was not.

  Raises:
    ValueError: no sentence, samples that are no multiple of the children, or a
      sampler that records its candidates.

  Source: Agent-R, arXiv 2501.11425, sections 3.1 and 3.2, and its code.
  """

  samples: int = 8
  turns: int = 4
  good: float = 0.5
  gap: float = 0.2
  revisions: tuple[str, ...] = ('No. ',)
  children: int = 2
  explore: float = 0.25
  ask: str = ''
  fine: tuple[str, ...] = ('good', 'uncertain')

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
      rewords=bool(self.ask),
      written=self.revisions,
    )

  def collect(self, tools, prompts, state, key):
    act, choose, judge = jax.random.split(key, 3)
    rows, log, scores = grown.grow(
      tools,
      prompts,
      act,
      samples=self.samples,
      turns=self.turns,
      children=self.children,
      explore=self.explore,
    )
    sentences = tools.encode(self.revisions)
    which = jax.random.randint(choose, rows.valid.shape, 0, len(sentences))
    rewards = np.where(rows.valid, scores.total, -np.inf)
    pairs = dict(self._pairs(rewards, log))
    wrong = {}
    if self.ask:
      wrong = verdicts.first_wrong(
        tools, rows, log, [*pairs], judge, ask=self.ask, fine=self.fine
      )
    source, texts = np.arange(len(rewards)), {}
    for row, model in pairs.items():
      words = sentences[int(which[row])]
      turn = wrong.get(row, mended.apart(log, row, model))
      spliced = mended.spliced(rows, log, row, model, turn, words)
      if spliced is not None:
        source[row], texts[row] = model, spliced
    tools.note('plan/reflected', len(texts) / len(rewards))
    if not texts:
      return rows, scores, state
    changed = jnp.asarray(source != np.arange(len(rewards)))
    truncated = rows.truncated[source]
    rows = actions.replaced(rows, texts).replace(truncated=truncated)
    rows = actions.partly_drawn(tools, rows, changed)
    components = scores.components[jnp.asarray(source)]
    return rows, scores.replace(components=components), state

  def _pairs(self, rewards, log):
    """(bad, good) rows, each bad one once."""
    for first in range(0, len(rewards), self.samples):
      own = first + np.arange(self.samples)
      good = own[rewards[own] > self.good]
      for row in own[np.isfinite(rewards[own])]:
        # Of rewards in tenths differences are equal only to rounding.
        better = good[rewards[good] - rewards[row] > self.gap + 1e-5]
        near = [
          (mended.apart(log, row, other), rewards[other]) for other in better
        ]
        if near:
          yield int(row), int(better[near.index(max(near))])
