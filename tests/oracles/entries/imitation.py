"""Oracles of the entries that weigh the likelihood of responses."""

from __future__ import annotations

from math import cos, exp, log, pi

import numpy as np

from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  clamp,
  clipped,
  entry,
  k3,
  leave_one_out,
  mean,
  on_tokens,
  over_tokens,
  penalty,
  ratio,
  score_function,
  sequence_sum,
  spread,
  summed,
  token_mean,
)


@entry()
def sft(case):
  """Arxiv 2203.02155, section 3.5: the mean over tokens of -r log pi.

  r is 1 for every demonstration there.
  """
  w = token_mean(case)
  loss = over_tokens(case, w, score_function(case, case.rewards))
  return Answer(loss, advantages=case.rewards, weights=w)


@entry(moved=({'spread': 0.5, 'budget': 12},))
def nft(case, *, spread, budget):
  """Arxiv 2505.18116 and its code.

  Of wrong rows the implicit policy (1 - q r) / (1 - q) has its value held to
  at least 1, while its slope is that of the number itself over the held one.
  """
  keep, q = np.zeros(len(case.mask)), np.zeros(len(case.mask))
  for rows in case.groups:
    for i in rows:
      keep[i] = len({case.rewards[j] for j in rows}) > 1
      rate = mean(float(case.rewards[j] > 0.5) for j in rows)
      q[i] = clamp(rate, 0.02, 0.98)
  w = budget_mean(case, keep, budget=budget)

  def term(now, it):
    i, moved = it[0], now.logp[it] - case.old.logp[it]
    scale = (1 - q[i]) / (q[i] * (1 - q[i])) ** spread
    if case.rewards[i] > 0.5:
      return -scale * moved
    held = (1 - q[i] * ratio(case, case.now, it)) / (1 - q[i])
    free = (1 - q[i] * ratio(case, now, it)) / (1 - q[i])
    floor = max(held, 1.0)
    return -scale * (log(floor) + (free - held) / floor)

  return Answer(
    over_tokens(case, w, term),
    advantages=centred(case, case.rewards),
    keep=keep,
    weights=w,
  )


@entry()
def oreal(case, *, negative, kl_weight):
  """Arxiv 2502.06781 and its code, without token rewards.

  The mean of -A log pi over the tokens of A > 0, and that over those of
  A < 0, at a lower weight, beside the k3 of all tokens.
  """
  a, w = leave_one_out(case, case.rewards), token_mean(case)
  up = sum(a[i] > 1e-9 for i, _ in case.tokens)
  down = sum(a[i] < -1e-9 for i, _ in case.tokens)
  kl = over_tokens(case, w, penalty(case, kl_weight, k3))

  def loss(now):
    total = 0.0
    for i, t in case.tokens:
      share = 1 / up if a[i] > 0 else negative / down
      total -= share * a[i] * now.logp[i, t]
    return total + kl(now)

  return Answer(loss, advantages=a, weights=w)


@entry()
def a_lol(case, *, clip, value_weight):
  """Arxiv 2305.14718: -sg(clip(pi / pi_ref)) A log pi, drawn by max(A, 0).

  A is the reward less V of the prompt, which learns what other rows earn.
  """
  recorded, count = case.extras['recorded'], len(case.valid)
  a, gains = np.zeros(count), np.zeros(count)
  live = [i for i in case.rows if recorded[i]]
  for i in live:
    a[i] = case.rewards[i] - case.old.values[i, case.columns(i)[0]]
    gains[i] = max(a[i], 0.0)
  level = mean(gains[i] for i in live)
  keep = np.where(recorded, gains / level if level else 0.0, 1.0)
  w = sequence_sum(case, keep)
  drift = summed(case, case.now.logp - case.ref_logp)

  def term(now, it):
    i, t = it
    if recorded[i]:
      weight = clamp(exp(drift[i]), 1 - clip, 1 + clip)
      return -weight * max(a[i], 0.0) * now.logp[it]
    if t != case.columns(i)[0]:
      return 0.0
    return value_weight * (now.values[it] - case.rewards[i]) ** 2

  return Answer(
    over_tokens(case, w, term),
    advantages=a,
    weights=w,
    keep=keep,
    targets=on_tokens(case, case.rewards),
  )


@entry()
def tilted_reference(case, *, weight):
  """Arxiv 2205.11275: -(P / (Z q) - 1) log pi.

  P = ref e^(r / beta), q the policy that sampled, Z the mean of P / q over a
  group.
  """
  drift = summed(case, case.ref_logp - case.old.logp)
  a, w = np.zeros(len(drift)), sequence_sum(case)
  for rows in case.groups:
    p = {i: exp(case.rewards[i] / weight + drift[i]) for i in rows}
    for i in rows:
      a[i] = p[i] / mean(p.values()) - 1
  a = on_tokens(case, a)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)


@entry(moved=({'gate': 0.8},))
def hpt(case, *, gate, weight):
  """Arxiv 2509.04419: SFT on the demonstration where P <= gamma, else RL.

  P is the share of own responses that are right; RL is without a spread, and
  all there is without a demonstration.
  """
  shown, a = case.extras['offline'], np.zeros(len(case.valid))
  for rows in case.groups:
    own = [i for i in rows if not shown[i]]
    fails = mean(case.rewards[i] > 0.5 for i in own) <= gate
    for i in rows:
      if fails and len(own) < len(rows):
        a[i] = weight if shown[i] else 0.0
      elif not shown[i]:
        a[i] = case.rewards[i] - mean(case.rewards[j] for j in own)
  w = token_mean(case)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)


@entry(moved=({'most': 0.9, 'least': 0.05, 'rise': 250, 'fall': 400},))
def chord(case, *, clip, most, least, rise, fall, epsilon):
  """Arxiv 2508.11408: GRPO and phi-SFT, each a mean over its own tokens.

  mu as in Trinity-RFT, at the case's iteration; the sum is over 1 - mu.
  """
  shown = case.extras['offline']
  a = np.zeros(len(case.valid))
  for rows in case.groups:
    own = [i for i in rows if not shown[i]]
    there = [case.rewards[i] for i in own]
    for i in own if len(own) > 1 else []:
      a[i] = (case.rewards[i] - mean(there)) / (spread(there) + epsilon)
  if case.step < rise:
    mu = case.step / rise * most
  elif case.step >= rise + fall:
    mu = least
  else:
    turned = cos(pi * (case.step - rise) / fall)
    mu = least + (most - least) * (1 + turned) / 2
  policy, numbers = clipped(case, a, clip, clip), {True: 0, False: 0}
  for it in case.tokens:
    numbers[bool(shown[it[0]])] += 1

  def loss(now):
    total = 0.0
    for it in case.tokens:
      if shown[it[0]]:
        p = exp(case.now.logp[it])
        total -= mu / (1 - mu) * p * (1 - p) * now.logp[it] / numbers[True]
      else:
        total += policy(now, it) / numbers[False]
    return total

  return Answer(loss, advantages=a, weights=token_mean(case))


@entry()
def dft(case):
  """Arxiv 2508.05629: -sg(pi) r log pi, the mean over tokens."""
  w = token_mean(case)

  def term(now, it):
    return -case.rewards[it[0]] * exp(case.now.logp[it]) * now.logp[it]

  loss = over_tokens(case, w, term)
  return Answer(loss, advantages=case.rewards, weights=w)
