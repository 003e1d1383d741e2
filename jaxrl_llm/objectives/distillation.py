"""Costs of a teacher's opinion, of single tokens or of whole distributions.

    f(stats, batch) -> f32[N, T], see `objectives.costs`

The teacher says what it thinks of each token that was sampled, `teacher_logp`,
or of S candidates in its place, `teacher_candidates`: where S reaches the
vocabulary, those costs compare whole distributions, q of the teacher and p of
the student. No gradient passes through what was sampled.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.digests import OF_CANDIDATES
from jaxrl_llm.objectives import costs
from jaxrl_llm.reads import reads


@reads('teacher_logp')
def teacher_k2(stats, batch, *, teacher_logp):
  """(logp - teacher_logp)^2 / 2: distillation on the student's own samples.

  Its gradient is that of KL(policy || teacher), given the prefix.

  Source: KDRL, arXiv 2506.02208, equation 8 (read at second hand).
  """
  return costs.difference(stats, batch, teacher_logp) ** 2 / 2


@reads('teacher_logp')
def teacher_k3(stats, batch, *, teacher_logp):
  """e^-x - 1 + x, x = logp - teacher_logp; its value is KL(policy || teacher).

  Its gradient is that of KL(teacher || policy), given the prefix.

  Source: KDRL, arXiv 2506.02208, which compares both (at second hand).
  """
  x = costs.difference(stats, batch, teacher_logp)
  return jnp.exp(-x) - 1 + x


@reads('teacher_logp', 'rewards')
def failed_teacher_k2(stats, batch, *, teacher_logp, rewards, correct=0.5):
  """`teacher_k2` on failed responses alone; a success is left as it is.

  Args:
    correct: a reward above it is a success.

  Source: KDRL, arXiv 2506.02208, its mask of responses (at second hand).
  """
  failed = ~(rewards > correct)
  value = teacher_k2(stats, batch, teacher_logp=teacher_logp)
  return jnp.where(failed[:, None], value, 0.0)


@reads('teacher_logp', 'rewards', 'group', 'valid')
def lost_teacher_k2(
  stats, batch, *, teacher_logp, rewards, group, valid, correct=0.5
):
  """`teacher_k2` on groups without a success, which reward teaches nothing.

  Source: KDRL, arXiv 2506.02208, its mask of groups (at second hand).
  """
  right = valid & (rewards > correct)
  lost = numerics.group_count(group, right) == 0
  value = teacher_k2(stats, batch, teacher_logp=teacher_logp)
  return jnp.where(lost[:, None], value, 0.0)


# Of whole distributions.

# The least chance that is left to all other tokens together: what remains of
# whole rows in float32 is rounding, and its logarithm says nothing.
_LEAST_REST = 1e-6


@reads('candidates', 'teacher_candidates', OF_CANDIDATES)
def generalised_divergence(stats, batch, *, beta=0.5, **arrays):
  """Between KL(teacher || student) and KL(student || teacher).

      beta KL(q || m) + (1 - beta) KL(p || m),   m = beta q + (1 - beta) p

  All tokens that are not candidates count as one, so that it is at most the
  divergence of whole rows, and that where all are candidates.

  Args:
    beta: in [0, 1]; 1/2 is Jensen and Shannon's. 0 is KL(q || p) and 1
      KL(p || q), to which the formula tends over beta and over 1 - beta.

  Source: GKD, arXiv 2306.13649, equation 1; TRL's `GKDTrainer`, also at both
    ends. With the rest as one token: SDPO, arXiv 2601.20802.
  """
  del stats, batch
  live = arrays['candidates'] >= 0
  log_p = _with_rest(arrays[OF_CANDIDATES], live)
  log_q = _with_rest(arrays['teacher_candidates'], live)
  rest = jnp.ones_like(live[..., :1])
  return _between(log_p, log_q, jnp.concatenate([live, rest], -1), beta)


@reads('candidates', 'teacher_candidates', OF_CANDIDATES)
def weighed_divergence(stats, batch, *, beta=0.5, cap=2.0, **arrays):
  """`generalised_divergence` of tokens that an earlier policy may have drawn.

      sg min(e^(logp - old_logp), cap) D

  Args:
    beta: of the divergence. cap: >= 1.

  Source: SDPO, arXiv 2601.20802; TRL's `distillation_is_clip`.
  """
  move = jax.lax.stop_gradient(costs.difference(stats, batch, batch.old_logp))
  ratio = jnp.minimum(numerics.bounded_exp(move), cap)
  return ratio * generalised_divergence(stats, batch, beta=beta, **arrays)


@reads('candidates', 'teacher_candidates', OF_CANDIDATES)
def renormalised_divergence(stats, batch, *, forward=0.5, **arrays):
  """Both KLs among the candidates alone.

      forward KL(q || p) + (1 - forward) KL(p || q),  p, q over their sums

  0 where both agree among the candidates, however likely those are.

  Args:
    forward: in [0, 1], what KL(teacher || student) weighs.

  Source: NeMo-RL, `DistillationLossFn` with 64 candidates and kl_type mixed.
  """
  del stats, batch
  live = arrays['candidates'] >= 0
  log_p = _among(arrays[OF_CANDIDATES], live)
  log_q = _among(arrays['teacher_candidates'], live)
  ahead, back = (_between(log_p, log_q, live, beta) for beta in (0, 1))
  return forward * ahead + (1 - forward) * back


@reads('candidates', 'teacher_candidates', OF_CANDIDATES)
def partial_divergence(stats, batch, *, floor=-10.0, **arrays):
  """The candidates' terms of KL(teacher || student), and nothing of the rest.

      sum_k q_k (log q_k - log p_k),   log-probs held to at least floor

  Can be negative: putting more on the candidates than the teacher does pays.

  Args:
    floor: nats; a candidate that the student finds less likely has no slope.

  Source: verl, `compute_forward_kl_topk`, with 32 candidates; its floor and
    the optional one of the loss are settings.
  """
  del stats, batch
  live = arrays['candidates'] >= 0
  log_p = jnp.maximum(arrays[OF_CANDIDATES], floor)
  log_q = jnp.maximum(arrays['teacher_candidates'], floor)
  return _between(log_p, log_q, live, 0)


def _with_rest(logp, live):
  """f32[..., S + 1]: the last is the log-chance of all that is no candidate."""
  sums = numerics.masked_sum(jnp.exp(logp), live, axis=-1)
  rest = jnp.log(jnp.maximum(1 - sums, _LEAST_REST))
  return jnp.concatenate([logp, rest[..., None]], axis=-1)


def _among(logp, live):
  """The log-probs, given that it is a candidate; 0 where there is none."""
  there = jnp.any(live, axis=-1, keepdims=True)
  # A place without candidates has no sum to divide by.
  counted = jnp.where(live | ~there, logp, -jnp.inf)
  total = jax.nn.logsumexp(counted, axis=-1, keepdims=True)
  return jnp.where(live, logp - total, 0.0)


def _between(log_p, log_q, live, beta):
  """f32[...]: see `generalised_divergence`, over what is live."""
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  if beta == 0:
    terms = q * (log_q - log_p)
  elif beta == 1:
    terms = p * (log_p - log_q)
  else:
    log_m = jnp.logaddexp(log_p + math.log1p(-beta), log_q + math.log(beta))
    terms = beta * q * (log_q - log_m) + (1 - beta) * p * (log_p - log_m)
  return numerics.masked_sum(terms, live, axis=-1)
