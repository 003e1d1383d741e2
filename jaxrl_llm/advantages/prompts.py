"""Advantages of rows that depend on what is known of their prompt.

    estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]
    refine            f(advantages f32[N, T], rollouts) -> f32[N, T]

The extra `answer` i32[N] numbers the final answers: rows of a group with the
same number mean the same.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group as group_lib
from jaxrl_llm.reads import reads


def per_token(rows, rollouts):
  """f32[N] -> f32[N, T]: a row's value at each of its columns."""
  return jnp.broadcast_to(rows[:, None], rollouts.response_mask.shape)


def _answer_share(answer, group, valid):
  """f32[N]: the share p of the group's rows that give the row's answer."""
  count = numerics.group_count(grouping.joint(group, answer), valid)
  total = numerics.group_count(group, valid)
  return count, numerics.safe_divide(count, total, default=1.0)


@reads('answer')
def semantic_entropy(rewards, rollouts, *, strength=0.02):
  """Centred rewards, fainter where the group's answers scatter.

      A_i = (r_i - mean_g) (1 - strength SE_g / log n)
      SE_g = -(1 / K) sum_k log p_k

  over the K answers of the group, with p_k the share of its n rows that give
  answer k.

  Args:
    rewards: f32[N]. rollouts: reads the extra `answer`.
    strength: alpha, in [0, 1].

  Returns:
    f32[N, T], reward units. A group of one answer, or of one row, has SE 0;
    one of n answers has SE = log n.

  Source: SEED-GRPO, arXiv 2505.12346, section 3, read at second hand. p_k
    is a share of rows, not of likelihood, which keeps SE below log n.
  """
  group, valid = rollouts.group, rollouts.valid
  count, share = _answer_share(rollouts.extras['answer'], group, valid)
  weight = numerics.safe_divide(jnp.ones_like(count), count)
  answers = numerics.group_sum(weight, group, valid)
  logs = jnp.log(jnp.where(share > 0, share, 1.0))
  entropy = -numerics.safe_divide(
    numerics.group_sum(weight * logs, group, valid), answers
  )
  size = numerics.group_count(group, valid)
  most = jnp.log(jnp.maximum(size, 1.0))
  factor = 1 - strength * numerics.safe_divide(entropy, most)
  return per_token(factor * group_lib.centre(rewards, group, valid), rollouts)


def consistent(
  rewards, answer, group, valid, *, slope=5.0, middle=1.0, epsilon=1e-6
):
  """How much a row is compared within its prompt, and what it is worth there.

      w_i = [r_i is not 0] sigmoid(slope (h_g - middle))
      L_i = (r_i - mean_g) / (std_g + epsilon)

  h_g is the entropy of the group's answers in bits.

  Args:
    rewards: f32[N]. answer: i32[N]. group: i32[N]. valid: bool[N].
    slope: gamma. middle: rho, bits. epsilon: in reward units.

  Returns:
    w and L, f32[N] each, without unit.

  Source: COPO, arXiv 2508.04138, section 3.2, and the mode of its code that is
    named so.
  """
  _, share = _answer_share(answer, group, valid)
  bits = -jnp.log2(jnp.where(share > 0, share, 1.0))
  entropy = numerics.group_mean(bits, group, valid)
  weight = jax.nn.sigmoid(slope * (entropy - middle)) * (rewards != 0)
  return weight, group_lib.norm(rewards, group, valid, epsilon=epsilon)


@reads('answer')
def consistency(rewards, rollouts, *, slope=5.0, middle=1.0, epsilon=1e-6):
  """Comparison within the prompt where answers vary, between prompts else.

      A_i = w_i L_i + (1 - w_i) (mean_g - mean) / (std + epsilon)

  with w and L of `consistent`; mean and std (n - 1) of the groups' means are
  over prompts. Unanimous groups, on which GRPO learns nothing, are so judged by
  the other prompts, and so is all that failed.

  Args:
    rewards: f32[N]. rollouts: reads the extra `answer`.
    slope, middle, epsilon: of `consistent`.

  Returns:
    f32[N, T], without unit.

  Source: COPO, arXiv 2508.04138, and its code. That can also lower a group's
    mean by h_g; in its runs it does not.
  """
  group, valid = rollouts.group, rollouts.valid
  weight, within = consistent(
    rewards,
    rollouts.extras['answer'],
    group,
    valid,
    slope=slope,
    middle=middle,
    epsilon=epsilon,
  )
  score = numerics.group_mean(rewards, group, valid)
  one = grouping.representatives(group, valid)
  everyone = grouping.whole(group)
  centred = score - numerics.group_mean(score, everyone, one)
  spread = numerics.group_std(score, everyone, one, ddof=1)
  between = centred / (spread + epsilon)
  return per_token(weight * within + (1 - weight) * between, rollouts)


@reads('coverage', 'demonstration_reward')
def demonstration_gap(rewards, rollouts, *, outlier=0.25, epsilon=1e-6):
  """Normalised rewards, stronger on prompts far from their demonstration.

      A_i = alpha_g alpha (r_i - mean_g) / (std_g + epsilon)
      alpha_g = sigmoid(1 - W_g) / sigmoid(mean (1 - W))
      alpha   = sigmoid(mean gap without outliers) / sigmoid(mean gap)
      gap_g   = mean_g (r_demonstration - r_i)

  with means over the prompts of the iteration. A gap is an outlier where its
  squared distance from their mean is above `outlier`; where all are, none is.

  Args:
    rewards: f32[N]. rollouts: reads the extras `coverage` f32[N], W in
      [0, 1], how much of the demonstration the responses cover, and
      `demonstration_reward` f32[N]; both equal within a prompt.
    outlier: tau, squared reward units. epsilon: in reward units.

  Returns:
    f32[N, T], without unit.

  Source: DR-IRL (GRPO-S), arXiv 2503.18991, section 3.3, its equations read
    at second hand. The means are of this iteration, where the paper's are of
    a category of questions.
  """
  group, valid = rollouts.group, rollouts.valid
  one = grouping.representatives(group, valid)
  distance = 1 - rollouts.extras['coverage']
  gap = rollouts.extras['demonstration_reward'] - rewards
  gap = numerics.group_mean(gap, group, valid)
  data = jax.nn.sigmoid(distance) / jax.nn.sigmoid(
    numerics.masked_mean(distance, one)
  )
  usual = numerics.masked_mean(gap, one)
  near = one & ((gap - usual) ** 2 <= outlier)
  kept = jnp.where(jnp.any(near), numerics.masked_mean(gap, near), usual)
  model = jax.nn.sigmoid(kept) / jax.nn.sigmoid(usual)
  norm = group_lib.norm(rewards, group, valid, epsilon=epsilon)
  return per_token(data * model * norm, rollouts)


def lowest_mean(logp, mask, *, share=0.2):
  """exp of the mean of the lowest `share` of a row's log-probs.

  Args:
    logp: f32[N, T]. mask: bool[N, T]. share: in (0, 1]; at least one token
      is taken.

  Returns:
    f32[N] in (0, 1]; 1 for a row without tokens.

  Source: ARM, arXiv 2602.05281, section 4.
  """
  length = jnp.sum(mask, axis=-1)
  taken = jnp.maximum(jnp.ceil(share * length), 1)
  ordered = jnp.sort(jnp.where(mask, logp, jnp.inf), axis=-1)
  here = jnp.arange(logp.shape[-1]) < jnp.minimum(taken, length)[:, None]
  return jnp.exp(numerics.masked_mean(ordered, here, axis=-1))


@reads('prompt_logp')
def confidence_gap(advantages, rollouts, *, strength=0.1, share=0.2):
  """Advantages raised for responses less certain than their prompt.

      A_it + strength (c(prompt) - c(response_i))

  c is `lowest_mean`. Groups without a signal are left alone.

  Args:
    advantages: f32[N, T]. rollouts: reads `logp` and the extra `prompt_logp`
      f32[N, P], log-probs of the prompt's own tokens.
    strength: alpha. share: of tokens that c looks at.

  Source: ProGRPO / ARM, arXiv 2602.05281, section 4, read at
    second hand. The paper's alpha was not found, the default is ours.
  """
  prompt = lowest_mean(
    rollouts.extras['prompt_logp'], rollouts.content.prompt_mask, share=share
  )
  response = lowest_mean(rollouts.logp, rollouts.loss_mask, share=share)
  size = jnp.max(jnp.abs(advantages), axis=-1)
  signal = numerics.group_max(size, rollouts.group, rollouts.valid) > 0
  bonus = jnp.where(signal, strength * (prompt - response), 0)
  return advantages + bonus[:, None]
