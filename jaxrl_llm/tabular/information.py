"""What an update adds to a policy: its differential information.

q ~ policy / reference is the law whose log-ratios are DPO's rewards. Laws are
log-probabilities f32[..., A].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def differential(log_policy, log_reference):
  """log q = log policy - log reference - log Z.

  Source: DID, arXiv 2505.23761. Recalled.
  """
  return jax.nn.log_softmax(log_policy - log_reference)


def rejected(log_policy, log_reference, *, weight=0.1):
  """The law of rejected responses that makes DPO rest at the policy.

      reference (reference / policy)^weight, normalised

  for chosen responses that follow the reference and beta = `weight`.

  Source: DID, arXiv 2505.23761. Recalled.
  """
  move = log_reference - log_policy
  return jax.nn.log_softmax(log_reference + weight * move)


def entropy(log_law):
  """-sum q log q, nats. Low: the update reinforces; high: it smooths."""
  law = jnp.exp(log_law)
  return -jnp.sum(jnp.where(law > 0, law * log_law, 0.0), axis=-1)


def sampled(log_ratio):
  """Entropy of q and effective number, from samples of the reference.

      w_i ~ e^h_i,   H = -sum w log w,   1 / sum w^2

  Args:
    log_ratio: h f32[..., N], log(policy / reference) of N samples.

  Returns:
    H less log N (at most 0; 0 where nothing changed), and the effective
    number, in [1, N].

  Source: DID, arXiv 2505.23761. Recalled.
  """
  weight = jax.nn.log_softmax(log_ratio)
  size = jnp.log(1.0 * log_ratio.shape[-1])
  return entropy(weight) - size, 1 / jnp.sum(jnp.exp(2 * weight), axis=-1)
