"""Losses and measures of reward models, over their scores alone.

J comparisons, U models; scores are in reward units, in which a difference of
one is odds of e.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics

# Losses.


def bradley_terry(chosen, rejected, *, margin=0.0, centring=0.0):
  """-log sigmoid(chosen - rejected - margin) + centring (chosen + rejected)^2.

  With scores r(reference, candidate) that compare a candidate with a
  reference answer it is POLAR's: pairs of one policy's trajectories are then
  the chosen, pairs of two policies' the rejected.

  Args:
    chosen, rejected: f32[J]. margin: how much better the chosen is rated,
      Llama 2 takes 1, 2/3, 1/3 and 0. centring: 0.01 in TRL.

  Source: Bradley and Terry 1952; Llama 2, arXiv 2307.09288;
    POLAR, arXiv 2507.05197, whose loss is recalled.
  """
  chex.assert_equal_shape([chosen, rejected])
  loss = -jax.nn.log_sigmoid(chosen - rejected - margin)
  return loss + centring * (chosen + rejected) ** 2


def reaction(logits, reacted):
  """Cross-entropy of a binary reaction, such as a user's love of an answer.

  Args:
    logits: f32[J]. reacted: f32[J] in [0, 1].

  Source: RLUF, arXiv 2505.14946; reconstructed from its abstract.
  """
  right, wrong = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
  return -reacted * right - (1 - reacted) * wrong


# Mixtures of people.


def assigned(margins, annotator, annotators):
  """i32[H]: the model that explains each annotator's choices best.

      argmax_u sum_{j of h} log sigmoid(m_ju)

  Args:
    margins: f32[J, U], chosen less rejected under each model.
    annotator: i32[J] in [0, H). annotators: H.

  Returns:
    Ties, and annotators without choices, go to the first model.

  Source: MaxMin-RLHF, arXiv 2402.08925, the E step.
  """
  likelihood = jax.nn.log_sigmoid(margins)
  return jnp.argmax(
    jax.ops.segment_sum(likelihood, annotator, annotators), axis=-1
  )


def mixture_losses(margins, annotator, assignment):
  """f32[U]: each model's mean loss on the choices of its annotators.

  0 for a model without annotators, whose parameters then stay.

  Source: MaxMin-RLHF, arXiv 2402.08925, the M step.
  """
  own = assignment[annotator][:, None] == jnp.arange(margins.shape[1])
  return numerics.masked_mean(-jax.nn.log_sigmoid(margins), own, axis=0)


# Which comparison to ask for.


def doubt(features, precision, *, scale=1.0):
  """E |x . (theta_0 - theta_1)|, both from N(theta, scale^2 precision^-1).

      2 scale |x|_{precision^-1} / sqrt(pi)

  A comparison is worth asking where it exceeds a threshold.

  Args:
    features: x f32[..., F], the difference of two trajectories' features.
    precision: Sigma f32[F, F], positive definite.

  Source: PR-LSVI, arXiv 2310.14554. Recalled.
  """
  solved = jnp.linalg.solve(precision, features[..., None])[..., 0]
  norm = jnp.sqrt(jnp.sum(features * solved, axis=-1))
  return 2 * scale * norm / math.sqrt(math.pi)


def informed(precision, features, asked):
  """Sigma + sum over what was asked of x x'.

  Args:
    features: f32[J, F]. asked: bool[J].
  """
  kept = jnp.where(asked[:, None], features, 0.0)
  return precision + kept.T @ kept


# Measures.


def accuracy(chosen, rejected):
  """The share of comparisons in the right order; a tie is half of one."""
  return jnp.mean((1 + jnp.sign(chosen - rejected)) / 2)


def brier(chosen, rejected):
  """mean (1 - sigmoid(chosen - rejected))^2, in [0, 1]; 1/4 for a coin."""
  return jnp.mean(jax.nn.sigmoid(rejected - chosen) ** 2)


def r_squared(predicted, true):
  """The squared correlation: the share of the spread that a line explains.

  0 where either is constant.
  """
  x, y = predicted - jnp.mean(predicted), true - jnp.mean(true)
  spread = jnp.sum(x**2) * jnp.sum(y**2)
  return numerics.safe_divide(jnp.sum(x * y) ** 2, spread)


def best_of(proxy, gold, n: int) -> float:
  """The expected gold score of the best of n by proxy, without bias.

      sum_{i >= n} C(i - 1, n - 1) / C(N, n) gold_(i),   sorted by proxy

  Equal proxies are put in order at random.

  Args:
    proxy, gold: f[N], samples of one prompt. n: in [1, N].

  Raises:
    ValueError: more than there are.

  Source: arXiv 2310.02743; WebGPT, arXiv 2112.09332.
  """
  size = len(gold)
  if not 1 <= n <= size:
    raise ValueError(f'cannot take the best of {n} among {size} samples')
  weights = [math.comb(i, n - 1) / math.comb(size, n) for i in range(size)]
  _, place = np.unique(proxy, return_inverse=True)
  # Over the orders of a tie, the mean at each of its places is its mean.
  tied = np.bincount(place, gold) / np.bincount(place)
  return float(tied[np.sort(place)] @ weights)


def best_of_divergence(n: int) -> float:
  """log n - (n - 1) / n: no less than the KL of best-of-n from one sample.

  Source: arXiv 2310.02743; an upper bound, arXiv 2401.01879.
  """
  return math.log(n) - (n - 1) / n
