"""Oracles of the entries that change which prompts are drawn, and how often.

What they draw is not seen here; see tests/selection and tests/plans.
"""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  clipped,
  entropy_bonus,
  entry,
  k3,
  log_sigmoid,
  mean,
  normalised,
  over_pairs,
  over_tokens,
  penalty,
  ppo,
  ratio,
  sequence_mean,
  summed,
  token_mean,
)


def _grpo(case, low, high, kl_weight=0.0, weight=1.0):
  """GRPO, with advantages times the weight of each row."""
  a, w = normalised(case, case.rewards, 1e-6) * weight, sequence_mean(case)
  terms = clipped(case, a, low, high), penalty(case, kl_weight, k3)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)


@entry()
def variance_aware(case, *, clip_low, clip_high, kl_weight):
  """Arxiv 2509.21268: GRPO, on other prompts."""
  return _grpo(case, clip_low, clip_high, kl_weight)


@entry()
def knapsack(case, *, clip_low, clip_high):
  """Arxiv 2509.25849: GRPO, of other numbers of responses."""
  return _grpo(case, clip_low, clip_high)


@entry(moved=({'low': 0.7, 'high': 1.1},))
def online_difficulty(case, *, low, high, clip_low, clip_high):
  """Arxiv 2504.03380, recalled: prompts whose success rate is in between."""
  keep = np.zeros(len(case.valid))
  for rows in case.groups:
    inside = low <= mean(case.rewards[i] for i in rows) <= high
    for i in rows:
      keep[i] = float(inside)
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case, keep)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, keep=keep)


@entry()
def selective_buffer(case, *, clip_low, clip_high, cap):
  """Arxiv 2504.16656, abstract alone: old rows by min(pi_old / sampler, C)."""
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case)
  clip = clipped(case, a, clip_low, clip_high)

  def term(now, it):
    ratio = exp(case.old.logp[it] - case.sampler_logp[it])
    return min(ratio, cap) * clip(now, it)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'threshold': 0.3},))
def skywork_r1v2(
  case,
  *,
  clip_low,
  clip_high,
  cap,
  mixed_weight,
  weight,
  preference_weight,
  quality_weight,
  imitation,
  threshold,
):
  """Arxiv 2504.16656, abstract alone: GRPO of old rows, and MPO's pairs."""
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case)
  clip = clipped(case, a, clip_low, clip_high)

  def term(now, it):
    ratio = exp(case.old.logp[it] - case.sampler_logp[it])
    return min(ratio, cap) * clip(now, it)

  def apart(rows):
    gaps = [
      (i, j, case.rewards[i] - case.rewards[j]) for i in rows for j in rows
    ]
    return [(i, j) for i, j, gap in gaps if 0 < gap >= threshold - 1e-5]

  first = over_tokens(case, w, term)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    likely = averaged(case, now.logp)

    def pair(i, j):
      prefers = -log_sigmoid(weight * (h[i] - h[j]))
      rates = -log_sigmoid(weight * h[i]) - log_sigmoid(-weight * h[j])
      return (
        preference_weight * prefers
        + quality_weight * rates
        - imitation * likely[i]
      )

    return first(now) + mixed_weight * over_pairs(case, apart, pair)

  return Answer(loss, advantages=a, weights=w)


@entry()
def arpo_replay(case, *, clip_low, clip_high, bound, epsilon):
  """Arxiv 2505.16282 and its code, which scores old rows anew: dual clip."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)

  def term(now, it):
    loss = ppo(ratio(case, now, it), a[it[0]], clip_low, clip_high)
    return min(loss, -bound * a[it[0]]) if a[it[0]] < 0 else loss

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def sec(case, *, clip_low, clip_high):
  """Arxiv 2505.14970 draws questions; tests/selection shows how."""
  return _grpo(case, clip_low, clip_high)


@entry()
def dump(case, *, clip_low, clip_high):
  """Arxiv 2504.09710 draws questions; tests/selection shows how."""
  return _grpo(case, clip_low, clip_high)


EDGES = 0.1, 0.2, 0.4, 0.6, 0.8, 0.9


def _bin(old, visits, margin):
  """The bin of a task after some visits, from the bin it was in."""
  share = mean(visits)
  new = sum(edge <= share for edge in EDGES)
  edge = EDGES[min(old, new)] if new != old else 0.0
  stays = abs(share - edge) < margin - 1e-9
  return old if stays and new != old else new


@entry(
  iterations=3,
  moved=(
    {'margin': 0.5, 'cap': 1.05, 'rate': 3.0},
    {'margin': 0.7, 'memory': 0.4, 'rate': 2.0, 'cap': 9.0, 'floor': 0.3},
  ),
)
def prompt_gdro(
  case, *, clip_low, clip_high, kl_weight, rate, floor, memory, cap, margin
):
  """Arxiv 2601.19280, section 3.2, weights as in its code."""
  visits, bins, scores = {}, {}, {}
  for one in case.history:
    rows = [i for group in one.groups for i in group]
    place = {i: bins.get(int(one.task[i]), 0) for i in rows}
    here = sorted(set(place.values()))
    power = {b: exp(rate * scores.get(b, 0.0)) for b in here}
    total = sum(power.values())
    q = {b: (1 - floor) * power[b] / total + floor / len(here) for b in here}
    middle = mean(q[place[i]] for i in rows)
    weight = np.zeros(len(one.valid))
    for i in rows:
      weight[i] = min(q[place[i]] / middle, cap)
    for b in here:
      loss = mean(1 - one.rewards[i] for i in rows if place[i] == b)
      old = scores.get(b, loss)
      scores[b] = (1 - memory) * old + memory * loss
    for group in one.groups:
      task = int(one.task[group[0]])
      solved = any(one.rewards[i] > 0.5 for i in group)
      visits.setdefault(task, []).append(solved)
    for task in {int(one.task[i]) for i in rows}:
      bins[task] = _bin(bins.get(task, 0), visits[task], margin)
  return _grpo(case, clip_low, clip_high, kl_weight, weight)


@entry()
def rollout_gdro(case, *, clip_low, clip_high, kl_weight):
  """Arxiv 2601.19280, section 4.3: GRPO; tests/plans shows the split."""
  return _grpo(case, clip_low, clip_high, kl_weight)


@entry()
def rollout_gdro_bandit(case, *, clip_low, clip_high, kl_weight):
  """Arxiv 2601.19280: GRPO, of other numbers of responses."""
  return _grpo(case, clip_low, clip_high, kl_weight)


@entry(moved=({'cap': 1.1},))
def scale_rl(case, *, cap, epsilon):
  """Arxiv 2510.13786: -sg(min(r, cap)) A log pi, each prompt weighing alike.

  A is centred by group over the root mean square of the batch; groups of equal
  rewards are out. tests/selection shows which prompts come.
  """
  keep, centre = np.zeros(len(case.valid)), np.zeros(len(case.valid))
  for rows in case.groups:
    there = [case.rewards[i] for i in rows]
    for i in rows:
      keep[i] = float(max(there) > min(there))
      centre[i] = case.rewards[i] - mean(there)
  size = mean(centre[i] ** 2 for i in np.flatnonzero(case.valid)) ** 0.5
  a = centre / (size + epsilon)
  prompts: dict[int, list[tuple[int, int]]] = {}
  for it in case.tokens:
    if keep[it[0]]:
      prompts.setdefault(int(case.group[it[0]]), []).append(it)
  w = np.zeros(case.mask.shape)
  for tokens in prompts.values():
    for it in tokens:
      w[it] = 1 / len(tokens) / len(prompts)

  def term(now, it):
    return -min(ratio(case, case.now, it), cap) * a[it[0]] * now.logp[it]

  loss = over_tokens(case, w, term)
  return Answer(loss, advantages=a, weights=w, keep=keep)


@entry(moved=({'buffer': 2.0},))
def qwenlong_l1(case, *, buffer, clip_low, clip_high, entropy_weight):
  """Arxiv 2505.17667 and its script: the best of the judges' scores.

  Groups of which all are judged alike drop out before a long response costs.
  """
  judged, keep = np.zeros(len(case.valid)), np.zeros(len(case.valid))
  for i in np.flatnonzero(case.valid):
    judged[i] = max(case.components[i])
  r, budget = judged.copy(), case.mask.shape[1]
  for rows in case.groups:
    for i in rows:
      keep[i] = float(len({judged[j] for j in rows}) > 1)
      excess = sum(case.response_mask[i]) - (budget - buffer)
      r[i] -= excess / buffer if excess > 0 and buffer else 0.0
  a, w = normalised(case, r, 1e-6), token_mean(case, keep)
  terms = clipped(case, a, clip_low, clip_high), entropy_bonus(entropy_weight)
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, keep=keep, rewards=r)


@entry()
def craft_gui(case, *, clip_low, clip_high):
  """Arxiv 2508.11360, abstract alone: tests/selection shows the phases."""
  return _grpo(case, clip_low, clip_high)
