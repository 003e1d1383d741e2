"""Advantages that look at the tails of the reward distribution."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.reads import reads

_LEAST_SPREAD = 1e-3  # of the published code; below it rewards are equal


def mixed_value_at_risk(
  score, low, high, *, levels=(0.2, 0.9), tail_weight=1.5, epsilon=1e-6
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


@reads('bundle', 'paper')
@dataclasses.dataclass(frozen=True)
class MixedValueAtRisk:
  """Stage: bundles of questions judged by a tracked distribution of scores.

      S_p = mean reward of paper p, times the questions of a full bundle
      A_i = mixed_value_at_risk(S_p) / (std of S over the bundle's papers)
                                     / (std of r over the row's group)
      q_k <- q_k + rate (a_k - P[S < q_k])

  A paper holds one response to each question of a bundle. The extras `bundle`
  i32[N] and `paper` i32[N] number them. The quantiles start as those of the
  first iteration and are read before they move. A spread of less than 1e-3
  divides by 1: papers, or answers to a question, that are all alike.

  Rows that do not count leave the mean of their paper, and a bundle of fewer
  questions is scored as a full one, so that all are of one distribution.

  Attributes:
    low, high: levels a_d and a_u. tail_weight: omega. rate: of the tracker,
      in units of S. epsilon: added to both spreads and to the levels.

  Source: RiskPO, arXiv 2510.00911, algorithm 1, and its code with
    `credit_assign_mode=std`. The code tracks the quantiles and then reads
    those of each bundle's own papers, where equal ones get 0; the tracked
    ones here are the paper's. It scores a short bundle by its sum.
  """

  low: float = 0.2
  high: float = 0.9
  tail_weight: float = 1.5
  rate: float = 0.1
  epsilon: float = 1e-6

  def init(self, spec):
    del spec
    return {'quantiles': jnp.zeros(2), 'iterations': jnp.int32(0)}

  def update(self, credit, rollouts, state):
    extras, valid = rollouts.extras, rollouts.valid
    bundle = grouping.joint(extras['bundle'])
    paper = grouping.joint(bundle, extras['paper'])
    answers = numerics.group_count(paper, valid)
    score = numerics.group_mean(credit.rewards, paper, valid) * jnp.max(answers)
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
    value = value / self._spread(score, bundle, one)
    value = value / self._spread(credit.rewards, rollouts.group, valid)
    advantages = jnp.where(rollouts.loss_mask, value[:, None], 0)
    below = numerics.masked_mean(
      (score[:, None] < quantiles) * 1.0, one[:, None], axis=0
    )
    step = jnp.where(jnp.any(one), jnp.asarray(levels) - below, 0.0)
    state = {
      'quantiles': quantiles + self.rate * step,
      'iterations': state['iterations'] + 1,
    }
    return credit.replace(advantages=advantages), state

  def _spread(self, x, group, where):
    spread = numerics.group_std(x, group, where, ddof=1)
    return jnp.where(spread > _LEAST_SPREAD, spread, 1.0) + self.epsilon
