"""Advantages that look at the tails of the reward distribution."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics


def mixed_value_at_risk(
  score, low, high, *, levels=(0.2, 0.8), tail_weight=1.5, epsilon=1e-6
):
  """The middle of the distribution, plus its lower tail.

      middle = ((S - q_d)^+ - (S - q_u)^+ + q_d - q_u) / (a_u - a_d + epsilon)
      tail   = -(q_d - S)^+ / (a_d + epsilon)
      A      = (tail_weight tail + middle) / (1 + tail_weight)

  Args:
    score: f32[N], S. low, high: f32[], the quantiles q_d and q_u of S.
    levels: a_d and a_u in (0, 1). tail_weight: omega.

  Returns:
    f32[N], reward units; at most 0.

  Source: RiskPO, arXiv 2510.00911, equations 5 to 8, and its code.
  """
  below, above = levels
  middle = jnp.maximum(score - low, 0) - jnp.maximum(score - high, 0)
  middle = (middle + low - high) / (above - below + epsilon)
  tail = -jnp.maximum(low - score, 0) / (below + epsilon)
  return (tail_weight * tail + middle) / (1 + tail_weight)


@dataclasses.dataclass(frozen=True)
class MixedValueAtRisk:
  """Stage: bundles of questions judged by a tracked distribution of scores.

      S_p = sum of the rewards of paper p
      A_i = mixed_value_at_risk(S_p) / (std over papers + epsilon)
      q_k <- q_k + rate (a_k - P[S < q_k])

  A paper holds one response to each question of a bundle. The extras `bundle`
  i32[N] and `paper` i32[N] number them; every row of a paper gets its
  advantage. The quantiles start as those of the first iteration and are read
  before they move. Rows that do not count add nothing to their paper. Where
  papers have no spread, being equal or one alone, it is taken as 1.

  Attributes:
    low, high: levels a_d and a_u. tail_weight: omega. rate: of the tracker,
    in reward units. epsilon: in reward units.

  Source: RiskPO, arXiv 2510.00911, algorithm 1, and its code, with uniform
    credit to the responses of a paper.
  """

  low: float = 0.2
  high: float = 0.8
  tail_weight: float = 1.5
  rate: float = 0.1
  epsilon: float = 1e-6
  needs = frozenset({'extras:bundle', 'extras:paper'})

  def init(self, spec):
    del spec
    return {'quantiles': jnp.zeros(2), 'iterations': jnp.int32(0)}

  def update(self, credit, rollouts, state):
    extras, valid = rollouts.extras, rollouts.valid
    paper = grouping.joint(extras['bundle'], extras['paper'])
    score = numerics.group_sum(credit.rewards, paper, valid)
    one = grouping.representatives(paper, valid)
    levels = (self.low, self.high)
    start = grouping.quantile(score, one, levels)
    quantiles = jnp.where(state['iterations'] == 0, start, state['quantiles'])
    value = mixed_value_at_risk(
      score,
      *quantiles,
      levels=levels,
      tail_weight=self.tail_weight,
      epsilon=self.epsilon,
    )
    everyone = grouping.whole(paper)
    spread = numerics.group_std(value, everyone, one, ddof=1)
    spread = jnp.where(spread > 0, spread, 1.0)
    advantages = jnp.where(valid, value / (spread + self.epsilon), 0)
    below = numerics.masked_mean(
      (score[:, None] < quantiles) * 1.0, one[:, None], axis=0
    )
    step = jnp.where(jnp.any(one), jnp.asarray(levels) - below, 0.0)
    state = {
      'quantiles': quantiles + self.rate * step,
      'iterations': state['iterations'] + 1,
    }
    advantages = jnp.where(rollouts.loss_mask, advantages[:, None], 0)
    return credit.replace(advantages=advantages), state
