"""Oracles of the entries whose ratio is of the whole sequence."""

from __future__ import annotations

from math import exp

from tests.oracles.parts import (
  Answer,
  averaged,
  clipped,
  entry,
  normalised,
  over_tokens,
  ppo,
  sequence_mean,
  sequence_sum,
  summed,
  token_mean,
)


def _sequence(case, advantages, low, high):
  """GSPO's token form: s_it = sg(s_i) pi / sg(pi), clipped as PPO's ratio."""
  s = averaged(case, case.now.logp - case.old.logp)

  def term(now, it):
    moved = now.logp[it] - case.now.logp[it]
    return ppo(exp(s[it[0]] + moved), advantages[it[0]], low, high)

  return term


@entry()
def gspo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2507.18071, equations 7, 13 and 14."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  term = _sequence(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def gmpo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2507.20673, equation 4: -A exp(mean of clipped log-ratios).

  Log-ratios are clipped as PPO clips ratios: from above where A > 0, from
  below where A < 0.
  """
  a = normalised(case, case.rewards, epsilon)

  def loss(now):
    total = 0.0
    for i in case.rows:
      d = [now.logp[i, t] - case.old.logp[i, t] for t in case.columns(i)]
      if a[i] > 0:
        d = [min(x, clip_high) for x in d]
      else:
        d = [max(x, -clip_low) for x in d]
      total -= a[i] * exp(sum(d) / len(d)) / len(case.rows)
    return total

  return Answer(loss, advantages=a, weights=sequence_mean(case))


@entry()
def dhpo(
  case, *, weight, clip_low, clip_high, sequence_low, sequence_high, epsilon
):
  """Arxiv 2601.05607: both branches clipped, then mixed."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  token = clipped(case, a, clip_low, clip_high)
  whole = _sequence(case, a, sequence_low, sequence_high)

  def term(now, it):
    return weight * token(now, it) + (1 - weight) * whole(now, it)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def dhpo_entropy(
  case, *, clip_low, clip_high, sequence_low, sequence_high, epsilon
):
  """Arxiv 2601.05607: mixed by the entropies, from 0 to 1 over the step."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  token = clipped(case, a, clip_low, clip_high)
  whole = _sequence(case, a, sequence_low, sequence_high)
  h = [case.now.entropy[it] for it in case.tokens]

  def term(now, it):
    sure = (case.now.entropy[it] - min(h)) / (max(h) - min(h))
    return sure * token(now, it) + (1 - sure) * whole(now, it)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def luspo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2602.05261: GSPO's loss of a response by its length."""
  a, w = normalised(case, case.rewards, epsilon), sequence_sum(case)
  term = _sequence(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def vespo(case, *, up_power, up_decay, down_power, down_decay, epsilon):
  """Arxiv 2602.10693, equation 20: W^k e^(lam (1 - W)) of the response."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  total = summed(case, case.now.logp - case.old.logp)

  def term(now, it):
    ratio, adv = exp(total[it[0]]), a[it[0]]
    k, lam = (up_power, up_decay) if adv >= 0 else (down_power, down_decay)
    return -(ratio**k) * exp(lam * (1 - ratio)) * adv * now.logp[it]

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)
