"""Filters: rows that train and rows that do not.

f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N], 0 or 1
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics


def mixed_groups(rewards, group, valid):
  """1 for rows of a group whose rewards are not all equal, else 0.

  Groups that the policy always solves, or never, carry no group-relative
  signal; dropping them keeps the effective batch from shrinking unnoticed.

  Source: DAPO, arXiv 2503.14476, equation 11.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(mixed_groups(rewards, group, valid))
    [1. 1. 1. 1. 0. 0.]
  """
  low = numerics.group_min(rewards, group, valid)
  high = numerics.group_max(rewards, group, valid)
  return jnp.where(valid & (high > low), 1.0, 0.0)


def determination(rewards, scores, weights):
  """R^2 of rewards and scores, over rows as often as a filter draws them.

      (sum_i w_i (r_i - mean r) (s_i - mean s))^2
      / (sum_i w_i (r_i - mean r)^2 sum_i w_i (s_i - mean s)^2)

  with weighted means: how much of what the rows are worth the reward model
  says. Of filters, the one of largest R^2 is chosen, on responses whose scores
  are known.

  Args:
    rewards: f32[N], of the reward model. scores: f32[N], what rows are worth.
    weights: f32[N] >= 0, see `weights`.

  Returns:
    f32[] in [0, 1]; 0 where rewards or scores do not differ.

  Source: PF-PPO, arXiv 2409.06957, section 4.2.
  """
  share = numerics.safe_divide(weights, jnp.sum(weights))
  there = weights > 0

  def centred(each):
    # Above the least, which is exactly 0 where all are equal.
    least = jnp.min(each, where=there, initial=jnp.inf)
    above = jnp.where(there, each - least, 0.0)
    return above - jnp.sum(share * above)

  x, y = centred(rewards), centred(scores)
  both = jnp.sum(share * x * y) ** 2
  return numerics.safe_divide(
    both, jnp.sum(share * x**2) * jnp.sum(share * y**2)
  )


def rate_between(rewards, group, valid, *, low=0.25, high=0.75):
  """1 for rows of a group whose mean reward lies in [low, high], else 0.

  A group's mean reward bounds from below how far one step can move the
  policy on its prompt; it does so most at 1/2.

  Args:
    rewards: f32[N], accuracies. group: i32[N]. valid: bool[N].
    low, high: in reward units. Groups at the bounds are kept; 0 and 1 keep
      everything.

  Source: Online Difficulty Filtering, arXiv 2504.03380, section 3. The bounds
    are recalled.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(rate_between(rewards, group, valid, low=0.0, high=0.5))
    [1. 1. 1. 1. 0. 0.]
  """
  mean = numerics.group_mean(rewards, group, valid)
  return jnp.where(valid & (mean >= low) & (mean <= high), 1.0, 0.0)


def best_rows(rewards, group, valid):
  """1 on a group's best rows, those that tie included; 0 on the others.

  After it, token costs and their averages are of the best rows alone, while
  losses of groups still compare all valid rows.
  """
  best = rewards == numerics.group_max(rewards, group, valid)
  return jnp.where(valid & best, 1.0, 0.0)


def rows_above(rewards, group, valid, *, floor=0.5):
  """1 for rows whose reward is above a floor, whatever their group's are.

  Args:
    floor: in reward units.
  """
  del group
  return jnp.where(valid & (rewards > floor), 1.0, 0.0)
