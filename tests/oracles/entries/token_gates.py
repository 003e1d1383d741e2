"""Oracles of the entries that judge tokens by what is around them."""

from __future__ import annotations

from math import exp

from tests.oracles.parts import (
  Answer,
  centred,
  clipped,
  entry,
  k3,
  leave_one_out,
  log_sigmoid,
  mean,
  normalised,
  over_tokens,
  penalty,
  sequence_mean,
  sigmoid,
  token_mean,
)


@entry()
def oreal_tokens(case, *, negative, kl_weight, grade_weight):
  """Arxiv 2502.06781 and its code: tokens weigh by how sure the outcome is.

  The token reward model is the value head: it answers logits z.
  """
  a, w, z = leave_one_out(case, case.rewards), token_mean(case), case.old.values
  counts = {s: sum(s * a[i] > 0 for i, _ in case.tokens) for s in (1, -1)}
  kl = penalty(case, kl_weight, k3)

  def grade(now, i):
    logit = mean(now.values[i, t] for t in case.columns(i))
    return -log_sigmoid(logit if case.rewards[i] > 0.5 else -logit)

  def settled(i, t):
    p = sigmoid(mean(z[i, u] for u in case.columns(i) if u <= t))
    return max(0.0, ((p if a[i] > 0 else 1 - p) - 0.5) / 0.5)

  def loss(now):
    total = 0.0
    for i, t in case.tokens:
      scale = 1 / counts[1] if a[i] > 0 else negative / counts[-1]
      total -= scale * a[i] * settled(i, t) * now.logp[i, t]
      rest = kl(now, (i, t)) + grade_weight * grade(now, i)
      total += rest / len(case.tokens)
    return total

  return Answer(loss, advantages=a, weights=w)


@entry()
def llds_actions(case, *, clip_low, clip_high, fall_weight, epsilon):
  """Arxiv 2512.04220, equations 4 to 6: good actions that fell as a whole."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  turn = case.extras['turn']

  def fall(now, it):
    i, t = it
    action = [u for u in case.columns(i) if turn[i, u] == turn[i, t]]
    gone = sum(case.old.logp[i, u] - case.now.logp[i, u] for u in action)
    if a[i] < 0 or gone <= 0:
      return 0.0
    return fall_weight * max(0.0, case.old.logp[it] - now.logp[it])

  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high), fall)
  return Answer(loss, advantages=a, weights=w)


@entry(moved=({'low': 0.15, 'high': 0.2},))
def rec_sequence(case, *, low, high):
  """Arxiv 2509.24203: REINFORCE on responses that have not left the region."""
  a, w = centred(case, case.rewards), token_mean(case)
  moved = case.now.logp - case.old.logp
  s = {i: exp(mean(moved[i, t] for t in case.columns(i))) for i in case.rows}

  def term(now, it):
    i = it[0]
    near = s[i] <= 1 + high if a[i] > 0 else s[i] >= 1 - low
    return -a[i] * now.logp[it] if near else 0.0

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)
