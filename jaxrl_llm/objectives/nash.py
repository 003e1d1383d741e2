"""Losses of preference games.

Lists f(scores, rewards, live), each [B, G] -> f32[B], with the rows' chances
to win as rewards (see `rewards.duels`), and a loss of rows for what needs the
reference and the last iterate at once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import listwise
from jaxrl_llm.reads import reads
from jaxrl_llm.selection import pairs


def win_rate_regression(scores, rewards, live, *, scale=1e3):
  """Log-ratios of the best and the worst row regressed on their win rates.

      1/2 sum over {best, worst} of (h - scale (P - 1/2))^2

  The normaliser of the exact step, log E e^(scale P), is taken as scale / 2.
  Rows that tie share the weight; where all draw, all are pulled back to the
  anchor.

  Args:
    scale: eta > 0, nats per unit of probability.

  Source: SPPO, arXiv 2405.00675, and its code.
  """
  up, down = listwise.best_against_worst(rewards, live)
  error = scores - scale * (rewards - 0.5)
  return numerics.masked_sum((up + down) * error**2 / 2, live, axis=-1)


def hard_regression(chosen, rejected, gap, *, scale=1e3):
  """A link: (chosen - scale / 2)^2 + (rejected + scale / 2)^2.

  `win_rate_regression` for a chance of 1 and of 0, times two.

  Source: TRL's `sppo_hard`.
  """
  del gap
  return (chosen - scale / 2) ** 2 + (rejected + scale / 2) ** 2


@reads('offline')
def decisive(
  scores, rewards, live, *, offline, best=5 / 6, gap=1 / 6, taught_gap=2 / 6
):
  """Pairs of a good row and one that is clearly worse: the mean over pairs.

  Args:
    offline: bool[B, G], rows of the teacher.
    best: the least reward of the better row. gap: by how much it is better.
    taught_gap: the same where it is the teacher's.

  Source: DNO-Prct, arXiv 2404.03715, section 5.1: at least 5 of 6 points,
    and 1 point apart where the better row is the policy's own, 2 where it is
    the teacher's.
  """
  del scores
  # Points are sixths: differences of them are equal only to rounding.
  least = jnp.where(offline, taught_gap, gap)[..., :, None] - 1e-5
  far = rewards[..., :, None] - rewards[..., None, :] > least
  good = (live & (rewards > best - 1e-5))[..., :, None]
  pair = (far & good & live[..., None, :]) * 1.0
  return numerics.safe_divide(pair, jnp.sum(pair, (-2, -1), keepdims=True))


@reads('opponent')
def own_pairs(scores, rewards, live, *, opponent):
  """Every two rows of a group that the policy itself wrote."""
  return pairs.every(scores, rewards, live & ~opponent)


@reads('ref_logp', 'preference', 'group', 'valid')
def proximal_game(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  preference,
  group,
  valid,
  weight=0.1,
  pull=0.2,
):
  """The policy gradient of a proximal step, against the policy as it moves.

      g_i = -(P(y_i beats policy) - 1/2) + weight log(policy / ref)
            + (weight / pull) log(policy / old)
      loss_i = sg(r_i g_i) log(policy / old),   r_i = policy / old

  whose expectation has the gradient of
  -P(policy beats .) + weight KL(policy || ref) + (weight / pull) KL(policy ||
  old). The opponents are the other rows of the group, weighted by their own
  ratios r_j: at first the last iterate, then the policy ahead of it, which is
  what the second half of mirror prox plays against.

  Args:
    weight: beta, probability per nat. pull: eta; the published choice is
      twice beta.

  Returns:
    f32[N]; without a peer P is 1/2.

  Source: Nash-MP, arXiv 2505.19731. Recalled; there the two halves are
    solved apart, or the opponent is a moving average.
  """
  del advantages, group
  live = valid & jnp.any(mask, axis=-1)
  moved = numerics.masked_sum(logp - old_logp, mask, axis=-1)
  drift = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  moved, drift = jnp.where(live, moved, 0.0), jnp.where(live, drift, 0.0)
  ratio = jnp.where(live, numerics.bounded_exp(moved), 0.0)
  shape = (-1, preference.shape[1])
  rivals = ~jnp.eye(shape[1], dtype=bool) * ratio.reshape(shape)[:, None]
  won = jnp.sum(rivals * preference.reshape(-1, *rivals.shape[1:]), axis=-1)
  rate = numerics.safe_divide(won, jnp.sum(rivals, axis=-1), default=0.5)
  slope = weight * drift + weight / pull * moved - (rate.reshape(-1) - 0.5)
  return jnp.where(live, jax.lax.stop_gradient(ratio * slope) * moved, 0.0)
