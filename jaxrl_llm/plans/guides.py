"""Responses that a guide begins and the policy ends, or the other way round.

The guide is the first policy of `teacher.paths`: the supervised model, say,
that the policy itself began as.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import actions, prefixes, resets
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Guided(Plan):
  """Groups written by the policy and its guide, one after the other.

  The guide first: the policy goes on from a prefix that the guide wrote and
  that is no action of the policy's. The policy first: the guide completes
  what the policy began; its tokens are actions that the extra `guide`
  bool[N, T] marks, of use to a critic alone; their log-probs are the
  policy's. Which of the two it is holds for all groups of an iteration.

  Attributes:
    samples: rows of a group. restart: the probability of a handover.
    before, after: probability that the guide is first, in iterations before
      `turn` and from it on.

  Source: RLGF, arXiv 2306.11816, algorithms 1 to 4.
  """

  samples: int = 4
  restart: float = 0.8
  before: float = 1.0
  after: float = 1.0
  turn: int = 0

  @property
  def contract(self):
    return Contract(self.samples, provides={'guide'}, asks={'teacher'})

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    which, first, where, second = jax.random.split(key, 4)
    odds = self.before if int(state) < self.turn else self.after
    guide_first = bool(jax.random.uniform(which) < odds)
    writers = tools.rival, tools.generate
    begin, end = writers if guide_first else writers[::-1]
    start = begin(prompts, first, self.samples)
    cut = resets.cuts(where, start.length, share=self.restart)
    # Without a handover the policy writes all: it follows a prefix of no
    # token, or keeps what it began.
    handed = (cut > 0) | guide_first
    more = end(prefixes.as_prompts(start, cut), second, 1)
    rollouts = prefixes.joined(start, cut, more, handed)
    early = jnp.arange(tools.columns) < cut[:, None]
    late = handed[:, None] & ~early & rollouts.response_mask
    guide = late & (not guide_first)
    logp = jnp.where(guide, tools.score(rollouts).logp, rollouts.logp)
    rollouts = rollouts.replace(logp=logp).with_extras(guide=guide)
    rollouts = actions.within(rollouts, ~early | (not guide_first))
    tools.note('plan/guide_first', float(guide_first))
    return *tools.verify(rollouts), state + 1
