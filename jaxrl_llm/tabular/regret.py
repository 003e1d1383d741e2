"""Regret of a player, and a loss that trains one to have none.

losses f32[T, A] of every action, policies f32[T, A] as probabilities.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics


def regret(losses, policies):
  """sum_t <l_t, p_t> - min_a sum_t l_ta: against the best fixed action.

  Source: arXiv 2403.16843.
  """
  return jnp.sum(losses * policies) - jnp.min(jnp.sum(losses, axis=0))


def dynamic_regret(losses, policies):
  """sum_t <l_t, p_t> - sum_t min_a l_ta: against the best action each time."""
  return jnp.sum(losses * policies) - jnp.sum(jnp.min(losses, axis=1))


def regret_loss(regrets, *, focus=1.0, power=2.0):
  """The mean of h(R), the more the worse a game went.

      sum_j h(R_j) f(R_j) / sum_j f(R_j)
      h(R) = max(R, 0)^power,   f(R) = max(R, 0)^focus

  Args:
    regrets: f32[N], of N games. focus: k > 0; towards infinity only the worst
      game counts. power: of h.

  Returns:
    0 where no game has positive regret; h(R) for one game.

  Source: arXiv 2403.16843. The powers are recalled.
  """
  positive = jnp.maximum(regrets, 0.0)
  # Relative to the worst game, so that no power overflows.
  top = jnp.max(positive)
  share = numerics.safe_divide(positive, top)
  live = share > 0
  weight = jnp.where(live, jnp.where(live, share, 1.0) ** focus, 0.0)
  return numerics.safe_divide(
    jnp.sum(weight * positive**power), jnp.sum(weight)
  )


def on_simplex(point):
  """The nearest probability vector to f32[A]."""
  ordered = jnp.sort(point, descending=True)
  excess = jnp.cumsum(ordered) - 1
  count = jnp.arange(1, point.shape[0] + 1)
  size = jnp.sum(ordered - excess / count > 0)
  return jnp.maximum(point - excess[size - 1] / size, 0.0)


def regularised_leader(losses, *, step_size=1.0):
  """f32[T, A]: follow the leader held to the middle by half its square.

      p_t = argmin_p <sum_{s < t} l_s, p> + |p|^2 / (2 step_size)

  What a linear attention layer learns from `regret_loss`.

  Source: arXiv 2403.16843.
  """
  seen = jnp.cumsum(losses, axis=0) - losses
  return jnp.stack([on_simplex(-step_size * total) for total in seen])
