"""Advantages of parts of a response: segments and actions.

    estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]

Cut points are tokens that the policy was unsure of, because a continuation
that could only have gone one way earns nothing by itself.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm.advantages import tokens
from jaxrl_llm.credit import Memoryless, earned
from jaxrl_llm.reads import reads


def starts(logp, mask, *, threshold=0.9, interval=5):
  """bool[N, T]: tokens at which a segment starts.

  Those are every `interval`-th of the row's tokens of probability below
  `threshold`, beginning with the first.

  Args:
    logp: f32[N, T]. mask: bool[N, T].

  Source: SPO-chain, arXiv 2505.23564, section 4.1, and its code.
  """
  unsure = mask & (logp < math.log(threshold))
  number = jnp.cumsum(unsure, axis=-1) - 1
  return unsure & (number % interval == 0)


@reads('prefix_value')
def chain(rewards, rollouts, *, threshold=0.9, interval=5):
  """The value that a segment adds, by estimates before each segment.

      A = V(next segment's start) - V(segment's start)
      A = r - V(segment's start)              for the last segment

  Args:
    rewards: f32[N]. rollouts: reads `logp` and the extra `prefix_value`
      f32[N, T], an estimate (from sampled continuations, say) of the value
      of the prefix before each token; only those at `starts` are read.
    threshold, interval: see `starts`.

  Returns:
    f32[N, T], reward units; 0 before the first segment. A row's segments
    add up to r - V(first start).

  Source: SPO-chain, arXiv 2505.23564, equation 4 and its code.
  """
  mask = rollouts.loss_mask
  values = rollouts.extras['prefix_value']
  start = starts(rollouts.logp, mask, threshold=threshold, interval=interval)

  def back(following, column):
    value, here = column
    return jnp.where(here, value, following), following

  def forth(current, column):
    value, here, after = column
    current = jnp.where(here, after - value, current)
    return current, current

  columns = (values.T, start.T)
  _, after = jax.lax.scan(back, rewards, columns, reverse=True)
  zeros = jnp.zeros_like(rewards)
  _, advantages = jax.lax.scan(forth, zeros, (*columns, after))
  return advantages.T


@reads('old_values', 'action_end')
@dataclasses.dataclass(frozen=True)
class ActionGAE(Memoryless):
  """Stage: generalised advantages discounted by actions, not by tokens.

      delta_t = q_t + g_t V_next(t) - V_t
      A_t     = delta_t + g_t trace A_next(t)

  with g_t = discount on the last token of an action and 1 inside it, so the
  best sequence of actions does not depend on how many tokens name them.

  The extra `action_end` bool[N, T] marks the last tokens. It also fills the
  critic's targets A_t + V_t.

  Attributes:
    discount: gamma, per action. trace: lambda, per token.

  Source: BAD and POAD, arXiv 2405.15821, equations 10 to 13, and its code.
  """

  discount: float = 0.95
  trace: float = 0.95

  def apply(self, credit, rollouts):
    end = rollouts.extras['action_end'].astype(bool)
    advantages, targets = tokens.generalized_advantage(
      earned(credit.rewards, rollouts),
      rollouts.extras['old_values'],
      rollouts.loss_mask,
      rollouts.extras.get('old_last_value', 0.0),
      discount=jnp.where(end, self.discount, 1.0),
      trace=self.trace,
    )
    return credit.replace(advantages=advantages, targets=targets)
