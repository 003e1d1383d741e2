"""Advantages of what another policy says of single tokens."""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.reads import reads


@reads('implicit_reward')
def implicit_process(rewards, rollouts, *, process=5.0, outcome=5.0):
  """Process rewards and the outcome, each less what the group's others have.

      q_t = said_t / (max |sum_{u >= t} said_u| + 1e-6),   0 at the last token
      p_it = n / (n - 1) q_it - sum_j mean_t q_jt / (n - 1)
      o_it = r_i - mean_{j != i} r_j at the last token, 0 before
      A_it = sum_{u >= t} (process p_iu + outcome o_iu)

  The maximum is over the iteration, so that the scale of what is said does not
  matter; j runs over the n rows of the group, i among them, of which those
  without tokens say nothing and are not counted in p.

  Args:
    rewards: f32[N]. rollouts: reads the extra `implicit_reward` f32[N, T].
    process, outcome: what each weighs; whitening leaves their ratio.

  Returns:
    f32[N, T]; 0 for a row alone in its group.

  Source: PRIME, arXiv 2502.01456, and `compute_rloo_advantage_return` of its
    code.
  """
  mask = rollouts.loss_mask
  place = jnp.cumsum(mask, axis=-1)
  last = mask & (place == place[:, -1:])
  said = jnp.where(mask & ~last, rollouts.extras['implicit_reward'], 0.0)
  highest = jnp.max(jnp.abs(numerics.discounted_sum(said, mask)), initial=0.0)
  said = said / (highest + 1e-6)
  live = jnp.any(mask, axis=-1)
  mean = numerics.masked_mean(said, mask, axis=-1)
  count = numerics.group_count(rollouts.group, live)
  total = count * numerics.group_mean(mean, rollouts.group, live)
  others = jnp.maximum(count - 1, 0)
  # A row alone has no others, and nothing to be compared with.
  gap = count[:, None] * said - total[:, None]
  own = numerics.safe_divide(gap, others[:, None] * jnp.ones_like(gap))
  rows = group.leave_one_out(rewards, rollouts.group, rollouts.valid)
  paid = process * own + jnp.where(last, outcome * rows[:, None], 0.0)
  return numerics.discounted_sum(jnp.where(mask, paid, 0.0), mask)


@reads('old_logp', 'teacher_logp')
def teacher_after(rewards, rollouts):
  """How much likelier the teacher finds what follows a token, on average.

      A_t = mean_{u > t} (teacher_logp_u - old_logp_u),   0 at the last token

  Its policy gradient, with the exact KL(policy || teacher) of each token beside
  it, is that of the KL of whole responses, but that the mean stands for the
  sum, so that a late token is not worth less than an early one.

  Args:
    rewards: f32[N], which it does not heed.

  Source: MiniLLM, arXiv 2306.08543, equations 4 and 6.
  """
  del rewards
  mask = rollouts.loss_mask
  extras = rollouts.extras
  gap = jnp.where(mask, extras['teacher_logp'] - extras['old_logp'], 0.0)
  after = numerics.discounted_sum(gap, mask) - gap
  left = numerics.discounted_sum(mask * 1.0, mask) - 1
  return jnp.where(mask & (left > 0), after / jnp.maximum(left, 1), 0.0)


@reads('old_logp', 'teacher_logp')
def teacher_early(rewards, rollouts, *, gamma=0.5):
  """How much likelier the teacher finds a token, early ones weighing more.

      a_t = teacher_logp_t - old_logp_t
      A_t = (1 + gamma (1 - sum_{u < t} |a_u| / sum_u |a_u|)) a_t

  What stands behind a prefix that the teacher would not have written tells less
  about the policy.

  Args:
    rewards: f32[N], which it does not heed. gamma: >= 0; 0 weighs all alike.

  Returns:
    f32[N, T], nats; 0 where both agree.

  Source: On the Position Bias of On-Policy Distillation, arXiv 2606.22600;
    TRL's `IWOPDTrainer`.
  """
  del rewards
  mask, extras = rollouts.loss_mask, rollouts.extras
  gap = jnp.where(mask, extras['teacher_logp'] - extras['old_logp'], 0.0)
  size = jnp.abs(gap)
  before = jnp.cumsum(size, axis=1) - size
  total = jnp.sum(size, axis=1, keepdims=True)
  share = numerics.safe_divide(before, total * jnp.ones_like(before))
  return (1 + gamma * (1 - share)) * gap
