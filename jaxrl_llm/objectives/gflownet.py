"""Generative flow networks on text: policies that sample in proportion to R.

A response has one way to come about, so the backward policy is 1 and the flow
through a prefix is what flows to all its completions. The target is the
optimum of KL-regularised reward,

    log R = sum_t ref_logp_t + r / weight,

and the policy is right when its balance residuals are all 0. With F_t the flow
into the prefix before token t (the value head, in logs), over the chosen
tokens of a row,

    delta_t = log F_t + logp_t - log F_{t + 1},   log F_T = log R

and every other residual is a sum of these.

    row loss    f(logp, old_logp, advantages, mask) -> f32[N]
    surrogate   the same arguments -> f32[N, T]
    list loss   f(scores, rewards, live) -> f32[B]
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.digests import Digest
from jaxrl_llm.reads import reads


def following(values, last, mask):
  """f32[N, T]: the value at the next chosen token, `last` after the final."""
  columns = values.shape[1]
  index = jnp.where(mask, jnp.arange(columns), columns)
  later = jax.lax.cummin(index, axis=1, reverse=True)
  later = jnp.pad(later[:, 1:], ((0, 0), (0, 1)), constant_values=columns)
  padded = jnp.concatenate([values, last[:, None]], axis=1)
  return jnp.take_along_axis(padded, later, axis=1)


def residuals(logp, log_flow, log_reward, mask):
  """delta f32[N, T], 0 off the mask."""
  after = following(log_flow, log_reward, mask)
  return jnp.where(mask, log_flow + logp - after, 0.0)


def sub_trajectories(delta, mask, *, decay=1.0):
  """The mean of squares of all runs of residuals, f32[N].

      sum_{i <= j} decay^(j - i + 1) (sum_{i <= u <= j} delta_u)^2
        over sum_{i <= j} decay^(j - i + 1),  i and j chosen tokens

  Args:
    decay: lambda > 0; towards 0 only single residuals count, towards
      infinity only the whole response.

  Source: SubTB(lambda), arXiv 2209.12782.
  """
  total = jnp.cumsum(delta, axis=1)
  count = jnp.cumsum(mask, axis=1)
  run = total[:, None, :] - (total - delta)[:, :, None]
  length = count[:, None, :] - (count - mask)[:, :, None]
  pair = mask[:, :, None] & mask[:, None, :] & (length > 0)
  # Relative to the end that weighs most, so that no power overflows.
  longest = jnp.sum(mask, axis=1)[:, None, None]
  gap = length - longest if decay > 1 else length - 1
  weight = jnp.where(pair, jnp.power(decay, jnp.where(pair, gap, 0)), 0.0)
  summed = jnp.sum(weight * jnp.where(pair, run, 0.0) ** 2, axis=(1, 2))
  return numerics.safe_divide(summed, jnp.sum(weight, axis=(1, 2)))


def _log_reward(ref_logp, rewards, mask, weight):
  return numerics.masked_sum(ref_logp, mask, axis=-1) + rewards / weight


@reads('values', 'ref_logp', 'rewards')
def trajectory_balance(
  logp, old_logp, advantages, mask, *, values, ref_logp, rewards, weight=0.1
):
  """(log Z + sum_t logp_t - log R)^2, Z the flow into the whole.

  Args:
    values: log flows; that at the first chosen token is log Z.
    weight: beta > 0, reward units per nat.

  Returns:
    f32[N]; 0 for a row without tokens.

  Source: arXiv 2201.13259.
  """
  del old_logp, advantages
  log_reward = _log_reward(ref_logp, rewards, mask, weight)
  delta = residuals(logp, values, log_reward, mask)
  return jnp.sum(delta, axis=-1) ** 2


@reads('values', 'ref_logp')
def mean_balance(
  logp, old_logp, advantages, mask, *, values, ref_logp, weight=15.0, cap=10.0
):
  """Trajectory balance of means over tokens, on rows that may be stale.

      w (log Z + mean_t logp_t - weight A - mean_t ref_logp_t)^2
      w = min(e^(sum_t (logp_t - old_logp_t)), cap), held constant

  Means keep long responses from being ruled by what their tokens add up to.

  Args:
    values: that at the first chosen token is log Z. weight: beta. cap: at
      least 1.

  Returns:
    f32[N]; 0 for a row without tokens.

  Source: FlowRL, arXiv 2509.15207, and its code in verl's recipes.
  """
  some = jnp.any(mask, axis=-1)
  first = jnp.argmax(mask, axis=-1)[:, None]
  log_z = jnp.take_along_axis(values, first, axis=-1)[:, 0]
  mean = numerics.masked_mean(logp - ref_logp, mask, axis=-1)
  earned = weight * numerics.masked_mean(advantages, mask, axis=-1)
  delta = jnp.where(some, log_z + mean - earned, 0.0)
  move = numerics.masked_sum(logp - old_logp, mask, axis=-1)
  ratio = numerics.bounded_exp(jax.lax.stop_gradient(move))
  return jnp.minimum(ratio, cap) * delta**2


@reads('values', 'ref_logp', 'rewards')
def detailed_balance(
  logp, old_logp, advantages, mask, *, values, ref_logp, rewards, weight=0.1
):
  """delta_t^2 of each token.

  Source: arXiv 2111.09266.
  """
  del old_logp, advantages
  log_reward = _log_reward(ref_logp, rewards, mask, weight)
  return residuals(logp, values, log_reward, mask) ** 2


@reads('values', 'ref_logp', 'rewards')
def sub_trajectory_balance(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  values,
  ref_logp,
  rewards,
  weight=0.1,
  decay=1.0,
):
  """`sub_trajectories` of a row's residuals.

  Source: arXiv 2209.12782.
  """
  del old_logp, advantages
  log_reward = _log_reward(ref_logp, rewards, mask, weight)
  delta = residuals(logp, values, log_reward, mask)
  return sub_trajectories(delta, mask, decay=decay)


@reads('values', 'ref_logp', 'rewards')
def forward_looking(
  logp, old_logp, advantages, mask, *, values, ref_logp, rewards, weight=0.1
):
  """Detailed balance of flows beyond what the prefix has earned.

      (log G_t + logp_t - ref_logp_t - [t is last] r / weight
       - log G_{t + 1})^2,   F_t = G_t prod_{u < t} ref_u,  G_T = 1

  Each token is credited at once with its own energy, that of the reference,
  so the flow to be learned is of the reward alone. An incomplete row is no
  obstacle.

  Source: Better Training of GFlowNets with Local Credit, arXiv 2302.01687,
    its terminal flow held at 1.
  """
  del old_logp, advantages
  earned = numerics.at_last(rewards / weight, mask)
  zeros = jnp.zeros(logp.shape[0], logp.dtype)
  return residuals(logp - ref_logp - earned, values, zeros, mask) ** 2


@reads('values', 'after_values', 'ref_logp', 'rewards')
def learned_energies(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  values,
  after_values,
  ref_logp,
  rewards,
  weight=0.1,
):
  """Forward-looking balance with a learned decomposition of the reward.

      (sum_t phi_t - r / weight)^2
      + mean_t (log G_t + logp_t - ref_logp_t - sg(phi_t) - log G_{t + 1})^2

  Args:
    after_values: phi f32[N, T], a token's part of the reward, read once
      the token is chosen.

  Source: LED-GFN, arXiv 2310.03301, without dropout.
  """
  del old_logp, advantages
  parts = after_values
  fit = numerics.masked_sum(parts, mask, axis=-1) - rewards / weight
  fit = jnp.where(jnp.any(mask, axis=-1), fit, 0.0)
  earned = jax.lax.stop_gradient(parts)
  zeros = jnp.zeros(logp.shape[0], logp.dtype)
  delta = residuals(logp - ref_logp - earned, values, zeros, mask)
  return fit**2 + numerics.masked_mean(delta**2, mask, axis=-1)


def stop_logp(log_probs, seen, *, stop=0):
  """The log-prob of the token that ends, [..., 1]."""
  del seen
  return log_probs[..., stop, None]


@dataclasses.dataclass(frozen=True)
class StoppableBalance:
  """`stoppable_balance` of responses that a token ends.

  Attributes:
    stop: that token. decay: of `sub_trajectories`.
  """

  stop: int = 0
  decay: float = 1.0

  @property
  def ends(self) -> Digest:
    return Digest(stop_logp, stop=self.stop)

  @property
  def reads(self) -> frozenset[str]:
    return frozenset({self.ends, 'prefix_reward'})

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    del old_logp, advantages
    ends, earned = arrays[self.ends][..., 0], arrays['prefix_reward']
    return stoppable_balance(logp, ends, earned, mask, decay=self.decay)


def stoppable_balance(logp, ends, prefix_reward, mask, *, decay=1.0):
  """Sub-trajectory balance where every prefix may end, so that F = R / P(stop).

      delta_t = log R_t + logp_t + log P(stop | t + 1)
                - log R_{t + 1} - log P(stop | t)

  over consecutive chosen tokens t, t + 1, summed and weighted like
  `sub_trajectories`. No flow is learned. What follows the stop token does not
  count, and the stop itself is no step between prefixes.

  Args:
    ends: f32[N, T], log P(stop | t).
    prefix_reward: f32[N, T], log R of the prefix before each token, ended
      there.

  Source: Amortizing Intractable Inference in LLMs, arXiv 2310.04363.
  """
  flow = jnp.where(mask, prefix_reward - ends, 0.0)
  zeros = jnp.zeros(logp.shape[0], logp.dtype)
  columns = jnp.arange(mask.shape[1])
  step = mask & (columns < numerics.last_index(mask)[:, None])
  after = following(flow, zeros, mask)
  delta = jnp.where(step, flow + logp - after, 0.0)
  return sub_trajectories(delta, step, decay=decay)


def variance(scores, rewards, live, *, weight=0.1):
  """Trajectory balance with the group's estimate of log Z.

      mean_i (c_i - sg(mean_j c_j))^2,   c_i = r_i / weight - h_i

  the variance of log R - log policy over a group; h is the score, the
  log-ratio to the reference. Its on-policy gradient is twice that of
  KL(policy || R / Z), off-policy it has the same minimum. Equal rewards do
  not make it 0: the policy is then pulled to the reference.

  Args:
    weight: beta > 0, reward units per nat.

  Returns:
    f32[B]; 0 for a group of one.

  Source: VarGrad, arXiv 2010.10436; as Trajectory Balance with Asynchrony,
    arXiv 2503.18929.
  """
  cost = rewards / weight - scores
  mean = numerics.masked_mean(cost, live, axis=-1)
  centred = cost - jax.lax.stop_gradient(mean)[..., None]
  return numerics.masked_mean(centred**2, live, axis=-1)


def ordered(chosen, rejected, gap):
  """A link: cross-entropy with 1, 1/2 or 0, as the rewards say.

      -p log sigmoid(D) - (1 - p) log sigmoid(-D),   p = (1 + sign(gap)) / 2

  Scores are the policy's log-probs, log R up to log Z, which cancels.

  Source: OP-GFN, arXiv 2310.00386.
  """
  label = (1 + jnp.sign(gap)) / 2
  margin = chosen - rejected
  right, wrong = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
  return -label * right - (1 - label) * wrong


def undominated(components, live):
  """bool[B, G]: rows that no live row equals or exceeds in all components.

  Equal rows do not dominate one another.
  """
  mine, other = components[..., :, None, :], components[..., None, :, :]
  beats = jnp.all(other >= mine, -1) & jnp.any(other > mine, -1)
  return live & ~jnp.any(beats & live[..., None, :], axis=-1)


@reads('components')
def pareto(scores, rewards, live, *, components):
  """Cross-entropy from the uniform law on the front to the scores' softmax.

      -mean_{i on the front} log softmax(scores)_i

  Source: OP-GFN, arXiv 2310.00386.
  """
  del rewards
  front = undominated(components, live)
  some = jnp.any(live, axis=-1, keepdims=True)
  total = jax.nn.logsumexp(scores, axis=-1, where=live | ~some, keepdims=True)
  return numerics.masked_mean(total - scores, front, axis=-1)


@reads('thought')
def thoughtful_likelihood(logp, old_logp, mask, *, thought, thought_weight=0.4):
  """A score: sum of log-probs, those of thoughts at a lower weight.

      log P_F = sum_action logp_t + thought_weight sum_thought logp_t

  Args:
    thought: bool[N, T], tokens that reason before the action.

  Source: GFlowVLM, arXiv 2503.06514. The weight is recalled.
  """
  del old_logp
  weights = jnp.where(thought, thought_weight, 1.0)
  return numerics.masked_sum(weights * logp, mask, axis=-1)
