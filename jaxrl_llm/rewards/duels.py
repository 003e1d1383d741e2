"""Rewards of a game: how often a response beats other responses.

A stage of this kind fills in the preferences of a group, P f32[N, G], entry
[i, j] the chance that row i beats the j-th row of its group, and makes of
them the rows' rewards. Where no oracle gave preferences, the rewards so far
are the judge: the higher one wins, equals draw.

    f(preference f32[B, G, G], live bool[B, G]) -> f32[B, G]
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.credit import Stage
from jaxrl_llm.reads import reads


def judged(rewards):
  """(1 + sign(r_i - r_j)) / 2 f32[B, G, G]: the higher reward wins."""
  gap = rewards[..., :, None] - rewards[..., None, :]
  return (1 + jnp.sign(gap)) / 2


def _rate(preference, weights):
  """sum_j w_ij P_ij / sum_j w_ij, and 1/2 without an opponent."""
  total = jnp.sum(weights, axis=-1)
  won = numerics.masked_sum(weights * preference, weights > 0, axis=-1)
  return numerics.safe_divide(won, total, default=0.5)


def against_all(preference, live, rollouts):
  """The mean over the group's rows, the row itself (a draw) included.

  Source: SPPO, arXiv 2405.00675, and its code.
  """
  del rollouts
  return _rate(preference, jnp.broadcast_to(live[:, None], preference.shape))


def against_others(preference, live, rollouts):
  """The mean over the group's other rows; 1/2 for a row alone.

  Its mean over a group is 1/2 whatever the game.

  Source: SPO, arXiv 2401.04056. Recalled.
  """
  del rollouts
  others = live[:, None] & ~jnp.eye(live.shape[-1], dtype=bool)
  return _rate(preference, others * 1.0)


@reads('opponent')
def against_opponents(preference, live, rollouts):
  """The mean over the rows of a group that another policy wrote.

  Reads `opponent` bool[N]: those rows. 1/2 without one.
  """
  opponent = rollouts.extras['opponent'].reshape(live.shape) & live
  weights = jnp.broadcast_to(opponent[:, None], preference.shape)
  return _rate(preference, weights * 1.0)


@reads('old_logp', 'ref_logp')
def against_mixture(preference, live, rollouts, *, share=0.125):
  """The chance to beat the mixture policy^(1 - share) reference^share.

      sum_{j != i} w_j P_ij / sum_{j != i} w_j,   w = e^(-share log-ratio)

  The group's rows, weighted by their log-ratio to the reference, stand for
  samples of the mixture: consistent in the size of the group. The paper
  samples opponents from a mixture of next-token distributions instead.

  Args:
    share: in [0, 1]; 0 is self-play, `against_others`.

  Source: Nash-MD-PG, arXiv 2312.00886.
  """
  gap = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  log_ratio = numerics.masked_sum(gap, rollouts.loss_mask, axis=-1)
  scaled = -share * log_ratio.reshape(live.shape)
  # Not -inf, of which a group without live rows would get NaN.
  scaled = jnp.where(live, scaled, jnp.finfo(scaled.dtype).min)
  weight = jax.nn.softmax(scaled)
  others = live[:, None] & ~jnp.eye(live.shape[-1], dtype=bool)
  return _rate(preference, jnp.where(others, weight[:, None], 0.0))


@dataclasses.dataclass(frozen=True)
class Duels(Stage):
  """preference <- the oracle's or the judge's; rewards <- fn(preference).

  Attributes:
    fn: f(preference, live, rollouts) -> f32[B, G].
    samples: G.
  """

  samples: int

  def apply(self, credit, rollouts):
    live = rollouts.valid.reshape(-1, self.samples)
    if credit.preference is None:
      preference = judged(credit.rewards.reshape(live.shape))
    else:
      preference = credit.preference.reshape(*live.shape, self.samples)
    both = live[:, :, None] & live[:, None, :]
    # A failed judgement may have left NaN.
    preference = jnp.where(both, preference, 0.5)
    rewards = jnp.where(live, self.fn(preference, live, rollouts), 0.0)
    credit = credit.replace(
      rewards=rewards.reshape(-1),
      preference=preference.reshape(-1, self.samples),
    )
    return credit


# What tells the draws of `DrawnDuels` from the others of a seed.
_STREAM = 0x6475656C


@dataclasses.dataclass(frozen=True)
class DrawnDuels(Duels):
  """`Duels` of which each is fought once: one of two has won, by its chance.

      P_ij <- [u_ij < P_ij],   P_ji <- 1 - P_ij,   i before j

  as a person who compares two responses says it. A draw, P = 1/2, stays one.

  Attributes:
    fn, samples: of `Duels`; rewards are made of what was drawn.
  """

  def init(self, spec):
    key = jax.random.fold_in(jax.random.key(spec.seed), _STREAM)
    return {'key': jax.random.key_data(key), 'step': jnp.int32(0)}

  def update(self, credit, rollouts, state):
    credit = super().apply(credit, rollouts)
    live = rollouts.valid.reshape(-1, self.samples)
    chances = credit.preference.reshape(*live.shape, self.samples)
    key = jax.random.wrap_key_data(state['key'])
    key = jax.random.fold_in(key, state['step'])
    won = drawn(key, chances)
    rewards = jnp.where(live, self.fn(won, live, rollouts), 0.0)
    credit = credit.replace(
      rewards=rewards.reshape(-1), preference=won.reshape(-1, self.samples)
    )
    return credit, state | {'step': state['step'] + 1}


def drawn(key, chances):
  """f32[B, G, G]: who of two won, 1/2 where their chances are even."""
  won = jax.random.uniform(key, chances.shape) < chances
  upper = jnp.triu(won * 1.0, 1)
  lower = jnp.tril(1 - jnp.swapaxes(upper, -1, -2), -1)
  return jnp.where(chances == 0.5, 0.5, upper + lower)


def less_a_half(rewards, rollouts):
  """r - 1/2: a chance to win, less that of a draw."""
  del rollouts
  return rewards - 0.5


@reads('opponent')
def own_rows(advantages, rollouts):
  """1 on tokens of rows that the policy itself wrote, 0 on its opponents'."""
  own = ~rollouts.extras['opponent'][:, None]
  return jnp.where(own, jnp.ones_like(advantages), 0.0)


@reads('old_logp', 'ref_logp')
def less_divergence(rewards, rollouts, *, weight=0.1):
  """r - weight sum_t (old_logp_t - ref_logp_t): the KL inside the reward.

  Args:
    weight: beta, reward units per nat.

  Source: P3O, arXiv 2310.00212; REBEL, arXiv 2404.16767.
  """
  gap = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  return rewards - weight * numerics.masked_sum(
    gap, rollouts.loss_mask, axis=-1
  )
