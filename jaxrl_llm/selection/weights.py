"""Weights of tokens and of rows, in a mean's numerator and denominator.

    weigh         f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N]
    weigh_tokens  f(advantages f32[N, T], rollouts) -> f32[N, T]

All are >= 0 and free of the order of rows: rows that tie share what is left.
"""

from __future__ import annotations

import dataclasses
import math

import chex
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.digests import Digest
from jaxrl_llm.reads import reads

_TIE = 1e-4  # advantages closer than this are one value


def _of_rows(advantages, mask):
  """f32[N]: the advantage that a row's chosen tokens share."""
  low = jnp.min(advantages, axis=-1, where=mask, initial=jnp.inf)
  return jnp.where(jnp.any(mask, axis=-1), low, 0.0)


def signal(advantages, rollouts):
  """1 on tokens whose advantage is not 0.

  Source: SPO-tree, arXiv 2505.23564, section 4.2.
  """
  del rollouts
  return jnp.where(advantages != 0, 1.0, 0.0)


@reads('sampler_logp')
def unsure_tokens(advantages, rollouts, *, threshold=0.9):
  """1 on tokens that the sampler gave less than `threshold`.

  Source: SPO, arXiv 2505.23564, section 4.3: the probability mask.
  """
  del advantages
  return jnp.where(rollouts.logp < math.log(threshold), 1.0, 0.0)


@reads('node_path', 'level')
def one_per_edge(advantages, rollouts):
  """1 / the rows that pass a token's edge of the tree of samples.

  See `advantages.steps.tree` for the extras.
  """
  del advantages
  path, valid = rollouts.extras['node_path'], rollouts.valid
  key, counts = rollouts.group, []
  for depth in range(path.shape[1]):
    key = grouping.joint(key, path[:, depth])
    counts.append(numerics.group_count(key, valid))
  share = numerics.safe_divide(1.0, jnp.stack(counts, axis=1))
  return jnp.take_along_axis(share, rollouts.extras['level'], axis=1)


def _best_share(rewards, group, valid):
  """f32[N]: 1 on the best row of a group, shared by rows that tie."""
  best = valid & (rewards == numerics.group_max(rewards, group, valid))
  return numerics.safe_divide(best * 1.0, numerics.group_count(group, best))


def best_alone(rewards, group, valid):
  """A group's best row, and none of the others.

  Source: PF-PPO, arXiv 2409.06957, section 4.1: BoN.
  """
  return _best_share(rewards, group, valid)


def best_and_worst(rewards, group, valid):
  """A group's best and worst rows, each with half of its weight.

  The weights of a group sum to 1, and so they do in the next one.

  Source: PF-PPO, arXiv 2409.06957, section 4.1: BW.
  """
  best = _best_share(rewards, group, valid)
  return (best + _best_share(-rewards, group, valid)) / 2


def best_and_random(rewards, group, valid):
  """The best row and, together, the others, each with half of the weight.

      1 / 2 [i is best] + 1 / (2 (n - 1)) [i is not]

  Source: PF-PPO, arXiv 2409.06957, section 4.1: BR, the expectation of its
    draws.
  """
  count = numerics.group_count(group, valid)
  best = _best_share(rewards, group, valid)
  rest = numerics.safe_divide(1 - best, jnp.maximum(count - 1, 0))
  weight = jnp.where(count == 1, 1.0, (best + rest) / 2)
  return jnp.where(valid, weight, 0.0)


def spread_rows(advantages, rollouts, *, share=0.5):
  """The rows whose advantages vary most: the lowest and the highest.

      keep S with |S| = ceil(share n) that maximises the variance of A over S

  which is the k lowest and |S| - k highest for some k. Rows that tie share
  the places left among them. Advantages are not computed anew.

  Args:
    advantages: f32[N, T], one value per row. rollouts: for the rows.
    share: of the rows with chosen tokens, in (0, 1].

  Returns:
    f32[N, T] in [0, 1].

  Source: D3S, arXiv 2509.22115, section 3.1, read at second hand.
  """
  mask = rollouts.loss_mask
  here = jnp.any(mask, axis=-1)
  value = jnp.round(_of_rows(advantages, mask) / _TIE) * _TIE
  rows = value.shape[0]
  count = jnp.sum(here)
  # A row's share of 0.5 of 6 must be 3 rows also when it is 3.0000002.
  kept = jnp.ceil(share * count - 1e-3).astype(jnp.int32)
  order = jnp.argsort(jnp.where(here, value, jnp.inf))
  column = jnp.arange(rows)
  ordered = jnp.where(column < count, value[order], 0)
  ordered = ordered - numerics.masked_mean(ordered, column < count)
  lowest = jnp.arange(rows + 1)[:, None]
  chosen = (column < lowest) | (column >= count - (kept - lowest))
  chosen &= (column < count) & (lowest <= kept)
  variance = numerics.masked_variance(ordered, chosen, axis=1)
  best = jnp.argmax(jnp.where(lowest[:, 0] <= kept, variance, -1.0))
  places = jnp.zeros(rows).at[order].set(chosen[best] * 1.0)
  peers = (value[:, None] == value[None, :]) & here[None, :]
  weight = numerics.masked_mean(
    jnp.broadcast_to(places, peers.shape), peers, axis=1
  )
  return jnp.where(mask, weight[:, None], 0.0)


def spread_tokens(advantages, entropy, mask, *, share=0.5):
  """The share of tokens with the largest |A| times entropy.

  Args:
    advantages, entropy: f32[N, T]. mask: bool[N, T], tokens to choose from.
    share: in (0, 1].

  Returns:
    f32[N, T], 0 or 1; tokens that tie with the last one taken are kept.

  Source: D3S, arXiv 2509.22115, section 3.2, read at second hand.
  """
  score = jnp.abs(advantages) * entropy
  ordered = -jnp.sort(-jnp.where(mask, score, -jnp.inf), axis=None)
  taken = jnp.ceil(share * jnp.sum(mask) - 1e-3).astype(jnp.int32)
  least = ordered[jnp.maximum(taken - 1, 0)]
  return jnp.where(mask & (score >= least * (1 - _TIE)), 1.0, 0.0)


@reads('old_entropy')
@dataclasses.dataclass(frozen=True)
class Spread:
  """Stage: `spread_rows`, then `spread_tokens` of theirs, and more over time.

      share_k = first + (last - first) min(k / iterations, 1)

  of rows and of the tokens still kept, after k iterations.

  Attributes:
    rows, tokens: the last shares, in (0, 1]. first_rows, first_tokens: those
      at the beginning. iterations: until the last ones.

  Source: D3S, arXiv 2509.22115, section 3, read at second hand.
  """

  rows: float = 0.5
  tokens: float = 0.5
  first_rows: float = 0.25
  first_tokens: float = 0.25
  iterations: int = 1000

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def update(self, credit, rollouts, state):
    progress = jnp.minimum(state / self.iterations, 1.0)
    rows = self.first_rows + (self.rows - self.first_rows) * progress
    tokens = self.first_tokens + (self.tokens - self.first_tokens) * progress
    weight = spread_rows(credit.advantages, rollouts, share=rows)
    weight = credit.token_keep * weight
    kept = weight * (credit.keep > 0)[:, None] > 0
    entropy = rollouts.extras['old_entropy']
    taken = spread_tokens(credit.advantages, entropy, kept, share=tokens)
    return credit.replace(token_keep=weight * taken), state + 1


@reads('candidates')
def taught(advantages, rollouts):
  """1 on tokens that have candidates to be compared on, 0 on others."""
  del advantages
  named = jnp.any(rollouts.extras['candidates'] >= 0, axis=-1)
  return jnp.where(rollouts.loss_mask & named, 1.0, 0.0)


def own_score(log_probs, seen):
  """Of sc = e_a - pi: |sc|^2, and its variance under pi, [..., 2]."""
  probs = jnp.exp(log_probs)
  score = (seen.token[..., None] == jnp.arange(probs.shape[-1])) - probs
  mean = jnp.sum(probs * score, axis=-1, keepdims=True)
  spread = jnp.sum(probs * (score - mean) ** 2, axis=-1)
  return jnp.stack([jnp.sum(score**2, axis=-1), spread], axis=-1)


OWN_SCORE = Digest(own_score).old


@reads(OWN_SCORE, 'hidden_square')
def small_curvature(
  advantages,
  rollouts,
  *,
  learning_rate=1.5e-5,
  objective_limit=0.01,
  policy_limit=1e-4,
):
  """1 on tokens whose own step would move objective and policy little.

      sc = e_a - pi       u'sc = A |sc|^2 |h|^2
      policy    = (lr u'sc)^2 / 2
      objective = lr A^2 |sc|^2 |h|^2
                  + lr^2 / 2 A ((u'sc)^2 - u'(diag pi - pi pi')u)

  the second-order change of the policy (its Fisher form) and of A log pi
  under a gradient step of the output layer on that token alone, u = A sc |h|^2
  being the logits' displacement.

  Args:
    advantages: f32[N, T]. rollouts: reads the extras `OWN_SCORE` and
      `hidden_square` f32[N, T], |h|^2 of the last hidden state.
    learning_rate: lr of the model step. objective_limit: tau_H. policy_limit:
      tau_F; inf for both keeps all tokens.

  Source: CAPO, arXiv 2510.00819, section 4 and its code, for a plain gradient
    step; the code also models Adam's.
  """
  length, spread = jnp.moveaxis(rollouts.extras[OWN_SCORE], -1, 0)
  hidden = rollouts.extras['hidden_square']
  chex.assert_equal_shape([advantages, hidden, length])
  size = advantages * hidden
  along = size * length
  policy = (learning_rate * along) ** 2 / 2
  second = advantages * (along**2 - size**2 * spread)
  objective = learning_rate * advantages * along + learning_rate**2 * second / 2
  kept = (policy < policy_limit) & (jnp.abs(objective) < objective_limit)
  return jnp.where(kept & rollouts.loss_mask, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class GrowingHorizon:
  """Stage: the first decisions alone count, and more of them over the run.

      H = floor(first + growth iterations)
      rewards <- rewards - sum_{t >= H} paid_t,   token_keep <- 0 for t >= H

  Attributes:
    first: decisions at the beginning, 1 or more.
    growth: of H, an iteration.

  Raises:
    ValueError: no decision at the beginning, or a horizon that shrinks.

  Source: Real-Time Long Horizon Air Quality Forecasting via Group-Relative
    Policy Optimization, arXiv 2511.22169, read at second hand.
  """

  first: float = 1.0
  growth: float = 0.1

  def __post_init__(self):
    if self.first < 1 or self.growth < 0:
      raise ValueError(
        f'a horizon of {self.first:g} that grows by {self.growth:g}; begin '
        'with 1 or more, and let it grow by 0 or more'
      )

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def update(self, credit, rollouts, state):
    # A little above, since 1 + 0.1 * 10 is 1.9999999 in float32.
    horizon = jnp.floor(self.first + self.growth * state + 1e-4)
    beyond = jnp.arange(credit.token_keep.shape[1]) >= horizon
    late = rollouts.loss_mask & beyond
    rewards = credit.rewards - jnp.sum(
      jnp.where(late, rollouts.paid, 0.0), axis=1
    )
    keep = jnp.where(beyond, 0.0, credit.token_keep)
    return credit.replace(rewards=rewards, token_keep=keep), state + 1
