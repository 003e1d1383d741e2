"""Oracles of the entries for search, retrieval and recommendation."""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  entry,
  k3,
  like_grpo,
  mean,
  normalised,
  over_tokens,
  penalty,
  ppo,
  score_function,
  token_mean,
)


@entry()
def dr_zero(case, *, solvers, form_weight, kl_weight, epsilon):
  """Arxiv 2601.07055, equation 3 and its code: questions of as many hops.

  Proposer and solver are two runs, each with a mean over its own tokens.
  """
  r = np.array(case.rewards, np.float64)
  for i in np.flatnonzero(case.valid & case.extras['proposed']):
    right = round(solvers * r[i])
    hard = (solvers - right) / (solvers - 1) if 0 < right < solvers else 0.0
    r[i] = form_weight * case.extras['form'][i] + hard
  a = normalised(case, r, epsilon, case.alike(case.extras['compared']))
  w = np.zeros(case.mask.shape)
  for rows in case.alike(case.extras['agent']):
    places = [(i, t) for i in rows for t in case.columns(i)]
    for place in places:
      w[place] = 1 / len(places)
  terms = score_function(case, a), penalty(case, kl_weight, k3)
  return Answer(
    over_tokens(case, w, *terms), advantages=a, weights=w, rewards=r
  )


@entry()
def rank_grpo(case, *, clip_low, clip_high, kl_weight, length_weight, epsilon):
  """Arxiv 2510.20150, section 4, tokens and lengths as in its code.

  The ratio of an item is the geometric mean of its tokens'. What is too long
  is held against every token past the list, what is too short against the
  token that ends it, which is praised for a list of the right length.
  """
  item, gain = case.extras['item'], case.extras['gain']
  each = [normalised(case, places, epsilon) for places in gain.T]
  a, w = np.zeros(case.mask.shape), token_mean(case)
  for i, t in case.tokens:
    own, number = case.columns(i), max(item[i, u] for u in case.columns(i)) + 1
    if item[i, t] >= len(each):
      a[i, t] = -length_weight
    elif t < own[-1] or case.truncated[i]:
      a[i, t] = each[item[i, t]][i]
    elif number <= len(each):
      a[i, t] = length_weight if number == len(each) else -length_weight

  def term(now, it):
    i, t = it
    own = [u for u in case.columns(i) if item[i, u] == item[i, t]]
    s = exp(mean(now.logp[i, u] - case.old.logp[i, u] for u in own))
    return ppo(s, a[it], clip_low, clip_high)

  loss = over_tokens(case, w, term, penalty(case, kl_weight, k3))
  return Answer(loss, advantages=a, weights=w)


@entry()
def rank_grpo_discounted(
  case, *, clip_low, clip_high, kl_weight, length_weight, epsilon
):
  """Arxiv 2510.20150: of gains that tests/notes/parts_test.py has."""
  return rank_grpo(
    case,
    clip_low=clip_low,
    clip_high=clip_high,
    kl_weight=kl_weight,
    length_weight=length_weight,
    epsilon=epsilon,
  )


@entry()
def step_grpo(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2505.22095: each step of a question is a prompt of its own.

  It earns what it was paid, and the last one what is left of the outcome.
  """
  r, paid = np.zeros(len(case.valid)), case.extras['step_reward']
  for rows in case.groups:
    paths = {}
    for i in rows:
      paths.setdefault(case.extras['trajectory'][i], []).append(i)
    for path in paths.values():
      latest = max(case.extras['step'][i] for i in path)
      last = next(i for i in path if case.extras['step'][i] == latest)
      for i in path:
        r[i] = paid[i]
      r[last] += case.rewards[last] - sum(paid[i] for i in path)
  steps = case.alike(case.group, case.extras['step'])
  a = normalised(case, r, epsilon, steps)
  return like_grpo(case, a, clip_low, clip_high, kl_weight, rewards=r)


@entry()
def ps_grpo(case, *, clip_low, clip_high, kl_weight, weight, accuracy_weight):
  """Arxiv 2510.04392, section 3: agreement across wordings, and accuracy."""
  r = weight * case.extras['agreement'] + accuracy_weight * case.rewards
  r = np.where(case.valid, r, 0.0)
  a = normalised(case, r, 1e-6)
  return like_grpo(case, a, clip_low, clip_high, kl_weight, rewards=r)


@entry()
def information_consistency(
  case, *, clip_low, clip_high, information_weight, stability_weight
):
  """Arxiv 2512.12858, abstract alone: information, and how little it varies."""
  h, r = case.extras['information'], case.rewards.copy()
  for rows in case.groups:
    for i in rows:
      swing = abs(h[i] - mean(h[j] for j in rows))
      r[i] += information_weight * h[i] - stability_weight * swing
  a = normalised(case, r, 1e-6)
  return like_grpo(case, a, clip_low, clip_high, rewards=r)
