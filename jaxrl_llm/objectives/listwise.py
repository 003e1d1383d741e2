"""Losses of lists of responses that no sum over pairs expresses.

    f(scores f32[B, G], rewards f32[B, G], live bool[B, G]) -> f32[B]

Scores are those of `objectives.grouped`; rewards are the labels of the list.
Of rows that tie none is above another.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def _below(rewards, live):
  """bool[B, G, G]: column j is a live row of lower reward than row i."""
  lower = rewards[..., None, :] < rewards[..., :, None]
  return lower & live[..., None, :] & live[..., :, None]


def plackett_luce(scores, rewards, live, *, weight=0.05):
  """The likelihood of a ranking that picks the best, then the next, ...

      -sum_k [s_k - log(e^s_k + sum_{r_j < r_k} e^s_j)],   s = weight score

  Rows that tie do not compete, so a uniform list costs nothing.

  Args:
    weight: beta > 0, per nat.

  Source: list-MLE in LiPO, arXiv 2402.01878.
  """
  scaled = weight * scores
  rivals = _below(rewards, live) | jnp.eye(live.shape[-1], dtype=bool)
  high = jnp.broadcast_to(scaled[..., None, :], rivals.shape)
  total = jax.nn.logsumexp(high, axis=-1, where=rivals)
  return numerics.masked_sum(total - scaled, live, axis=-1)


def softmax(scores, rewards, live, *, weight=0.05):
  """Cross-entropy between the labels' shares and the scores' softmax.

      -sum_k r_k / (sum_j r_j) log softmax(weight score)_k

  Args:
    weight: beta > 0, per nat. Rewards below 0 count as 0.

  Returns:
    f32[B]; 0 where no reward is above 0.

  Source: list-softmax (ListNet) in LiPO, arXiv 2402.01878.
  """
  labels = jnp.where(live, jnp.maximum(rewards, 0.0), 0.0)
  total = jnp.sum(labels, axis=-1, keepdims=True)
  target = numerics.safe_divide(labels, total)
  some = jnp.any(live, axis=-1, keepdims=True)
  scaled = jnp.where(some, weight * scores, 0.0)
  normaliser = jax.nn.logsumexp(
    scaled, axis=-1, where=live | ~some, keepdims=True
  )
  return numerics.masked_sum(target * (normaliser - scaled), live, axis=-1)


def point_square(scores, rewards, live, *, weight=0.05):
  """sum_k (r_k - weight score_k)^2.

  Source: point-MSE in LiPO, arXiv 2402.01878.
  """
  return numerics.masked_sum((rewards - weight * scores) ** 2, live, axis=-1)


def point_logistic(scores, rewards, live, *, weight=0.05):
  """sum_k of the cross-entropy between r_k and sigmoid(weight score_k).

  Args:
    weight: beta > 0, per nat. Rewards are held to [0, 1].

  Source: point-sigmoid in LiPO, arXiv 2402.01878.
  """
  scaled = weight * scores
  label = jnp.clip(rewards, 0.0, 1.0)
  right, wrong = jax.nn.log_sigmoid(scaled), jax.nn.log_sigmoid(-scaled)
  losses = -label * right - (1 - label) * wrong
  return numerics.masked_sum(losses, live, axis=-1)


def group_equivalent(
  scores, rewards, live, *, weight=0.1, variance=1.0, correct=0.5
):
  """Equally good responses above equally bad ones, and equally likely.

      -log sigmoid(weight (mean_good h - mean_bad h)) + variance var_good(h)

  Args:
    weight: beta > 0, per nat. variance: lambda >= 0, of the log-ratios h,
      dividing by their number. correct: a reward above it is good.

  Returns:
    f32[B]; 0 for a group without both kinds. One of each is DPO.

  Source: GEPO, arXiv 2505.12723. Its formula is described in prose; whether
    beta multiplies the variance is not said.
  """
  good = live & (rewards > correct)
  bad = live & ~good
  margin = numerics.masked_mean(scores, good, axis=-1)
  margin = margin - numerics.masked_mean(scores, bad, axis=-1)
  spread = numerics.masked_variance(scores, good, axis=-1)
  both = jnp.any(good, axis=-1) & jnp.any(bad, axis=-1)
  loss = -jax.nn.log_sigmoid(weight * margin) + variance * spread
  return jnp.where(both, loss, 0.0)


def _shared_best(rewards, live):
  """f32[B, G] of sum 1: the best row, shared by rows that tie."""
  high = jnp.max(rewards, axis=-1, where=live, initial=-jnp.inf, keepdims=True)
  best = live & (rewards == high)
  return numerics.safe_divide(
    best * 1.0, jnp.sum(best, axis=-1, keepdims=True) * 1.0
  )


def only_best(rewards, live):
  """The weights [i is best] of likelihoods: best-of-N imitation."""
  return _shared_best(rewards, live), jnp.zeros(live.shape)


def best_against_worst(rewards, live):
  """The best row up, the worst row down."""
  return _shared_best(rewards, live), _shared_best(-rewards, live)


def best_against_sum(rewards, live):
  """The best row up, each of the others down."""
  best = _shared_best(rewards, live)
  return best, jnp.where(live, 1 - best, 0.0)


def best_against_mean(rewards, live):
  """The best row up, the mean of the others down; none for a single row."""
  best, rest = best_against_sum(rewards, live)
  return best, numerics.safe_divide(rest, jnp.sum(rest, -1, keepdims=True))


def likelihood_contrast(
  scores, rewards, live, *, sides=best_against_mean, weight=0.1
):
  """-sum_i up_i s_i + weight sum_i down_i s_i: a negative gradient.

  Args:
    sides: f(rewards, live) -> (up, down), f32[B, G] each.
    weight: beta >= 0 of what is pushed down; 0 is imitation of the best.

  Source: arXiv 2404.14367, and its code
    (Asap7772/understanding-rlhf).
  """
  up, down = sides(rewards, live)
  return numerics.masked_sum((weight * down - up) * scores, live, axis=-1)
