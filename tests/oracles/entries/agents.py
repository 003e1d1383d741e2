"""Oracles of the entries for agents: turns, steps, tools and teams."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from tests.oracles.parts import (
  Answer,
  centred,
  clamp,
  clipped,
  entry,
  gae,
  like_grpo,
  mean,
  normalised,
  on_tokens,
  over_tokens,
  score_function,
  sequence_mean,
  spread,
  token_mean,
  value_error,
  whitened,
)


@entry()
def dr_mas(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2602.08847: the turns of one agent on one prompt are compared."""
  turns = case.alike(case.group, case.extras['agent'])
  a = normalised(case, case.rewards, epsilon, turns)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry()
def m_grpo(case, *, own, aligned, apart, clip_low, clip_high, epsilon):
  """Arxiv 2511.13288: main agent and sub-agents are normalised apart.

  Each turn earns what it was paid, and the outcome that was not paid to any. A
  turn is in the batch as often as the alignment says, or never. Each agent has
  a loss of its own, the mean over its batch; at `apart` 0 there is one of all.
  """
  r = _paid_apart(case, own)
  times = 1 + aligned * (case.extras['copies'] - 1.0)
  a = np.zeros(len(r))
  for rows in case.alike(case.group, case.extras['agent']):
    count = sum(times[i] for i in rows)
    middle = sum(times[i] * r[i] for i in rows) / count if count else 0.0
    square = sum(times[i] * (r[i] - middle) ** 2 for i in rows)
    std = (square / max(count - 1, 1)) ** 0.5
    for i in rows:
      a[i] = (times[i] > 0) * (r[i] - middle) / (std + epsilon)
  w = (1 - apart) * sequence_mean(case, keep=times)
  for rows in case.alike(case.extras['agent']):
    batch = sum(times[i] for i in rows if case.columns(i))
    for i in rows:
      for t in case.columns(i):
        w[i, t] += (
          apart * times[i] / batch / len(case.columns(i)) if batch else 0
        )
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, rewards=r, keep=times)


def _paid_apart(case, own=1.0):
  """f64[N]: the reward of a trajectory, with a step's pay for that of all."""
  r, paid = case.rewards.copy(), case.extras['step_reward']
  for rows in case.groups:
    names = case.extras['trajectory'][rows]
    for i, name in zip(rows, names):
      path = [j for j, other in zip(rows, names) if other == name]
      r[i] += own * (paid[i] - sum(paid[j] for j in path))
  return r


def _trajectories(case, epsilon=None):
  """f64[N]: the score of a row's trajectory beside the others of its prompt.

  Each trajectory counts once, with the mean of what its steps are given.
  """
  out = np.zeros(len(case.valid))
  for rows in case.groups:
    names = case.extras['trajectory'][rows]
    paths = [[i for i, n in zip(rows, names) if n == name] for name in {*names}]
    scores = [mean(case.rewards[i] for i in path) for path in paths]
    scale = 1.0 if epsilon is None else spread(scores) + epsilon
    for path, score in zip(paths, scores):
      out[path] = (score - mean(scores)) / scale
  return out


@entry()
def gigpo(case, *, clip_low, clip_high, kl_weight, weight, discount):
  """Arxiv 2505.10978, equations 3 to 8, with F_norm = 1."""
  step, paid = case.extras['step'], case.extras['step_reward']
  value = np.zeros(len(case.valid))
  for path in case.alike(case.group, case.extras['trajectory']):
    for i in path:
      later = [j for j in path if step[j] >= step[i]]
      value[i] = sum(discount ** (step[j] - step[i]) * paid[j] for j in later)
  states = case.alike(case.group, case.extras['anchor'])
  a = _trajectories(case) + weight * centred(case, value, states)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry()
def salt(case, *, clip_low, clip_high, kl_weight):
  """Arxiv 2510.20022, abstract alone: a shared step gets the mean advantage."""
  z, a = _trajectories(case, epsilon=1e-6), np.zeros(len(case.valid))
  for rows in case.alike(case.group, case.extras['node']):
    a[rows] = mean(z[i] for i in rows)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry()
def mashost(case, *, clip_low, clip_high, weight):
  """Arxiv 2506.08507, abstract alone: each decision's own reward besides."""
  graphs = on_tokens(case, normalised(case, case.rewards, 1e-6))
  a = graphs + weight * case.extras['decision_reward']
  return like_grpo(case, a, clip_low, clip_high)


@entry()
def flow_grpo_agent(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2510.05592, equation 5: rows, turns and a turn's tokens, averaged.

  A clip's loss is proportional to its advantage, so that a token's share in
  the mean over turns can stand there.
  """
  z, a = normalised(case, case.rewards, epsilon), np.zeros(case.mask.shape)
  for i in case.rows:
    turns = [case.extras['turn'][i, t] for t in case.columns(i)]
    for t, turn in zip(case.columns(i), turns):
      share = 1 / len({*turns}) / turns.count(turn)
      a[i, t] = z[i] * share * len(turns)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry()
def epo(case, *, discount):
  """Arxiv 2502.12486, as `preprocessing.py` and `test_loss.py` have it."""
  turn, paid = case.extras['turn'], case.extras['decision_reward']
  a = np.zeros(case.mask.shape)
  for i in case.rows:
    last = max(turn[i, t] for t in case.columns(i))
    scores = [0.0] * last + [case.rewards[i]]
    for t in case.columns(i):
      if paid[i, t] > 0:
        scores[turn[i, t]] = 1.0
    for k in reversed(range(last)):
      scores[k] += discount * scores[k + 1]
    most = max(map(abs, scores))
    for t in case.columns(i):
      a[i, t] = scores[turn[i, t]] / most if most else 0.0
  w = token_mean(case)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)


@entry()
def hi_agent(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2510.14388, abstract alone: the subgoals of one state."""
  r = _paid_apart(case)
  states = case.alike(case.group, case.extras['anchor'])
  a = normalised(case, r, epsilon, states)
  return like_grpo(case, a, clip_low, clip_high, rewards=r)


@entry()
def otc(case, *, clip_low, clip_high, kl_weight, budget, scale):
  """Arxiv 2504.14870, equations 5 to 7; n is the task's best so far."""
  calls, fewest = case.extras['tool_calls'], {}
  for one in (case.before, case):
    for i in np.flatnonzero(one.valid & (one.rewards > 0.5)):
      known = fewest.get(case.task[i], calls[i])
      fewest[case.task[i]] = min(known, calls[i])

  def tool(m, n):
    if n == 0:
      return cos(m * pi / (2 * m + budget))
    return sin(2 * m * n / (m + n) * pi / (2 * n))

  r = np.zeros(len(calls))
  for i in np.flatnonzero(case.valid):
    factor = tool(calls[i], fewest.get(case.task[i], calls[i]))
    r[i] = scale * case.rewards[i] * factor
  a = normalised(case, r, 1e-6)
  return like_grpo(case, a, clip_low, clip_high, kl_weight, rewards=r)


@entry()
def otc_ppo(
  case,
  *,
  clip,
  kl_weight,
  budget,
  scale,
  discount,
  trace,
  value_weight,
  value_clip,
):
  """Arxiv 2504.14870, equation 4: cos(m pi / (2 m + c)) of PPO's reward."""
  m, old = case.extras['tool_calls'], case.old
  r = scale * case.rewards * np.cos(m * pi / (2 * m + budget))
  paid = -kl_weight * (old.logp - case.ref_logp)
  raw = gae(case, r, old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  terms = (
    clipped(case, a, clip, clip),
    value_error(case, targets, value_weight, value_clip),
  )
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, targets=targets, rewards=r)


@entry()
def aspo(case, *, clip_low, clip_high, delta, bound, epsilon):
  """Arxiv 2508.19201, equation 2: the sooner a right row calls, the better."""
  a, first = normalised(case, case.rewards, epsilon), case.extras['tool_start']
  length = case.response_mask.sum(axis=1)
  for rows in case.groups:
    used = [i for i in rows if first[i] >= 0 and case.rewards[i] > 0.5]
    usual, long = mean(first[i] for i in used), mean(length[i] for i in used)
    for i in used:
      most = bound * abs(a[i])
      a[i] += clamp(delta * (first[i] - usual) / long, -most, most)
  w = sequence_mean(case)
  return Answer(
    over_tokens(case, w, clipped(case, a, clip_low, clip_high)),
    advantages=a,
    weights=w,
  )


@entry(values={'first': 2})
def arpo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2507.19849, section 3.2: soft attribution is GRPO's, row by row."""
  a = normalised(case, case.rewards, epsilon)
  return like_grpo(case, a, clip_low, clip_high)
