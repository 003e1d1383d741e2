"""Costs of a teacher's opinion of the student's own tokens.

    f(stats, batch) -> f32[N, T], see `objectives.costs`

The teacher says what it thinks of each token that was sampled, `teacher_logp`,
so the student's own samples are what it learns on.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
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
