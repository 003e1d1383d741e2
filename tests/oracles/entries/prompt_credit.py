"""Oracles of the entries that weigh a response by what is known of its prompt.

The extra `answer` numbers final answers: rows with the same number mean the
same.
"""

from __future__ import annotations

from collections import Counter
from math import ceil, exp, log, log2, sqrt

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  budget_mean,
  centred,
  clamp,
  clipped,
  entry,
  k3,
  mean,
  normalised,
  on_tokens,
  over_tokens,
  penalty,
  returns,
  score_function,
  sequence_mean,
  sequence_sum,
  sigmoid,
  spread,
  summed,
  token_mean,
)


@entry()
def remax(case, *, kl_weight):
  """Arxiv 2310.10505, equation 8: less what the greedy response earns."""
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  a = returns(case, case.rewards, paid) - case.extras['greedy_reward'][:, None]
  w = sequence_sum(case)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)


def _twice(case, advantages, low, high, bound):
  """PPO's clip, and once more where A < 0: at most -bound A."""
  plain = clipped(case, advantages, low, high)

  def term(now, it):
    loss, a = plain(now, it), advantages[it[0]]
    return min(loss, -bound * a) if a < 0 else loss

  return term


# The memory kept is at its least in the first case, free in the second.
@entry(moved=({'half_life': 0.5, 'keep_high': 0.94},))
def single_stream(
  case, *, clip_low, clip_high, bound, half_life, keep_low, keep_high, count
):
  """Arxiv 2509.13232, section 3: a Beta count of each task's successes.

  Clipped once more where A < 0, as its code does.
  """
  a = np.zeros(len(case.valid))
  for task in set(case.task):
    rows = np.flatnonzero(case.valid & (case.task == task))
    drift = mean(case.extras['drift'][i] for i in rows)
    kept = clamp(2 ** (-drift / half_life), keep_low, keep_high)
    first = mean(case.extras['first_rate'][i] for i in rows)
    start = (count * first + 0.5) / (count + 1)
    right = kept * start / (1 - keep_low)
    wrong = kept * (1 - start) / (1 - keep_low)
    for i in rows:
      right += case.before.rewards[i]
      wrong += 1 - case.before.rewards[i]
    for i in rows:
      a[i] = case.rewards[i] - right / (right + wrong)
  seen = [a[i] for i in case.rows]
  a, w = (a - mean(seen)) / (spread(seen) + 1e-8), token_mean(case)
  loss = over_tokens(case, w, _twice(case, a, clip_low, clip_high, bound))
  return Answer(loss, advantages=a, weights=w)


def _answers(case, rows):
  """p_k of each answer that a group gives."""
  counts = Counter(case.extras['answer'][i] for i in rows)
  return [n / len(rows) for n in counts.values()]


@entry()
def seed_grpo(case, *, clip_low, clip_high, strength):
  """Arxiv 2505.12346, section 3: A (1 - alpha SE / log G), SE by answers."""
  a, w = centred(case, case.rewards), budget_mean(case)
  for rows in case.groups:
    entropy = -mean(log(p) for p in _answers(case, rows))
    for i in rows:
      a[i] *= 1 - strength * entropy / log(len(rows)) if len(rows) > 1 else 1
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w)


def _grpo(case, advantages, low, high, *terms, weights=None, rewards=None):
  """GRPO's clip of some advantages."""
  w = sequence_mean(case) if weights is None else weights
  loss = over_tokens(case, w, clipped(case, advantages, low, high), *terms)
  return Answer(loss, advantages=advantages, weights=w, rewards=rewards)


@entry()
def unlikeliness(case, *, penalty, clip_low, clip_high, kl_weight):
  """Arxiv 2506.02355, its code: r (1 - beta rank / G), the least likely first.

  By the sampler's likelihoods; rows that tie share their mean rank.
  """
  shaped, p = case.rewards.copy(), averaged(case, case.sampler_logp)
  for rows in case.groups:
    for i in rows:
      below = sum(p[j] < p[i] for j in rows)
      tied = sum(p[j] == p[i] for j in rows) - 1
      shaped[i] *= 1 - penalty * (below + tied / 2) / len(rows)
  a = normalised(case, shaped, 1e-6)

  def kl(now, it):
    return kl_weight * k3(now.logp[it] - case.ref_logp[it])

  return _grpo(case, a, clip_low, clip_high, kl, rewards=shaped)


@entry()
def copo(case, *, clip_low, clip_high, bound, slope, middle):
  """Arxiv 2508.04138, its code: a clip within prompts, and one between them.

  Rows without reward are compared between prompts alone.
  """
  local = normalised(case, case.rewards, 1e-6)
  scores = [mean(case.rewards[i] for i in rows) for rows in case.groups]
  own, other = np.zeros((2, len(local)))
  for rows, score in zip(case.groups, scores):
    h = -sum(p * log2(p) for p in _answers(case, rows))
    wide = (score - mean(scores)) / (spread(scores) + 1e-6)
    for i in rows:
      share = sigmoid(slope * (h - middle)) if case.rewards[i] else 0.0
      own[i], other[i] = share * local[i], (1 - share) * wide
  w = sequence_mean(case)
  terms = [_twice(case, a, clip_low, clip_high, bound) for a in (own, other)]
  return Answer(over_tokens(case, w, *terms), advantages=own + other, weights=w)


@entry()
def dr_irl(case, *, clip_low, clip_high, kl_weight, outlier):
  """Arxiv 2503.18991, section 3.3: alpha_D alpha_M times GRPO's advantages.

  alpha_D is of the prompt, alpha_M the same for all.
  """
  extras, a = case.extras, normalised(case, case.rewards, 1e-6)
  far = [1 - extras['coverage'][rows[0]] for rows in case.groups]
  gaps = [
    mean(extras['demonstration_reward'][i] - case.rewards[i] for i in rows)
    for rows in case.groups
  ]
  near = [gap for gap in gaps if (gap - mean(gaps)) ** 2 <= outlier]
  model = sigmoid(mean(near)) / sigmoid(mean(gaps))
  for rows, distance in zip(case.groups, far):
    data = sigmoid(distance) / sigmoid(mean(far))
    for i in rows:
      a[i] *= data * model
  kl = penalty(case, kl_weight, k3)
  return _grpo(case, a, clip_low, clip_high, kl)


def _confidence(logp, share):
  """exp of the mean of the least likely tokens' log-probs."""
  low = sorted(logp)[: ceil(share * len(logp))]
  return exp(mean(low))


@entry(moved=({'share': 0.45},))
def progrpo(case, *, clip_low, clip_high, strength, share, epsilon):
  """Arxiv 2602.05281, section 4: A + alpha (c(prompt) - c(response)).

  Where the group has a signal; by the sampler's likelihoods.
  """
  a = normalised(case, case.rewards, epsilon)
  for rows in case.groups:
    if any(a[i] for i in rows):
      for i in rows:
        own = [case.sampler_logp[i, t] for t in case.columns(i)]
        prompt = _confidence(case.extras['prompt_logp'][i], share)
        a[i] += strength * (prompt - _confidence(own, share))
  return _grpo(case, a, clip_low, clip_high, weights=token_mean(case))


@entry()
def value_at_state_zero(case, *, clip_low, clip_high):
  """Arxiv 2602.03584, section 3: the reward less what was predicted of it."""
  a = case.rewards - case.extras['predicted_reward']
  return _grpo(case, a, clip_low, clip_high, weights=budget_mean(case))


@entry()
def foretold_budgets(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2602.03584: GRPO, of groups whose sizes are not seen here."""
  a = normalised(case, case.rewards, epsilon)
  return _grpo(case, a, clip_low, clip_high)


@entry()
def reg_grpo(case, *, kl_weight, spread, epsilon):
  """Arxiv 2506.07464, equation 9: (A - z)^2, z of the group's log-ratios."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  kl = over_tokens(case, w, penalty(case, kl_weight, k3))

  def loss(now):
    moved, total = summed(case, now.logp - case.old.logp), 0.0
    for rows in case.groups:
      middle = mean(moved[i] for i in rows)
      squares = sum((moved[i] - middle) ** 2 for i in rows)
      for i in rows:
        if i in case.rows and len(rows) > 1:
          z = (moved[i] - middle) / sqrt(squares / (len(rows) - 1) + spread)
          total += (a[i] - z) ** 2 / len(case.rows)
    return total + kl(now)

  return Answer(loss, advantages=on_tokens(case, a), weights=w)


def _divisor(numbers):
  """The spread and 1e-6, or 1 and 1e-6 where all are alike."""
  s = spread(numbers)
  return (s if s > 1e-3 else 1.0) + 1e-6


def _papers(case):
  """Papers of a case: (bundle, paper) -> rows, and their scores."""
  rows = {}
  for i in np.flatnonzero(case.valid):
    key = int(case.extras['bundle'][i]), int(case.extras['paper'][i])
    rows.setdefault(key, []).append(int(i))
  full = max(len(r) for r in rows.values())
  return rows, {
    key: full * mean(case.rewards[i] for i in r) for key, r in rows.items()
  }


@entry()
def riskpo(case, *, clip, low, high, tail_weight, rate):
  """Arxiv 2510.00911, equations 5 to 8 and algorithm 1; credit `std`."""
  levels = low, high
  _, first = _papers(case.before)
  quantiles = [np.quantile(list(first.values()), a) for a in levels]
  q_d, q_u = (
    q + rate * (a - mean(s < q for s in first.values()))
    for q, a in zip(quantiles, levels)
  )
  papers, scores = _papers(case)
  a = np.zeros(len(case.valid))
  for key, rows in papers.items():
    s = scores[key]
    middle = max(s - q_d, 0) - max(s - q_u, 0) + q_d - q_u
    middle /= high - low + 1e-6
    tail = -max(q_d - s, 0) / (low + 1e-6)
    value = (tail_weight * tail + middle) / (1 + tail_weight)
    mates = [x for other, x in scores.items() if other[0] == key[0]]
    for i in rows:
      own = next(r for r in case.groups if i in r)
      a[i] = value / _divisor(mates) / _divisor(case.rewards[j] for j in own)
  w = token_mean(case)
  return Answer(
    over_tokens(case, w, clipped(case, a, clip, clip)),
    advantages=a,
    weights=w,
  )
