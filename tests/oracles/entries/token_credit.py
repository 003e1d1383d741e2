"""Oracles of the entries that give the tokens of a response other credit."""

from __future__ import annotations

from math import exp, expm1, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  centred,
  clamp,
  clipped,
  entry,
  gae,
  k3,
  leave_one_out,
  mean,
  normalised,
  over_tokens,
  penalty,
  score_function,
  sequence_mean,
  token_mean,
  value_error,
  whitened,
)


def _shared_run(case, a, i, rows, end):
  """The tokens at one end of row i that rows of the other sign have there."""

  def text(j):
    tokens = [int(t) for t in np.flatnonzero(case.response_mask[j])]
    return tokens[::-1] if end else tokens

  run = []
  for place, t in enumerate(text(i)):
    opposed = [j for j in rows if a[i] * a[j] < 0 and len(text(j)) > place]
    there = [case.response[j, text(j)[place]] for j in opposed]
    if case.response[i, t] not in there:
      break
    run.append(t)
  return run


@entry(moved=({'most': 0.75},))
def gtpo(case, *, gain, entropy_weight, most, epsilon):
  """Arxiv 2508.03772, equations 6 to 10, as a score function at r = 1."""
  z, h = normalised(case, case.rewards, epsilon), case.old.entropy
  level = {i: mean(h[i, t] for t in case.columns(i)) for i in case.rows}
  first = mean(level.values())  # the iteration before has the same tokens
  a = np.zeros(case.mask.shape)
  for rows in case.lists:
    for i in rows:
      factor = np.ones(case.mask.shape[1])
      for end in (False, True):
        for t in _shared_run(case, z, i, rows, end):
          factor[t] *= gain if z[i] > 0 else 0.0
      spared = level[i] > most and first < log(2)
      if not spared:
        a[i] = factor * (z[i] - entropy_weight * level[i])
  a, w = np.where(case.mask, a, 0.0), sequence_mean(case)
  term = score_function(case, a)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


def _unsure(case, threshold):
  return np.where(case.mask & (np.exp(case.sampler_logp) < threshold), 1.0, 0.0)


def _segmented(case, a, keep, clip_low, clip_high, kl_weight):
  """PPO's clip of the tokens that are kept, which alone are counted."""
  w = token_mean(case, token_keep=keep)
  terms = clipped(case, a, clip_low, clip_high), penalty(case, kl_weight, k3)
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, token_keep=keep)


@entry(values={'interval': 2})
def spo_chain(case, *, clip_low, clip_high, threshold, interval, kl_weight):
  """Arxiv 2505.23564, equation 4 and its code: V(next cut) - V(this cut)."""
  keep, a = _unsure(case, threshold), np.zeros(case.mask.shape)
  for i in case.rows:
    cuts = [t for t in case.columns(i) if keep[i, t]][::interval]
    values = [case.extras['prefix_value'][i, t] for t in cuts]
    values.append(case.rewards[i])
    for t in case.columns(i):
      passed = sum(cut <= t for cut in cuts)
      a[i, t] = values[passed] - values[passed - 1] if passed else 0.0
  return _segmented(case, a, keep, clip_low, clip_high, kl_weight)


@entry(values={'depth': 2})
def spo_tree(case, *, clip_low, clip_high, threshold, kl_weight):
  """Arxiv 2505.23564, section 4.2: V(child) - V(parent); edges train once."""
  path, level = case.extras['node_path'], case.extras['level']
  keep, a = _unsure(case, threshold), np.zeros(case.mask.shape)
  for rows in case.groups:
    for i in rows:

      def below(depth, i=i, rows=rows):
        return [j for j in rows if (path[j, :depth] == path[i, :depth]).all()]

      for t in case.columns(i):
        start, end = below(level[i, t]), below(level[i, t] + 1)
        value = [
          mean(case.rewards[j] for j in leaves) for leaves in (start, end)
        ]
        a[i, t] = value[1] - value[0]
        keep[i, t] *= 0.0 if a[i, t] == 0 else 1 / len(end)
  return _segmented(case, a, keep, clip_low, clip_high, kl_weight)


@entry(moved=({'discount': 0.7, 'trace': 0.8},))
def poad(case, *, clip_low, clip_high, discount, trace, value_weight):
  """Arxiv 2405.15821, equations 10 to 13: actions are discounted, not tokens.

  The critic's loss is PPO's, with the clip of 0.2 of its code.
  """
  values, raw = case.old.values, np.zeros(case.mask.shape)
  for i in case.rows:
    run, following = 0.0, 0.0
    for t in reversed(case.columns(i)):
      last = t == case.columns(i)[-1]
      gamma = discount if case.extras['action_end'][i, t] else 1.0
      q = case.rewards[i] if last else 0.0
      run = q + gamma * following - values[i, t] + gamma * trace * run
      raw[i, t], following = run, values[i, t]
  targets = np.where(case.mask, raw + values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  error = value_error(case, targets, value_weight, 0.2)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high), error)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def tw_grpo(case, *, clip_low, clip_high, strength, epsilon):
  """Arxiv 2505.24718, section 3.2 and its code: where distributions differ."""
  z, a = normalised(case, case.rewards, epsilon), np.zeros(case.mask.shape)
  logs = case.old.log_probs.copy()
  logs[~case.mask] = -log(logs.shape[-1])
  for rows in case.lists:
    spread = {}
    for t in sorted({t for i in rows for t in case.columns(i)}):
      middle = np.mean([logs[i, t] for i in rows], axis=0)
      gaps = [clamp(d, -11, 11) for i in rows for d in middle - logs[i, t]]
      spread[t] = sum(expm1(d) - d for d in gaps) / len(rows)
    low, high = min(spread.values()), max(spread.values())
    for i in rows:
      for t in case.columns(i):
        place = (spread[t] - low) / (high - low + 1e-8)
        a[i, t] = z[i] * (1 + (strength - 1) * place)
  w = token_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'limit': 0.6, 'weights': (1.5, 0.5)},))
def two_stage_constrained(case, *, weights, limit):
  """Arxiv 2302.01680, recalled: prod (pi_i / b)^(l_i / S) exp(A / S) log pi."""
  reward, total = centred(case, case.rewards), sum(weights)
  others, a = case.extras['constraint_logp'], np.zeros(case.mask.shape)
  for i, t in case.tokens:
    gaps = others[i, t] - case.sampler_logp[i, t]
    tilt = sum(l / total * gap for l, gap in zip(weights, gaps))
    a[i, t] = exp(clamp(tilt + reward[i] / total, -limit, limit))
  w = token_mean(case)
  return Answer(
    over_tokens(case, w, score_function(case, a)), advantages=a, weights=w
  )


# Of groups of 3 the KL of the cases is 0.316 a response, near to the target.
@entry(values={'samples': 3}, moved=({'kl_target': 0.3, 'kl_gain': 0.02},))
def text2grad(
  case,
  *,
  clip,
  discount,
  trace,
  kl_weight,
  kl_target,
  kl_gain,
  value_weight,
  value_clip,
):
  """Arxiv 2505.22338 and its code: spans, less the KL, through GAE.

  beta <- beta (1 + gain rows clip(KL / KL* - 1, -0.2, 0.2)) after an iteration,
  with the KL of a response.
  """
  apart = case.old.logp - case.ref_logp
  total = [
    sum(apart[it] for it in case.tokens if it[0] == row)
    for row in np.flatnonzero(case.valid)
  ]
  error = clamp(mean(total) / kl_target - 1, -0.2, 0.2)
  beta = kl_weight * (1 + kl_gain * len(total) * error)
  paid = case.extras['span_reward'].copy()
  for it in case.tokens:
    paid[it] -= beta * apart[it]
  none = np.zeros(len(case.valid))
  raw = gae(case, none, case.old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  error = value_error(case, targets, value_weight, value_clip)
  loss = over_tokens(case, w, clipped(case, a, clip, clip), error)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry(moved=({'low': 0.7, 'high': 1.1},))
def prime(case, *, process, outcome, low, high, clip):
  """Arxiv 2502.01456, algorithm 1 and the advantages of its code."""
  said = case.extras['implicit_reward']
  ends = {i: case.columns(i)[-1] for i in case.rows}
  q = np.zeros(case.mask.shape)
  for i, t in case.tokens:
    q[i, t] = 0 if t == ends[i] else said[i, t]
  sums = [abs(sum(q[i, t:])) for i, t in case.tokens]
  q /= max(sums) + 1e-6
  others, paid = leave_one_out(case, case.rewards), np.zeros(case.mask.shape)
  for rows in case.lists:
    n = len(rows)
    total = sum(mean(q[i, t] for t in case.columns(i)) for i in rows)
    for i in rows:
      for t in case.columns(i):
        own = (n * q[i, t] - total) / (n - 1) if n > 1 else 0
        paid[i, t] = process * own + (t == ends[i]) * outcome * others[i]
  a, keep = np.zeros(case.mask.shape), np.zeros(len(case.mask))
  for i, t in case.tokens:
    a[i, t] = sum(paid[i, t:])
  a = whitened(case, a)
  for rows in case.groups:
    rate = mean(case.rewards[i] for i in rows)
    keep[rows] = low <= rate <= high
  w = token_mean(case, keep)
  loss = over_tokens(case, w, clipped(case, a, clip, clip))
  return Answer(loss, advantages=a, weights=w, keep=keep)
