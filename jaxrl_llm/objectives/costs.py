"""Costs: what is added to the policy loss, token by token.

    f(stats, batch) -> f32[N, T]

with what it reads by keyword. Minimised, weighted like the policy loss and
multiplied by a controlled coefficient. Write x = logp - ref_logp and
d = logp - old_logp, held to +-20, and r = e^d. Below, a cost's expectation is
over tokens sampled from the policy itself, and the gradient goes through the
cost alone, as automatic differentiation does:

    cost             value             expected gradient, given the prefix
    x, called k1     x                 0: no use as a loss, so not offered
    k2               x^2 / 2           grad KL(policy || reference)
    k3               e^-x - 1 + x      grad KL(reference || policy)
    straight_k3      e^-x - 1 + x      grad KL(policy || reference), like k2
    weighted_k3      r (e^-x - 1 + x)  grad KL(policy || reference), also on
                                       tokens of an older policy
    score_k3         e^-x - 1 + x      grad KL(policy || reference)
    straight_k1      x                 grad KL(policy || reference), like k2
    absolute         |x|               grad E[|x|] at fixed chances

"Given the prefix": all of these treat the prefixes as fixed data and miss how
a token changes the divergences after it. The gradient of the KL between whole
sequences is that of a penalty inside the reward, with each token answering
for all later ones: `advantages.tokens.kl_reward_to_go`.

tests/objectives/costs_test.py sums over every response of a small policy and
measures how far each form, put into a loss, is from the gradient of
KL(policy || reference): |difference| / |gradient|, where 1 is no better than
no cost at all.

    cost             given the prefix   the same, on      between
                     on its own tokens  an older policy's sequences
    k1               1.00               1.25              1.00
    k2, straight_k3  0                  0.23              0.10
    k3               0.58               0.57              0.45
    weighted_k3      0                  0                 0.10
    kl_reward_to_go  0.11               -                 0

k3 is GRPO's and the usual default of trainers (verl's `low_var_kl`), k1 is
offered by some (verl's `kl`): the first pulls along the reverse KL, here with
a gradient half as long again, the second, with d/dlogp = 1 whatever x is,
does nothing but add noise.

Towards the old policy, with tokens sampled from it, each the exact gradient
of what is named, given the prefix:

    trust_kl         r - 1 - d         KL(old || policy)
    proximal_kl      r d - r + 1       KL(policy || old)
    ratio_variance   (r - 1)^2         chi^2(policy || old), E[r^2] - 1
    old_k3           e^-d - 1 + d      chi^2(old || policy) - KL(old || policy)
    square_move      d^2               none of these; about 2 KL near the old
                                       policy, where the others are about KL
                                       or, ratio_variance, 2 KL

Source: J. Schulman, "Approximating KL divergence", 2020, for k1 to k3.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import critics, gates
from jaxrl_llm.reads import reads


def difference(stats, batch, other):
  """f32[N, T]: logp - other on the policy's own tokens, held to +-20."""
  x = jnp.where(batch.rollouts.action_mask, stats.logp - other, 0.0)
  return jnp.clip(x, -numerics.LOG_RATIO_LIMIT, numerics.LOG_RATIO_LIMIT)


def _k3(x):
  return jnp.exp(-x) - 1 + x


@reads('ref_logp')
def k2(stats, batch, *, ref_logp):
  """x^2 / 2, whose gradient is that of KL(policy || reference).

  In expectation, given the prefix and on the policy's own tokens; its value
  is not that KL. On an older policy's tokens the gradient is biased.
  """
  return difference(stats, batch, ref_logp) ** 2 / 2


@reads('ref_logp')
def k3(stats, batch, *, ref_logp):
  """e^-x - 1 + x >= 0: unbiased in value, but reverse in its gradient.

  The value estimates KL(policy || reference), the gradient is that of
  KL(reference || policy), given the prefix. As a loss it is thus a biased
  form of the KL it is logged as; `weighted_k3` and `straight_k3` are not.

  Source: GRPO, arXiv 2402.03300, equation 4.
  """
  return _k3(difference(stats, batch, ref_logp))


@reads('ref_logp')
def straight_k3(stats, batch, *, ref_logp):
  """The value of k3 with the gradient of k2.

      k2 + sg(k3 - k2)

  On the policy's own tokens, given the prefix, both are those of
  KL(policy || reference).

  Source: verl's `low_var_kl+`.
  """
  x = difference(stats, batch, ref_logp)
  square = x**2 / 2
  return square + jax.lax.stop_gradient(_k3(x) - square)


@reads('ref_logp')
def straight_k1(stats, batch, *, ref_logp):
  """The value of k1, x, with the gradient of k2.

      k2 + sg(x - k2)

  Its value is that of the KL on average, and of either sign on one token.

  Source: verl's `k1+`.
  """
  x = difference(stats, batch, ref_logp)
  square = x**2 / 2
  return square + jax.lax.stop_gradient(x - square)


@reads('ref_logp')
def absolute(stats, batch, *, ref_logp):
  """|x|: a pull of one strength, however far the policy has moved.

  Its slope is the sign of x, and 0 at the reference.

  Source: verl's `abs`.
  """
  return jnp.abs(difference(stats, batch, ref_logp))


@reads('ref_logp')
def weighted_k3(stats, batch, *, ref_logp):
  """k3 under the importance ratio, which takes part in the gradient.

      r (e^-x - 1 + x)

  Unbiased for KL(policy || reference) in value and gradient, given the
  prefix, whichever policy near the current one the tokens came from.

  Source: DeepSeek-V3.2, arXiv 2512.02556, section 3.1; TRL's
    `use_bias_correction_kl`.
  """
  x = difference(stats, batch, ref_logp)
  d = difference(stats, batch, batch.old_logp)
  return jnp.exp(d) * _k3(x)


@reads('ref_logp')
def score_k3(stats, batch, *, ref_logp):
  """k3 with the slope of having sampled the token, at its own value.

      e^(logp - sg(logp)) (e^-x - 1 + x)      slope k3 + 1 - e^-x

  `weighted_k3` at the policy itself: its ratio is 1 and takes part in the
  gradient. On the policy's own tokens, given the prefix, value and gradient
  are those of KL(policy || reference).

  Source: NeMo-RL, `loss_functions.py`; arXiv 2506.09477.
  """
  mask = batch.rollouts.action_mask
  d = jnp.where(mask, stats.logp - jax.lax.stop_gradient(stats.logp), 0.0)
  return jnp.exp(d) * _k3(difference(stats, batch, ref_logp))


@reads('ref_logp')
def capped_k3(stats, batch, *, ref_logp, most=10.0):
  """min(k3, most): without a slope on tokens that the policy all but lost.

  Args:
    most: nats; math.inf is `k3`. At 10 it binds where x < -2.6.

  Source: verl's `low_var_kl`, whose clamp OpenRLHF and SkyRL share.
  """
  return jnp.minimum(_k3(difference(stats, batch, ref_logp)), most)


@reads('ref_logp', 'rewards', 'group', 'valid')
def difficulty_k3(
  stats, batch, *, ref_logp, rewards, group, valid, correct=0.5
):
  """k3, released on good responses of prompts that are rarely answered.

      k = 1                    where A <= 0, or the group is uniform
      k = 1 - e^-(e (1 - x))   elsewhere, x = 1 - share of correct rows

  e is Euler's number. The harder the prompt, the freer its successes. The
  gradient is that of k3, hence of the reverse KL, times k.

  Args:
    ref_logp: f32[N, T]. rewards: f32[N]. group: i32[N]. valid: bool[N].
    correct: a reward above it is a success.

  Source: DADS of APO, arXiv 2506.21655.
  """
  rate = numerics.group_mean((rewards > correct) * 1.0, group, valid)[:, None]
  mixed = (rate > 0) & (rate < 1)
  released = mixed & (batch.credit.advantages > 0)
  scale = jnp.where(released, 1 - jnp.exp(-math.e * rate), 1.0)
  return scale * _k3(difference(stats, batch, ref_logp))


def proximal_kl(stats, batch):
  """r d - r + 1 >= 0: KL(policy || old) on tokens of the old policy.

  Its gradient coefficient is r d, which is exact for that KL.

  Source: on-policy MDPO, arXiv 2005.09814.
  """
  d = difference(stats, batch, batch.old_logp)
  ratio = jnp.exp(d)
  return ratio * d - ratio + 1


@reads('old_logp')
def trust_kl(stats, batch, *, old_logp):
  """r - 1 - d >= 0: KL(old || policy) on tokens of the old policy.

  Zero with zero slope at the old policy, where its curvature is the Fisher
  information: the constraint of TRPO.
  """
  d = difference(stats, batch, old_logp)
  return jnp.exp(d) - 1 - d


def old_k3(stats, batch):
  """e^-d - 1 + d: k3 of the move away from the old policy.

  On the old policy's tokens it is chi^2(old || policy) - KL(old || policy),
  in value and gradient, given the prefix: either KL to second order in the
  move.
  """
  return _k3(difference(stats, batch, batch.old_logp))


def ratio_variance(stats, batch):
  """(r - 1)^2: the variance of the ratio, whose mean is 1.

  On the old policy's tokens it is chi^2(policy || old) in value and gradient,
  given the prefix.

  Source: R2VPO, arXiv 2601.03320.
  """
  d = difference(stats, batch, batch.old_logp)
  return (jnp.exp(d) - 1) ** 2


def square_move(stats, batch):
  """(logp - old_logp)^2, twice the k2 estimate of the move.

  On the old policy's tokens its gradient is that of 2 KL to first order in
  the move only; on the new policy's it is that of 2 KL(policy || old).

  Source: OPMD as in arXiv 2509.24203.
  """
  return difference(stats, batch, batch.old_logp) ** 2


def negative_logp(stats, batch):
  """-logp: raises whatever was sampled, like a lower baseline would.

  Source: AsymRE, arXiv 2506.20520.
  """
  return jnp.where(batch.rollouts.action_mask, -stats.logp, 0.0)


@reads('turn')
def action_fall(stats, batch, *, turn):
  """How far the tokens of an agent's good actions fell, where a whole one did.

      D_t = old_logp_t - logp_t
      max(0, D_t)  on rows with A >= 0, in actions whose sum_t D_t > 0, else 0

  The gate is a constant.

  Args:
    turn: i32[N, T] in [0, T), the action that a token belongs to.

  Source: LLDS, arXiv 2512.04220, equations 4 to 6.
  """
  mask = batch.rollouts.loss_mask
  chex.assert_equal_shape([turn, mask])
  rows, tokens = mask.shape
  fall = -difference(stats, batch, batch.old_logp)
  action = tokens * jnp.arange(rows)[:, None] + turn
  total = jax.ops.segment_sum(
    jnp.where(mask, fall, 0.0).ravel(), action.ravel(), rows * tokens
  )[action]
  good = jnp.all((batch.credit.advantages >= 0) | ~mask, axis=-1)
  gate = jax.lax.stop_gradient((total > 0) & good[:, None])
  return jnp.where(gate & mask, jnp.maximum(fall, 0), 0.0)


def likelihood_fall(stats, batch):
  """`action_fall` of responses that are one action each.

  Source: LLDS, arXiv 2512.04220, its gate of responses.
  """
  whole = jnp.zeros(batch.rollouts.response_mask.shape, jnp.int32)
  return action_fall(stats, batch, turn=whole)


def negative_entropy(stats, batch):
  """-H_t in nats: a positive coefficient keeps the policy random.

  H_t is summed over the vocabulary, so its gradient is exact given the
  prefix; like the costs above it misses how a token changes later entropies.
  """
  del batch
  return -stats.entropy


@reads('values', 'old_values')
def squared_value_error(stats, batch, *, values, old_values, clip=0.2):
  """Half the squared error of the critic, pessimistic about large moves.

      V_c = V_old + clip(V - V_old, -clip, clip)
      max((V - target)^2, (V_c - target)^2) / 2

  Args:
    clip: in value units; math.inf turns the clip off.

  Source: PPO's reference code; Engstrom et al., arXiv 2005.12729, section 3.
  """
  target = batch.credit.targets
  chex.assert_equal_shape([values, old_values, target])
  near = old_values + jnp.clip(values - old_values, -clip, clip)
  error = jnp.maximum((values - target) ** 2, (near - target) ** 2)
  return jnp.where(batch.rollouts.action_mask, error / 2, 0.0)


@reads('values')
def classified_value_error(stats, batch, *, values, critic):
  """Cross-entropy of a critic of bins and the bins of its targets, nats.

  Args:
    critic: `critics.Categorical` or `critics.TwoHot`, the recipe's own.

  Source: "Stop Regressing", arXiv 2403.03950, section 3.
  """
  wanted = critic.distribution(batch.credit.targets)
  error = critics.cross_entropy(values, wanted)
  return jnp.where(batch.rollouts.action_mask, error, 0.0)


@reads('values', 'rewards')
def outcome_cross_entropy(stats, batch, *, values, rewards, correct=0.5):
  """A token reward model: its mean logit predicts whether the row is right.

      log(1 + e^z) - y z,   z = mean_t z_t,   y = 1 if r > correct else 0

  on every token of the row, in nats. The logits z_t are the critic's answer.

  Args:
    rewards: f32[N]. correct: a reward above it is a success.

  Source: OREAL, arXiv 2502.06781.
  """
  mask = batch.rollouts.loss_mask
  mean = numerics.masked_mean(values, mask, axis=-1)
  error = jax.nn.softplus(mean) - jnp.where(rewards > correct, mean, 0.0)
  return jnp.where(mask, error[:, None], 0.0)


@reads('values', 'after_values')
def pessimistic_value_error(stats, batch, *, values, after_values):
  """Half the squared error of the lower of two critics; see `critics`.

  Source: PDPPO, arXiv 2504.05150, and its published code.
  """
  error = critics.pessimistic_error(values, after_values, batch.credit.targets)
  return jnp.where(batch.rollouts.action_mask, error, 0.0)


@reads('values', 'old_values', 'unfinished')
def finished_value_error(stats, batch, *, unfinished, clip=0.2, **values):
  """`squared_value_error` of the rows that do not go on, on all their tokens.

  Args:
    unfinished: bool[N], rows that go on in the next iteration.

  Source: Truncated PPO, arXiv 2506.15050.
  """
  error = squared_value_error(stats, batch, clip=clip, **values)
  return jnp.where(unfinished[:, None], 0.0, error)


@reads('after_values', 'step_end', 'single')
def step_value_error(stats, batch, *, after_values, step_end, single):
  """-y log p - (1 - y) log(1 - p) after each step, for the target y.

  p = sigmoid(V^x), what the critic says once the last token of a step is
  there. 0 elsewhere, and in rows that are a single step.

  Args:
    step_end: bool[N, T]. single: bool[N].

  Source: Direct Advantage Policy Optimization, arXiv 2412.18279.
  """
  target = batch.credit.targets
  error = jax.nn.softplus(after_values) - target * after_values
  here = step_end & ~single[:, None] & batch.rollouts.loss_mask
  return jnp.where(here, error, 0.0)


@reads('values', 'recorded')
def prompt_value_error(stats, batch, *, values, recorded):
  """(V(x) - r)^2 at the first token of rows that nobody recorded, 0 elsewhere.

  Args:
    recorded: bool[N], rows that the data holds.

  Source: A-LoL, arXiv 2305.14718, and its published code.
  """
  mask = batch.rollouts.loss_mask
  first = mask & (jnp.cumsum(mask, axis=1) == 1) & ~recorded[:, None]
  return jnp.where(first, (values - batch.credit.targets) ** 2, 0.0)


@reads('values', 'old_values', 'offline')
def own_value_error(stats, batch, *, offline, clip=0.2, **values):
  """`squared_value_error` of rows that the policy wrote itself.

  Args:
    offline: bool[N], rows of somebody else.

  Source: Secrets of RLHF Part I, arXiv 2307.04964.
  """
  error = squared_value_error(stats, batch, clip=clip, **values)
  return jnp.where(offline[:, None], 0.0, error)


@reads('offline')
def pretraining(stats, batch, *, offline):
  """-log p of the tokens of rows that somebody else wrote, 0 of others.

  Args:
    offline: bool[N].

  Source: PPO-ptx, arXiv 2203.02155, section 3.5; Secrets of RLHF Part I, arXiv
    2307.04964, equation 18.
  """
  here = batch.rollouts.action_mask & offline[:, None]
  return jnp.where(here, -stats.logp, 0.0)


@reads('share', 'offline')
def doubted_expert(stats, batch, *, share, offline):
  """-p (1 - p) log p of the tokens of somebody else, averaged over these.

      -sg(p (1 - p)) log p tokens / their tokens     in their rows, else 0

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    offline: bool[N], rows of somebody else.

  Source: CHORD, arXiv 2508.11408, and its code in Trinity-RFT.
  """
  here = batch.rollouts.loss_mask & offline[:, None]
  whole = jnp.sum(jnp.where(here, share, 0.0))
  phi = jax.lax.stop_gradient(gates.doubt(stats.logp, stats.logp, None, here))
  scale = numerics.safe_divide(1.0, whole)
  return jnp.where(here, -scale * phi * stats.logp, 0.0)


@reads('values', 'old_values', 'guide')
def guided_value_error(stats, batch, *, guide, clip=0.2, **values):
  """`squared_value_error` of the second writer of each response.

  Where a guide completed a row, the critic learns the guide's value there
  and nothing on the policy's prefix; elsewhere it learns on every token.

  Args:
    guide: bool[N, T], tokens that the guide wrote for the policy.

  Source: RLGF, arXiv 2306.11816, and its published code, which divides by
    the number of these tokens.
  """
  error = squared_value_error(stats, batch, clip=clip, **values)
  completed = jnp.any(guide, axis=-1, keepdims=True)
  return jnp.where(completed & ~guide, 0.0, error)
