"""Optimistic plans in a finite environment that is learned, held to a clone.

    Q_h(s, a) = min(r_h(s, a) + b_h(s, a) + sum_s' P_h(s' | s, a) V_h+1(s'),
                    H - h)
    V_h(s)    = weight log sum_a reference_h(a | s) e^(Q_h(s, a) / weight)
    policy_h  = reference_h e^((Q_h - V_h) / weight)

for rewards in [0, 1]. P are frequencies, and b what is owed to actions that
were seldom tried. With a uniform reference it is optimism with an entropy, with
one cloned from demonstrations (`mirror.cloned`) the paper's.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.tabular import mirror


def planned(dynamics, rewards, bonus, log_reference, *, weight):
  """The policy of each step, log f32[H, S, A], and values f32[H + 1, S].

  Args:
    dynamics: f32[H, S, A, S], rows that add up to 1; to 0 where nothing is
      known, which then pays no more. rewards, bonus: f32[H, S, A].
    log_reference: f32[H, S, A]. weight: lambda > 0, reward units per nat.

  Source: Demonstration-Regularized RL, arXiv 2310.17303, section 4, in the
    form of UCBVI with an entropy, arXiv 2006.06294. Recalled.
  """
  chex.assert_equal_shape([rewards, bonus, log_reference])
  chex.assert_equal_shape_prefix([dynamics, rewards], 3)
  horizon, states, _ = rewards.shape
  left = horizon - jnp.arange(horizon, dtype=jnp.float32)

  def step(value, known):
    dynamics, gain, log_reference, most = known
    q = jnp.minimum(gain + dynamics @ value, most)
    value = mirror.soft_value(q, log_reference, weight=weight)
    log_policy = mirror.mirror_step(log_reference, q, step_size=1 / weight)
    return value, (log_policy, value)

  last = jnp.zeros(states)
  known = dynamics, rewards + bonus, log_reference, left
  _, (log_policy, values) = jax.lax.scan(step, last, known, reverse=True)
  return log_policy, jnp.concatenate([values, last[None]])


def owed(counts, *, scale):
  """f32[H, S, A]: b = scale (H - h) / sqrt(max(n, 1)).

  Args:
    counts: f32[H, S, A], n, how often each was tried. scale: >= 0; with
      sqrt(2 log(...)) rewards are overrated with high probability.

  Source: Hoeffding's bonus of UCBVI, arXiv 1703.05449, whose constants are not
    practical. Recalled.
  """
  left = counts.shape[0] - jnp.arange(counts.shape[0], dtype=jnp.float32)
  return scale * left[:, None, None] / jnp.sqrt(jnp.maximum(counts, 1.0))


def frequencies(moves):
  """f32[H, S, A, S] of moves seen f32[H, S, A, S]; 0 where none was."""
  total = jnp.sum(moves, axis=-1, keepdims=True)
  return numerics.safe_divide(moves, jnp.broadcast_to(total, moves.shape))


def earned(dynamics, rewards, log_policy, start):
  """f32[]: what a policy is paid in an episode, on average.

  Args:
    log_policy: f32[H, S, A]. start: f32[S], chances of the first state.
  """

  def step(value, known):
    dynamics, rewards, log_policy = known
    q = rewards + dynamics @ value
    return jnp.sum(jnp.exp(log_policy) * q, axis=-1), None

  known = dynamics, rewards, log_policy
  first = jnp.zeros_like(start)
  return start @ jax.lax.scan(step, first, known, reverse=True)[0]
