"""Oracles of the entries that learn from what others did."""

from __future__ import annotations

from math import exp

from tests.oracles.parts import (
  Answer,
  centred,
  entry,
  on_tokens,
  over_tokens,
  ratio,
  token_mean,
)


@entry()
def hnpg(case):
  """Arxiv 2311.08384: the surrogate and the KL of TRPO, on its rows.

  The natural step itself is the update rule's, and the states the plan's.
  """
  a, w = on_tokens(case, centred(case, case.rewards)), token_mean(case)

  def surrogate(now, it):
    return -a[it] * ratio(case, now, it)

  def trust(now, it):
    d = now.logp[it] - case.old.logp[it]
    return exp(d) - 1 - d

  loss = over_tokens(case, w, surrogate, trust)
  return Answer(loss, advantages=a, weights=w)
