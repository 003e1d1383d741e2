"""Advantages of whole rows: a centre and a scale within a grouping key.

    f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N]

Rows that are not valid get 0 and influence nothing. A row alone in its group
has nothing to be compared with and gets 0.
"""

from __future__ import annotations

import math

import chex
import jax.numpy as jnp
from jax.scipy import special

from jaxrl_llm import grouping, numerics


def _check(rewards, group, valid):
  chex.assert_rank([rewards, group, valid], 1)
  chex.assert_equal_shape([rewards, group, valid])


def reward(rewards, group, valid):
  """A_i = r_i: no baseline.

  Source: REINFORCE, Williams 1992.
  """
  _check(rewards, group, valid)
  return jnp.where(valid, rewards, 0)


def outcomes(rewards, group, valid, *, right=0.1, wrong=-1.0, correct=0.5):
  """One advantage for every right row, and one for every wrong row.

  In expectation all choices are multiples of the policy gradient, since the
  score function has mean 0; they differ in noise and in what a step does.

  Args:
    right, wrong: (1, 0) learns from successes alone (PSR), (0, -1) from
      failures (NSR), (0.1, -1) is W-REINFORCE.
    correct: a reward above it is right.

  Source: arXiv 2506.01347, and its code.
  """
  _check(rewards, group, valid)
  value = jnp.where(rewards > correct, right, wrong)
  # Of the rewards' type: a weak one would compile what reads it anew.
  return jnp.where(valid, value, 0.0).astype(rewards.dtype)


def centre(rewards, group, valid):
  """Reward minus its group's mean.

      A_i = r_i - mean_g

  Args:
    rewards: f32[N], any unit; higher is better.
    group: i32[N], ids in [0, N); equal ids are compared.
    valid: bool[N], rows that count.

  Returns:
    f32[N], reward units. Exactly 0 in a group of equal rewards.

  Source: Dr. GRPO, arXiv 2503.20783, section 3.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(centre(rewards, group, valid))
    [ 0.75 -0.25 -0.25 -0.25  0.    0.  ]
  """
  _check(rewards, group, valid)
  mean = numerics.group_mean(rewards, group, valid)
  return jnp.where(valid, rewards - mean, 0)


def balanced(rewards, group, valid):
  """`centre` of groups whose surplus of rows below the mean was dropped.

  Of n rows below their group's mean and p others, n - p of the n are drawn and
  dropped where n > p, and those kept are compared among themselves. Advantages
  here are means over that draw: with c = p / n the chance to be kept, and S the
  sums of rewards of both kinds,

      A_i = r_i - (S_p + c S_n) / (2 p)                            of the p
      A_i = c (r_i - (S_p + r_i + (p - 1) mean_{j != i} r_j) / (2 p))  of the n

  Returns:
    f32[N], reward units; `centre` where n <= p.

  Source: RED-Drop, arXiv 2509.24203, and `rec_advantage` of its code, which
    draws.
  """
  _check(rewards, group, valid)
  mean = numerics.group_mean(rewards, group, valid)
  # Equal rewards are none of them below a mean that rounds above them.
  low = valid & (rewards - mean < -1e-6 * (1 + jnp.abs(mean)))
  high = valid & ~low
  below, others = (numerics.group_count(group, x) for x in (low, high))
  # Sums of differences to the mean, so that a large mean costs no digits.
  gap = jnp.where(valid, rewards - mean, 0.0)
  bad, good = (numerics.group_sum(gap, group, x) for x in (low, high))
  kept = numerics.safe_divide(others, below)
  rest = (others - 1) * numerics.safe_divide(bad - gap, below - 1)
  centre_low = numerics.safe_divide(good + gap + rest, 2 * others)
  centre_high = numerics.safe_divide(good + kept * bad, 2 * others)
  drawn = jnp.where(low, kept * (gap - centre_low), gap - centre_high)
  return jnp.where(valid, jnp.where(below > others, drawn, gap), 0.0)


def norm(rewards, group, valid, *, epsilon=1e-6, ddof=1):
  """Reward minus its group's mean, in units of its group's spread.

      A_i = (r_i - mean_g) / (std_g + epsilon)

  Args:
    rewards: f32[N], any unit; higher is better.
    group: i32[N], ids in [0, N); equal ids are compared.
    valid: bool[N], rows that count. Others get 0 and influence nothing.
    epsilon: added to the spread, in reward units.
    ddof: 1 divides by n - 1 (the published code), 0 by n.

  Returns:
    f32[N], without unit. 0 for a group whose rewards are all equal, or of
    one row.

  Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(norm(rewards, group, valid))
    [ 1.5 -0.5 -0.5 -0.5  0.   0. ]
  """
  centred = centre(rewards, group, valid)
  std = numerics.group_std(rewards, group, valid, ddof=ddof)
  return centred / (std + epsilon)


def centre_softly(rewards, group, valid, *, temperature=1.0):
  """Reward minus its group's value at a temperature.

      A_i = r_i - T log mean_g e^(r / T)

  The value is between the group's mean, to which it tends where T is large, and
  its best reward. It is that of the policy tilted by e^(r / T).

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].
    temperature: T > 0, in reward units.

  Returns:
    f32[N], reward units. Exactly 0 in a group of equal rewards.

  Source: the second baseline of OPMD, arXiv 2509.24203, and the V* of A*-PO,
    arXiv 2505.20686, of the group's own rows.
  """
  _check(rewards, group, valid)
  top = jnp.where(valid, numerics.group_max(rewards, group, valid), 0)
  below = jnp.where(valid, rewards - top, 0)
  mean = numerics.group_mean(jnp.exp(below / temperature), group, valid)
  value = temperature * jnp.log(jnp.where(valid, mean, 1))
  return jnp.where(valid, below - value, 0)


def softmax(rewards, group, valid, *, temperature=1.0):
  """The share of a row in its group, by the exponential of its reward.

      A_i = e^(r_i / T) / sum_g e^(r / T)

  Nothing is subtracted: all are above 0, and rows of equal rewards get 1 / n
  each, so that a group without a signal imitates itself.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].
    temperature: T > 0, in reward units; near 0 the best rows alone count.

  Returns:
    f32[N], adding up to 1 in each group.

  Source: Real-Time Long Horizon Air Quality Forecasting via Group-Relative
    Policy Optimization, arXiv 2511.22169, read at second hand.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(softmax(rewards, group, valid, temperature=0.5))
    [0.711 0.096 0.096 0.096 0.5   0.5  ]
  """
  _check(rewards, group, valid)
  top = numerics.group_max(rewards, group, valid)
  gap = jnp.where(valid, rewards - top, 0.0) / temperature
  weight = jnp.where(valid, jnp.exp(gap), 0.0)
  total = numerics.group_sum(weight, group, valid)
  return jnp.where(valid, numerics.safe_divide(weight, total), 0.0)


def leave_one_out(rewards, group, valid):
  """Reward minus the mean of the other rows of its group.

      A_i = r_i - sum_{j != i} r_j / (n - 1) = n / (n - 1) * (r_i - mean_g)

  The baseline does not depend on the row itself, so the estimate of the
  policy gradient is unbiased at any group size.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].

  Returns:
    f32[N], reward units. 0 for a group of one row.

  Source: RLOO, arXiv 2402.14740, section 2.2.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(leave_one_out(rewards, group, valid))
    [ 1.    -0.333 -0.333 -0.333  0.     0.   ]
  """
  count = numerics.group_count(group, valid)
  scale = numerics.safe_divide(count, jnp.maximum(count - 1, 0))
  return scale * centre(rewards, group, valid)


def leave_one_out_norm(rewards, group, valid, *, epsilon=1e-6):
  """Reward minus the mean of the others, in units of the others' spread.

      A_i = (r_i - b_i) / (s_i + epsilon)      where s_i > 0,  else r_i - b_i

  b_i and s_i are mean and standard deviation (n - 2) of the other rows of the
  group. Neither depends on the row itself, so that the gradient is unbiased up
  to the scale of its prompt. A lone success keeps its plain distance, since
  the others are all equal, while they are scaled up.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N]. epsilon: in reward units.

  Returns:
    f32[N], 0 for a group of equal rewards or of one row. A variance of the
    others under 1e-6 of the sum of squares counts as 0: rounding leaves that.

  Source: NeMo-RL, `use_leave_one_out_baseline` with `normalize_rewards`, its
    default.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0])
    >>> group, valid = jnp.zeros(4, int), jnp.ones(4, bool)
    >>> print(leave_one_out_norm(rewards, group, valid))
    [ 1.    -0.577 -0.577 -0.577]
  """
  apart = leave_one_out(rewards, group, valid)
  centred = centre(rewards, group, valid)
  count = numerics.group_count(group, valid)
  total = numerics.group_sum(centred**2, group, valid)
  # What is left of the sum of squares without the row and around their mean.
  squares = total - centred * apart
  variance = numerics.safe_divide(squares, jnp.maximum(count - 2, 0))
  spread = variance > 1e-6 * total
  scale = jnp.sqrt(jnp.where(spread, variance, 1.0)) + epsilon
  return jnp.where(spread, apart / scale, apart)


def norm_by_batch(rewards, group, valid, *, epsilon=1e-6):
  """Reward minus its group's mean, in units of the whole batch's spread.

      A_i = (r_i - mean_g) / (std_batch + epsilon)

  The spread divides by n - 1 and is that of the raw rewards, so a nearly
  uniform group is not blown up.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].
    epsilon: in reward units.

  Returns:
    f32[N], without unit; 0 for a batch of equal rewards.

  Source: Lite PPO, arXiv 2508.08221, section 4.1, and its code in ROLL.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(norm_by_batch(rewards, group, valid))
    [ 1.369 -0.456 -0.456 -0.456  0.     0.   ]
  """
  centred = centre(rewards, group, valid)
  std = numerics.group_std(rewards, grouping.whole(group), valid, ddof=1)
  return centred / (std + epsilon)


def norm_by_rms(rewards, group, valid, *, epsilon=1e-4):
  """Reward minus its group's mean, in units of that difference's own size.

      A_i = c_i / (sqrt(mean c^2) + epsilon),   c_i = r_i - mean_g

  over all rows of the batch: `norm_by_batch` without what prompts differ by.

  Args:
    epsilon: in reward units, TRL's.

  Source: ScaleRL, arXiv 2510.13786, whose text was read at second hand; TRL
    keeps a running mean of c^2 instead.
  """
  centred = centre(rewards, group, valid)
  mean = numerics.masked_mean(centred**2, valid)
  # The double where: sqrt has an infinite slope at 0.
  size = jnp.sqrt(jnp.where(mean > 0, mean, 1.0)) + epsilon
  return jnp.where(mean > 0, centred / size, 0.0)


def over_mean(rewards, group, valid):
  """Reward minus its group's mean, over that mean.

      A_i = (r_i - mean_g) / mean_g

  For rewards of 0 and 1 and groups of n its expectation is the gradient of
  -sum_{k < n} (1 - p)^k / k, the first terms of log p: n = 2 is the policy
  gradient, many samples are maximum likelihood of a success.

  Args:
    rewards: f32[N] >= 0.

  Returns:
    f32[N], without unit; 0 in a group without a success.

  Source: MaxRL, arXiv 2602.02710.

  Example:
    >>> rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    >>> group, valid = jnp.array([0, 0, 0, 0, 4, 4]), jnp.ones(6, bool)
    >>> print(over_mean(rewards, group, valid))
    [ 3. -1. -1. -1.  0.  0.]
  """
  mean = numerics.group_mean(rewards, group, valid)
  centred = centre(rewards, group, valid)
  return jnp.where(mean > 0, centred / jnp.where(mean > 0, mean, 1.0), 0.0)


def norm_by_deviation(rewards, group, valid, *, epsilon=1e-4):
  """Reward minus its group's mean, in units of the mean absolute deviation.

      A_i = n (r_i - mean_g) / (sum_j |r_j - mean_g| + epsilon)

  Every group with a signal has then the same total sum_i |A_i| = n, where
  the standard deviation favours those solved half of the time.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].
    epsilon: in reward units.

  Returns:
    f32[N], without unit; 0 for a uniform group.

  Source: DGPO, MathForge, arXiv 2601.20614, section 3.1.
  """
  centred = centre(rewards, group, valid)
  total = numerics.group_sum(jnp.abs(centred), group, valid)
  return numerics.group_count(group, valid) * centred / (total + epsilon)


def harder_first(rewards, group, valid, *, temperature=2.0, epsilon=1e-4):
  """`norm_by_deviation`, with more weight on groups that are solved less.

      A_i = lambda_g norm_by_deviation_i
      lambda_g = groups exp(-mean_g / T) / sum_h exp(-mean_h / T)

  over the groups whose rewards are not all equal; those weigh 1 on average.

  Args:
    rewards: f32[N], accuracies in [0, 1]. group: i32[N]. valid: bool[N].
    temperature: T > 0, in reward units; inf weighs all groups alike.
    epsilon: in reward units.

  Returns:
    f32[N], without unit; 0 for a uniform group.

  Source: DGPO, MathForge, arXiv 2601.20614, section 3.2. Its code also gives
    the least weight to a group that only a format reward makes uneven.
  """
  low = numerics.group_min(rewards, group, valid)
  high = numerics.group_max(rewards, group, valid)
  live = valid & (high > low)
  one = grouping.representatives(group, live)
  logits = -numerics.group_mean(rewards, group, valid) / temperature
  top = jnp.max(logits, where=one, initial=-jnp.inf)
  share = jnp.exp(jnp.where(live, logits - top, 0.0))
  mean = numerics.masked_mean(share, one)
  weight = jnp.where(live, numerics.safe_divide(share, mean), 1.0)
  return weight * norm_by_deviation(rewards, group, valid, epsilon=epsilon)


def norm_by_beta(rewards, group, valid, *, low=0.0, high=1.0, cap=1e6):
  """Reward minus its group's mean, over the density of the group's mean.

      s_i = (r_i - low) / (high - low)      p_g = mean_g s
      A_i = min(1 / BetaPdf(p_g; alpha, beta), cap) (s_i - p_g)
      alpha = max(1, 1 + a / 3)             beta = max(1, 1 + b / 3)

  where Beta(a, b) has the mean and the variance (n - 1) that p_g has over
  the groups of the batch.

  Args:
    rewards: f32[N] in [low, high]. group: i32[N]. valid: bool[N].
    low, high: range of the rewards. cap: the largest weight.

  Returns:
    f32[N], without unit; 0 for a uniform group. With one group, or with all
    p_g equal (a division by zero in the published code), alpha = beta = 1,
    which leaves s_i - p_g.

  Source: BNPO, arXiv 2506.02864, section 3, and its code.
  """
  score = (rewards - low) / (high - low)
  mean = jnp.clip(numerics.group_mean(score, group, valid), 0.0, 1.0)
  one = grouping.representatives(group, valid)
  everyone = grouping.whole(group)
  centre_of = numerics.group_mean(mean, everyone, one)
  variance = numerics.group_std(mean, everyone, one, ddof=1) ** 2
  total = numerics.safe_divide(centre_of * (1 - centre_of), variance) - 1
  spread = variance > 0
  a = jnp.where(spread, total * centre_of, 0.0)
  b = jnp.where(spread, total * (1 - centre_of), 0.0)
  alpha, beta = jnp.maximum(1, 1 + a / 3), jnp.maximum(1, 1 + b / 3)
  surprise = special.betaln(alpha, beta)
  surprise -= special.xlogy(alpha - 1, mean)
  surprise -= special.xlog1py(beta - 1, -mean)
  weight = jnp.exp(jnp.minimum(surprise, math.log(cap)))
  return weight * centre(score, group, valid)
