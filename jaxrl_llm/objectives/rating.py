"""Reward models: what is learned is a number for each whole response.

The number is read off the head `after_values` at the response's last token,
where everything that was written is known.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads
from jaxrl_llm.rewards import learned


@reads('after_values')
def last_value(logp, old_logp, mask, *, after_values):
  """r = v_T, f32[N]: the head's answer at the last token that counts.

  0 for a row without tokens. A score in the sense of `objectives.grouped`.

  Args:
    after_values: f32[N, T], or [N, T, K] of a head of K answers: f32[N, K].
  """
  del logp, old_logp
  columns = jnp.arange(mask.shape[-1])
  last = columns == numerics.last_index(mask)[:, None]
  last = last.reshape(*mask.shape, *(1 for _ in after_values.shape[2:]))
  return numerics.masked_sum(after_values, last, axis=1)


def bradley_terry(chosen, rejected, gap, *, margin=0.0, centring=0.01):
  """The link of a reward model: `rewards.learned.bradley_terry` of a pair.

  Args:
    margin: by how much more the rewards must differ, per unit of `gap`, by
      which the record says that one is better.
    centring: preferences say nothing of a reward's zero; this chooses one.
  """
  return learned.bradley_terry(
    chosen, rejected, margin=margin * gap, centring=centring
  )


def apart(chosen, rejected, gap, *, bound=0.01):
  """The link of inverse reinforcement learning: -(r_w - r_l), within a bound.

      rejected - chosen + bound (chosen^2 + rejected^2)

  Its slope is that of maximum likelihood under a policy that has adapted to
  the reward: it rises on demonstrations and falls on what the policy writes.

  Args:
    bound: per reward unit; rewards end at 1 / (2 bound) and its opposite where
      nothing else holds them.

  Source: DR-IRL, arXiv 2503.18991, read at second hand; the bound is ours.
  """
  del gap
  return rejected - chosen + bound * (chosen**2 + rejected**2)


@reads('after_values', 'rewards')
def reaction(
  logp, old_logp, advantages, mask, *, after_values, rewards, correct=0.5
):
  """`rewards.learned.reaction` of each response alone.

      -log sigmoid(r) where liked,   -log(1 - sigmoid(r)) elsewhere

  Args:
    correct: a reward above it says that the response was liked.

  Returns:
    f32[N]; 0 for a row without tokens.

  Source: RLUF, arXiv 2505.14946; reconstructed from its abstract.
  """
  del advantages
  ratings = last_value(logp, old_logp, mask, after_values=after_values)
  losses = learned.reaction(ratings, (rewards > correct) * 1.0)
  return jnp.where(jnp.any(mask, axis=-1), losses, 0.0)


@reads('after_values', 'components')
def least_squares(
  logp, old_logp, advantages, mask, *, after_values, components
):
  """Squared errors of the K scores of each response alone, in the mean.

      1/K sum_k (r_k - score_k)^2

  Args:
    after_values: f32[N, T, K]. components: f32[N, K], the scores.

  Returns:
    f32[N]; 0 for a row without tokens.

  Raises:
    ValueError: another number of scores than of answers.

  Source: Multi-Objective GRPO, arXiv 2503.21819; reconstructed from its
    abstract.
  """
  del advantages
  ratings = last_value(logp, old_logp, mask, after_values=after_values)
  if ratings.shape != components.shape:
    raise ValueError(
      f'a head for {ratings.shape[-1]} labels of responses that have '
      f'{components.shape[-1]} scores each; set recipe.labels='
      f'{components.shape[-1]}'
    )
  live = jnp.any(mask, axis=-1)[:, None]
  error = jnp.where(live, ratings - components, 0.0)
  return jnp.mean(error**2, axis=-1)
