"""Advantages in NumPy float64, written as loops from the papers."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import stats


def _members(group, valid):
  """{group id: indices of its valid rows}."""
  members = {}
  for i, (g, v) in enumerate(zip(group, valid)):
    if v:
      members.setdefault(int(g), []).append(i)
  return members


def _filled(rewards, group, valid, of_group):
  out = np.zeros(len(rewards), np.float64)
  for rows in _members(group, valid).values():
    out[rows] = of_group(np.asarray(rewards, np.float64)[rows])
  return out


def _spread(x, ddof):
  """0 where the spread is not defined."""
  return 0.0 if len(x) <= ddof else x.std(ddof=ddof)


def grpo(rewards, group, valid, epsilon=1e-6, ddof=1):
  def of_group(r):
    return (r - r.mean()) / (_spread(r, ddof) + epsilon)

  return _filled(rewards, group, valid, of_group)


def dr_grpo(rewards, group, valid):
  return _filled(rewards, group, valid, lambda r: r - r.mean())


def centre_softly(rewards, group, valid, temperature=1.0):
  def of_group(r):
    return r - temperature * np.log(np.mean(np.exp(r / temperature)))

  return _filled(rewards, group, valid, of_group)


def over_mean(rewards, group, valid):
  def of_group(r):
    return (r - r.mean()) / r.mean() if r.mean() > 0 else 0 * r

  return _filled(rewards, group, valid, of_group)


def norm_by_rms(rewards, group, valid, epsilon=1e-4):
  centred = dr_grpo(rewards, group, valid)
  kept = centred[np.asarray(valid)]
  size = np.sqrt(np.mean(kept**2)) if len(kept) else 0.0
  return centred / (size + epsilon)


def outcomes(rewards, group, valid, right=0.1, wrong=-1.0):
  return np.where(valid, np.where(rewards > 0.5, right, wrong), 0.0)


def _subsets(r, k):
  return list(itertools.combinations(range(len(r)), k))


def max_at_k(rewards, group, valid, k=2):
  """Subset by subset: n times the mean gain by the row."""

  def of_group(r):
    out = np.zeros(len(r))
    for chosen in _subsets(r, k):
      for i in chosen:
        rest = max(r[j] for j in chosen if j != i)
        out[i] += max(r[j] for j in chosen) - rest
    return len(r) * out / max(len(_subsets(r, k)), 1)

  return _filled(rewards, group, valid, of_group)


def max_at_k_left_out(rewards, group, valid, k=2):
  def of_group(r):
    n, out = len(r), np.zeros(len(r))
    best = {chosen: max(r[j] for j in chosen) for chosen in _subsets(r, k)}
    for i in range(n):
      own = sum(x for chosen, x in best.items() if i in chosen) / len(
        best or 'a'
      )
      others = [x for chosen, x in best.items() if i not in chosen]
      out[i] = n * own - k * np.mean(others) if others else 0.0
    return out

  return _filled(rewards, group, valid, of_group)


def pass_at_k(rewards, group, valid, k=4, epsilon=1e-6):
  """The normalised outcome of every subset that holds a row, averaged."""

  def of_group(r):
    out = np.zeros(len(r))
    won = {c: float(any(r[j] > 0.5 for j in c)) for c in _subsets(r, k)}
    if not won or len({*won.values()}) == 1:
      return out
    middle, spread = np.mean([*won.values()]), np.std([*won.values()])
    for i in range(len(r)):
      own = [
        (x - middle) / (spread + epsilon) for c, x in won.items() if i in c
      ]
      out[i] = np.mean(own)
    return out

  return _filled(rewards, group, valid, of_group)


def best_minus_second(rewards, group, valid, epsilon=1e-6):
  def of_group(r):
    out = np.zeros(len(r))
    if len(r) > 1:
      order = np.argsort(r)
      gap = r[order[-1]] - r[order[-2]]
      out[order[-1]] = gap / (_spread(r, 1) + epsilon)
    return out

  return _filled(rewards, group, valid, of_group)


def rloo(rewards, group, valid):
  def of_group(r):
    if len(r) == 1:
      return np.zeros(1)
    return [x - np.delete(r, i).mean() for i, x in enumerate(r)]

  return _filled(rewards, group, valid, of_group)


def balanced(rewards, group, valid):
  """The mean over all ways to drop the surplus of rows below the mean."""

  def of_group(r):
    low = [i for i in range(len(r)) if r[i] < r.mean() - 1e-9]
    high = [i for i in range(len(r)) if i not in low]
    out, count = np.zeros(len(r)), 0
    for draw in itertools.combinations(low, min(len(low), len(high))):
      kept = [*high, *draw]
      out[kept] += r[kept] - r[kept].mean()
      count += 1
    return out / count

  return _filled(rewards, group, valid, of_group)


def leave_one_out_norm(rewards, group, valid, epsilon=1e-6):
  def of_group(r):
    out = np.zeros(len(r))
    for i, x in enumerate(r):
      others = np.delete(r, i)
      scale = _spread(others, 1)
      if len(others):
        out[i] = (x - others.mean()) / (scale + epsilon if scale > 0 else 1)
    return out

  return _filled(rewards, group, valid, of_group)


def lite_ppo(rewards, group, valid, epsilon=1e-6):
  kept = np.asarray(rewards, np.float64)[np.asarray(valid)]
  return dr_grpo(rewards, group, valid) / (_spread(kept, 1) + epsilon)


def dgae(rewards, group, valid, epsilon=1e-4):
  def of_group(r):
    centred = r - r.mean()
    return len(r) * centred / (np.abs(centred).sum() + epsilon)

  return _filled(rewards, group, valid, of_group)


def dgpo(rewards, group, valid, temperature=2.0, epsilon=1e-4):
  rewards = np.asarray(rewards, np.float64)
  live = {
    g: rewards[rows].mean()
    for g, rows in _members(group, valid).items()
    if rewards[rows].max() > rewards[rows].min()
  }
  total = sum(np.exp(-m / temperature) for m in live.values())
  out = dgae(rewards, group, valid, epsilon)
  for g, m in live.items():
    weight = len(live) * np.exp(-m / temperature) / total
    out[np.asarray(group) == g] *= weight
  return out


def bnpo(rewards, group, valid, cap=1e6):
  rewards = np.asarray(rewards, np.float64)
  means = {g: rewards[i].mean() for g, i in _members(group, valid).items()}
  p = np.array(list(means.values()))
  alpha = beta = 1.0
  if len(p) > 1 and p.max() > p.min():
    m, v = p.mean(), p.var(ddof=1)
    c = m * (1 - m) / v - 1
    alpha, beta = max(1, 1 + c * m / 3), max(1, 1 + c * (1 - m) / 3)
  out = dr_grpo(rewards, group, valid)
  for i, g in enumerate(group):
    if valid[i]:
      density = stats.beta.pdf(means[int(g)], alpha, beta)
      out[i] *= cap if density == 0 else min(1 / density, cap)
  return out


def gdpo(components, weights, group, valid, epsilon=1e-4):
  """Before the batch normalisation."""
  out = np.zeros(len(group))
  for k, w in enumerate(weights):
    out += w * grpo(components[:, k], group, valid, epsilon)
  return out


def z_rows(values, counts, epsilon=1e-8):
  kept = values[counts]
  out = np.zeros_like(values)
  out[counts] = (kept - kept.mean()) / (_spread(kept, 1) + epsilon)
  return out


def whiten_tokens(x, mask, epsilon=1e-8):
  kept = np.asarray(x, np.float64)[mask]
  out = np.zeros(mask.shape)
  if len(kept) > 1:
    out[mask] = (kept - kept.mean()) / np.sqrt(kept.var(ddof=1) + epsilon)
  return out


def reward_to_go(rewards, kl, mask, kl_weight, decay):
  """Backwards over the chosen tokens only."""
  out = np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    places = np.flatnonzero(mask[i])
    following = 0.0
    for place in places[::-1]:
      reward = rewards[i] if place == places[-1] else 0.0
      following = reward - kl_weight * kl[i, place] + decay * following
      out[i, place] = following
  return out


def gae(rewards, values, mask, discount, trace):
  advantages, targets = np.zeros(mask.shape), np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    places = np.flatnonzero(mask[i])
    steps = len(places)
    v = [values[i, p] for p in places] + [0.0]
    q = [0.0] * (steps - 1) + [rewards[i]]
    for s, place in enumerate(places):
      total = 0.0
      for u in range(s, steps):
        delta = q[u] + discount * v[u + 1] - v[u]
        total += (discount * trace) ** (u - s) * delta
      advantages[i, place] = total
      targets[i, place] = total + values[i, place]
  return advantages, targets


class SingleStream:
  """Beta counts of one task at a time."""

  def __init__(self, tasks, half_life=0.06, low=0.875, high=0.96, rate=0.5):
    """`rate`: (right + 1/2) / (number + 1) of earlier responses, f64[tasks]."""
    self.success = np.full(tasks, rate / (1 - low))
    self.failure = 1 / (1 - low) - self.success
    self.half_life, self.low, self.high = half_life, low, high

  def step(self, tasks, rewards, drift, valid):
    values = self.success / (self.success + self.failure)
    out = np.where(valid, rewards - values[tasks], 0.0)
    for task in set(np.asarray(tasks)[valid].tolist()):
      rows = [i for i, t in enumerate(tasks) if t == task and valid[i]]
      d = np.mean([drift[i] for i in rows])
      rho = min(max(2 ** (-d / self.half_life), self.low), self.high)
      won = sum(rewards[i] for i in rows)
      self.success[task] = rho * self.success[task] + won
      self.failure[task] = rho * self.failure[task] + len(rows) - won
    return out


def semantic_entropy(rewards, answer, group, valid, strength):
  out = dr_grpo(rewards, group, valid)
  for rows in _members(group, valid).values():
    answers = [int(answer[i]) for i in rows]
    shares = [answers.count(a) / len(rows) for a in sorted(set(answers))]
    entropy = -sum(np.log(p) for p in shares) / len(shares)
    if len(rows) > 1:
      out[rows] *= 1 - strength * entropy / np.log(len(rows))
  return out


def copo(rewards, answer, group, valid, slope=5.0, middle=1.0):
  rewards = np.asarray(rewards, np.float64)
  members = _members(group, valid)
  bits, scores = {}, {}
  for g, rows in members.items():
    answers = [int(answer[i]) for i in rows]
    shares = [answers.count(a) / len(rows) for a in sorted(set(answers))]
    bits[g] = -sum(p * np.log2(p) for p in shares)
    scores[g] = rewards[rows].mean()
  every = np.array(list(scores.values()))
  out = grpo(rewards, group, valid)
  for g, rows in members.items():
    between = (scores[g] - every.mean()) / (_spread(every, 1) + 1e-6)
    for i in rows:
      w = 1 / (1 + np.exp(-slope * (bits[g] - middle))) if rewards[i] else 0.0
      out[i] = w * out[i] + (1 - w) * between
  return out


def dr_irl(rewards, coverage, demonstration, group, valid, outlier=0.25):
  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  rewards = np.asarray(rewards, np.float64)
  members = _members(group, valid)
  distance = {g: 1 - coverage[rows[0]] for g, rows in members.items()}
  gap = {
    g: np.mean([demonstration[i] - rewards[i] for i in rows])
    for g, rows in members.items()
  }
  usual = np.mean(list(gap.values()))
  near = [x for x in gap.values() if (x - usual) ** 2 <= outlier]
  model = sigmoid(np.mean(near)) / sigmoid(usual) if near else 1.0
  out = grpo(rewards, group, valid)
  for g, rows in members.items():
    data = sigmoid(distance[g]) / sigmoid(np.mean(list(distance.values())))
    out[rows] *= data * model
  return out


def confidence(logp, mask, share=0.2):
  out = []
  for row, here in zip(logp, mask):
    kept = np.sort(np.asarray(row, np.float64)[here])
    if len(kept):
      kept = kept[: max(1, int(np.ceil(share * len(kept) - 1e-6)))]
    out.append(np.exp(kept.mean()) if len(kept) else 1.0)
  return np.array(out)


class RiskPO:
  """One iteration at a time, papers as dictionaries."""

  def __init__(self, low=0.2, high=0.9, weight=1.5, rate=0.1, epsilon=1e-6):
    self.levels, self.weight = (low, high), weight
    self.rate, self.epsilon = rate, epsilon
    self.quantiles = None

  def step(self, rewards, bundle, paper, group, valid):
    rows = [i for i in range(len(rewards)) if valid[i]]
    papers, questions = {}, {}
    for i in rows:
      papers.setdefault((int(bundle[i]), int(paper[i])), []).append(rewards[i])
      questions.setdefault(int(group[i]), []).append(rewards[i])
    full = max(map(len, papers.values()))
    score = {key: full * np.mean(rs) for key, rs in papers.items()}
    values = np.array(list(score.values()))
    if self.quantiles is None:
      self.quantiles = [np.quantile(values, a) for a in self.levels]
    (down, up), (q_d, q_u) = self.levels, self.quantiles
    advantage = {}
    for key, s in score.items():
      g_r = max(s - q_d, 0) - max(s - q_u, 0) + (q_d - q_u)
      g_r /= up - down + self.epsilon
      g_c = -max(q_d - s, 0) / (down + self.epsilon)
      mates = [x for other, x in score.items() if other[0] == key[0]]
      advantage[key] = (self.weight * g_c + g_r) / (1 + self.weight)
      advantage[key] /= self._spread(mates)
    self.quantiles = [
      q + self.rate * (a - np.mean(values < q))
      for q, a in zip(self.quantiles, self.levels)
    ]
    out = np.zeros(len(rewards))
    for i in rows:
      own = self._spread(questions[int(group[i])])
      out[i] = advantage[int(bundle[i]), int(paper[i])] / own
    return out

  def _spread(self, numbers):
    spread = np.std(numbers, ddof=1) if len(numbers) > 1 else 0.0
    return (spread if spread > 1e-3 else 1.0) + self.epsilon


def gigpo(rewards, extras, group, valid, weight=1.0, gamma=0.95, z=None):
  """Dictionaries of trajectories and of anchor states, mean baselines."""
  n = len(rewards)
  z = z or (lambda x: x - x.mean())
  rewards = np.asarray(rewards, np.float64)
  name = [(int(group[i]), int(extras['trajectory'][i])) for i in range(n)]
  anchor = [(int(group[i]), int(extras['anchor'][i])) for i in range(n)]
  episodes, members, values = {}, {}, np.zeros(n)
  for i in range(n):
    if not valid[i]:
      continue
    episodes.setdefault(int(group[i]), {}).setdefault(name[i], rewards[i])
    members.setdefault(anchor[i], []).append(i)
    for j in range(n):
      later = extras['step'][j] - extras['step'][i]
      if valid[j] and name[j] == name[i] and later >= 0:
        values[i] += gamma**later * extras['step_reward'][j]
  out = np.zeros(n)
  for g, scores in episodes.items():
    shaped = dict(zip(scores, z(np.array(list(scores.values())))))
    for i in range(n):
      if valid[i] and int(group[i]) == g:
        out[i] = shaped[name[i]]
  for rows in members.values():
    out[rows] += weight * z(values[rows])
  return out


def salt(rewards, trajectory, node, group, valid):
  n = len(rewards)
  name = [(int(group[i]), int(trajectory[i])) for i in range(n)]
  first = {}
  for i in range(n):
    if valid[i]:
      first.setdefault(name[i], i)
  kept = list(first.values())
  base = np.zeros(n)
  base[kept] = grpo(
    np.asarray(rewards)[kept], np.asarray(group)[kept], np.ones(len(kept), bool)
  )
  spread = {name[i]: base[i] for i in kept}
  out = np.zeros(n)
  for i in range(n):
    if valid[i]:
      mates = [
        spread[name[j]]
        for j in range(n)
        if valid[j] and group[j] == group[i] and node[j] == node[i]
      ]
      out[i] = np.mean(mates)
  return out


def tree(rewards, path, level, group, valid):
  """Mean leaf reward below every node, by its path as a string."""
  n, t = level.shape
  out = np.zeros((n, t))
  for i in range(n):
    if not valid[i]:
      continue

    def value(depth, i=i):
      below = [
        float(rewards[j])
        for j in range(n)
        if valid[j]
        and group[j] == group[i]
        and list(path[j][:depth]) == list(path[i][:depth])
      ]
      return np.mean(below)

    for s in range(t):
      out[i, s] = value(level[i, s] + 1) - value(level[i, s])
  return out


def turn_means(losses, turn, mask):
  """The mean over turns of the mean over a turn's tokens, row by row."""
  out = []
  for i in range(mask.shape[0]):
    turns = sorted({int(turn[i, t]) for t in np.flatnonzero(mask[i])})
    means = [
      np.mean(
        [losses[i, t] for t in np.flatnonzero(mask[i]) if turn[i, t] == u]
      )
      for u in turns
    ]
    out.append(np.mean(means) if means else 0.0)
  return np.array(out)


def chain_segments(rewards, values, logp, mask, threshold=0.9, interval=5):
  out = np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    unsure = [
      t for t in range(mask.shape[1])
      if mask[i, t] and np.exp(np.float64(logp[i, t])) < threshold
    ]  # fmt: skip
    cuts = unsure[::interval]
    for number, start in enumerate(cuts):
      last = number + 1 == len(cuts)
      stop = mask.shape[1] if last else cuts[number + 1]
      after = rewards[i] if last else values[i, stop]
      out[i, start:stop] = after - values[i, start]
  return out


def poad(rewards, values, mask, end, gamma, trace):
  """The two Bellman backups of BAD, from the last token to the first."""
  out = np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    run, after = 0.0, 0.0
    places = np.flatnonzero(mask[i])
    for t in places[::-1]:
      reward = rewards[i] if t == places[-1] else 0.0
      if end[i, t]:
        delta = reward + gamma * after - values[i, t]
        run = delta + gamma * trace * run
      else:
        delta = reward + after - values[i, t]
        run = delta + trace * run
      out[i, t], after = run, values[i, t]
  return out


def gtpo_factors(tokens, lengths, advantages, group):
  """The published lambda: both runs of shared tokens, by walking."""
  n, t = tokens.shape
  out = np.ones((n, t))
  for i in range(n):
    gain = 2.0 if advantages[i] > 0 else 0.0
    if advantages[i] == 0:
      continue

    def shared(offset, from_end, i=i):
      for j in range(n):
        opposite = advantages[i] * advantages[j] < 0
        if group[j] != group[i] or not opposite or lengths[j] <= offset:
          continue
        a = lengths[i] - 1 - offset if from_end else offset
        b = lengths[j] - 1 - offset if from_end else offset
        if tokens[i, a] == tokens[j, b]:
          return True
      return False

    for from_end in (False, True):
      for offset in range(lengths[i]):
        if not shared(offset, from_end):
          break
        place = lengths[i] - 1 - offset if from_end else offset
        out[i, place] *= gain
  return out


def tw_grpo(log_probs, mask, group, strength=1.7):
  log_probs = np.asarray(log_probs, np.float64).copy()
  n, t, v = log_probs.shape
  log_probs[~mask] = -np.log(v)
  out = np.ones((n, t))
  for g in set(np.asarray(group).tolist()):
    rows = [i for i in range(n) if group[i] == g and mask[i].any()]
    reached = [s for s in range(t) if any(mask[i, s] for i in rows)]
    spread = {}
    for s in reached:
      mean = log_probs[rows, s].mean(axis=0)
      total = 0.0
      for i in rows:
        d = np.clip(mean - log_probs[i, s], -11, 11)
        total += np.sum(np.exp(d) - d - 1)
      spread[s] = total / len(rows)
    for s in reached:
      low, high = min(spread.values()), max(spread.values())
      place = (spread[s] - low) / (high - low + 1e-8)
      out[rows, s] = 1 + (strength - 1) * place
  return out


def constrained_weights(advantages, logp, others, multipliers):
  """prod_i (pi_i / b)^(l_i / S) exp(A / S), token by token."""
  total = sum(multipliers)
  b = np.exp(np.asarray(logp, np.float64))
  out = np.exp(np.asarray(advantages, np.float64) / total)
  for i, l in enumerate(multipliers):
    out *= (np.exp(np.asarray(others[..., i], np.float64)) / b) ** (l / total)
  return out


def rank_grpo(gain, item, group, valid):
  n, t = item.shape
  places = gain.shape[1]
  each = [grpo(gain[:, k], group, valid, 1e-4) for k in range(places)]
  out = np.zeros((n, t))
  for i in range(n):
    for s in range(t):
      if item[i, s] < places:
        out[i, s] = each[item[i, s]][i]
  return out
