"""Flows to every outcome, learned without a reward, and what one makes of them.

States S, actions A of which one ends, outcomes Y:

    log_flow     f32[S, Y]     log F(s | y), what flows through s and ends in y
    log_forward  f32[S, A, Y]  log P_F(a | s, y)
"""

from __future__ import annotations

import jax


def balance(log_flow, log_forward, log_backward, log_next):
  """The residual of a transition s -> s' under one outcome, any shape.

      log F(s | y) + log P_F(s' | s, y) - log F(s' | y) - log P_B(s | s', y)

  Args:
    log_next: log F(s' | y); where the transition ends, log R(x | y): 0 if x is
      the outcome, and a floor if it is another.

  Source: OC-GFN, arXiv 2310.03419, its detailed balance.
  """
  return log_flow + log_forward - log_next - log_backward


def teleported(log_flow, log_forward, log_backward, log_next, log_reward):
  """The residual of a transition that is paid with its walk's end, any shape.

      log F(s | y) + log P_F(s' | s, y)
        - log F(s' | y) - log P_B(s | s', y) - log R(x | y)

  `balance` where the walk ended in its outcome, R = 1. Of a walk that missed it
  every transition is told so, not the last alone. Flows that balance have a
  residual at each of those, so what is learned of both is a compromise, from
  which `extracted` may be far off: the study `outcome_flows` measures by how
  much.

  Args:
    log_next: log F(s' | y); where the transition ends, 0.
    log_reward: log R(x | y) of the x that the walk ended in: 0 or a floor.

  Source: OC-GFN, arXiv 2310.03419, equation 4, outcome teleportation, read in
    a review that quotes its right side; that a last transition is paid once is
    ours.
  """
  return balance(log_flow, log_forward, log_backward, log_next) - log_reward


def extracted(log_reward, log_flow, log_forward):
  """f32[S, A]: log-probs of the policy that ends in y in proportion to r(y).

      P(a | s) = sum_y r(y) F(s | y) P_F(a | s, y) / sum_y r(y) F(s | y)

  Exact where the flows balance and flow back by one P_B for all outcomes.

  Args:
    log_reward: f32[Y].

  Source: OC-GFN, arXiv 2310.03419, section 4.2.
  """
  parts = log_reward + log_flow[:, None] + log_forward
  return jax.nn.log_softmax(jax.nn.logsumexp(parts, axis=-1), axis=-1)


def amortised(log_total, log_posterior, log_reward, log_flow, log_forward):
  """The residual of a predictor of the sum over outcomes, any shape.

      log N(a | s) + log Q(y | s, a)
        - log r(y) - log F(s | y) - log P_F(a | s, y)

  0 for all y where N is the sum that `extracted` divides, and Q each outcome's
  share of it: so N is learned from single outcomes.

  Source: OC-GFN, arXiv 2310.03419, section 4.2.
  """
  return log_total + log_posterior - log_reward - log_flow - log_forward
