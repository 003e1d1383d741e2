"""Losses of groups of responses, one pair and one response at a time.

Links f(c, r, gap, held c, held r); pair weights and list losses
f(scores, rewards, live, extras) of one group. Held values are what a stopped
gradient sees.
"""

import math

import numpy as np

from tests.oracles.parts import knock_out
from tests.oracles.scores import total


def _log_sigmoid(x):
  return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def _sigmoid(x):
  return 1 / (1 + math.exp(-x))


# Links.


def logistic(c, r, gap, hc, hr, weight=0.1, smoothing=0.0, offset=0.0):
  margin = weight * (c - r) - offset
  right, wrong = _log_sigmoid(margin), _log_sigmoid(-margin)
  return -(1 - smoothing) * right - smoothing * wrong


def debiased(c, r, gap, hc, hr, weight=0.1, flip=0.1):
  clean = -_log_sigmoid(weight * (c - r))
  wrong = -_log_sigmoid(weight * (r - c))
  return ((1 - flip) * clean - flip * wrong) / (1 - 2 * flip)


def square(c, r, gap, hc, hr, weight=0.1):
  return (c - r - 0.5 / weight) ** 2


def hinge(c, r, gap, hc, hr, weight=1.0, width=1.0):
  return max(0.0, width - weight * (c - r))


def regression(c, r, gap, hc, hr, scale=1.0):
  return (c - r - scale * gap) ** 2


def soft_logistic(c, r, gap, hc, hr, weight=1.0):
  p = _sigmoid(gap)
  return -p * _log_sigmoid(weight * (c - r)) - (1 - p) * _log_sigmoid(
    weight * (r - c)
  )


def self_play(c, r, gap, hc, hr, weight=0.1):
  return -_log_sigmoid(weight * (c - r if hc > 0 else c + r))


def pairwise_gradient(c, r, gap, hc, hr):
  return -gap * math.exp(hc) * math.exp(hr) * (c - r) / 2


def separately_clipped(c, r, gap, hc, hr, clip=0.2):
  total = 0.0
  for own, other, a in ((c, hr, gap), (r, hc, -gap)):
    ratio = math.exp(own)
    kept = min(max(ratio, 1 - clip), 1 + clip)
    total -= min(a * ratio, a * kept) * math.exp(other) / 2
  return total


def jointly_clipped(c, r, gap, hc, hr, clip=0.2, most=10.0):
  both = min(max(math.exp(hc + hr), 1 / most), most)
  kept = min(max(c - r, -clip), clip)
  return -both * min(gap * (c - r), gap * kept) / 2


def exact(c, r, gap, hc, hr, weight=0.1, confidence=0.999):
  s = _sigmoid(weight * (c - r))
  return s * math.log(s / confidence) + (1 - s) * math.log(
    (1 - s) / (1 - confidence)
  )


def contrast(c, r, gap, hc, hr, weight=0.01):
  noise = _log_sigmoid(-weight * c) + _log_sigmoid(-weight * r)
  return -_log_sigmoid(weight * c) - noise / 2


def classify(c, r, gap, hc, hr, weight=0.01):
  return -math.log(_sigmoid(weight * c)) - math.log(1 - _sigmoid(weight * r))


def anchored(c, r, gap, hc, hr, weight=0.1):
  return 1 - _sigmoid(weight * c) + _sigmoid(weight * r)


def anchored_down(c, r, gap, hc, hr, weight=0.1):
  return _sigmoid(weight * c) + 1 - _sigmoid(weight * (c - r))


def discovered(c, r, gap, hc, hr, weight=0.05, temperature=0.05):
  x = weight * (c - r)
  g = _sigmoid(x / temperature)
  return -(1 - g) * _log_sigmoid(x) + g * math.exp(-x)


def positive(c, r, gap, hc, hr, weight=0.1, penalty=50.0):
  fallen = -c if c < 0 else 0.0
  return -_log_sigmoid(weight * (c - r - penalty * fallen))


# Pair weights of one group.


def _normalised(weights):
  return weights / weights.sum() if weights.sum() else weights


def each_better(scores, rewards, live, x):
  size = len(rewards)
  out = np.zeros((size, size))
  for i in range(size):
    for j in range(size):
      out[i, j] = live[i] and live[j] and rewards[i] > rewards[j]
  return out


def better(scores, rewards, live, x):
  return _normalised(each_better(scores, rewards, live, x))


def best_and_worst(scores, rewards, live, x):
  out = each_better(scores, rewards, live, x)
  alive = [r for r, l in zip(rewards, live) if l]
  for i, j in np.argwhere(out):
    out[i, j] = rewards[i] == max(alive) and rewards[j] == min(alive)
  return _normalised(out)


def by_tournament(scores, rewards, live, x):
  out = np.zeros((len(rewards), len(rewards)))
  rows = tuple(i for i in range(len(rewards)) if live[i])
  for pair, chance in knock_out(rows, rewards)[0].items():
    out[pair] = chance
  return _normalised(out)


def every(scores, rewards, live, x):
  out = np.outer(live, live) * 1.0
  np.fill_diagonal(out, 0)
  return _normalised(out)


def by_rank(scores, rewards, live, x):
  out = each_better(scores, rewards, live, x)
  order = sorted(np.flatnonzero(live), key=lambda i: (-scores[i], i))
  for i, j in np.argwhere(out):
    gain = 2 ** rewards[i] - 2 ** rewards[j]
    d = [math.log(1 + order.index(k) + 1) for k in (i, j)]
    out[i, j] = gain * abs(1 / d[0] - 1 / d[1])
  return out


def demonstrated(scores, rewards, live, x):
  pair = np.outer(live & x['offline'], live & ~x['offline'])
  return _normalised(pair * 1.0)


def siblings(scores, rewards, live, x, gap=0.0, least=-9.0, limit=1.0):
  nodes = []
  parents = [tuple(path[:-1]) for path in x['node_path']]
  for node in set(parents):
    mine = np.array([parent == node for parent in parents])
    out = best_and_worst(scores, rewards, live & mine, x)
    for i, j in np.argwhere(out):
      alike = x['overlap'][i, x['node_path'][j][-1]]
      out[i, j] *= rewards[i] - rewards[j] > gap and rewards[i] >= least
      out[i, j] *= alike <= limit
    if out.sum():
      nodes.append(out)
  return sum(nodes) / len(nodes) if nodes else np.zeros((len(rewards),) * 2)


def constrained(scores, rewards, live, x):
  size = len(rewards)
  rewards = x['components'][:, 0]
  fine = (x['components'][:, 1:] > 0.5).all(1)
  passed = [i for i in range(size) if live[i] and fine[i]]
  failed = [i for i in range(size) if live[i] and not fine[i]]
  out = np.zeros((size, size))
  for i in passed:
    for j in failed or passed:
      top = rewards[i] == max(rewards[k] for k in passed)
      low = rewards[j] == min(rewards[k] for k in failed or passed)
      strict = bool(failed) or rewards[i] > rewards[j]
      out[i, j] = top and low and strict
  return _normalised(out)


# List losses of one group.


def plackett_luce(scores, rewards, live, x, weight=0.05):
  s = weight * np.asarray(scores)
  rows = np.flatnonzero(live)
  total = 0.0
  for k in rows:
    rivals = [j for j in rows if rewards[j] < rewards[k]]
    total -= s[k] - math.log(sum(math.exp(s[j]) for j in [k, *rivals]))
  return total


def softmax(scores, rewards, live, x, weight=0.05):
  s = weight * np.asarray(scores)
  rows = np.flatnonzero(live)
  mass = sum(max(rewards[j], 0) for j in rows)
  if not mass:
    return 0.0
  log_z = math.log(sum(math.exp(s[j]) for j in rows))
  return -sum(max(rewards[j], 0) / mass * (s[j] - log_z) for j in rows)


def point_square(scores, rewards, live, x, weight=0.05):
  rows = np.flatnonzero(live)
  return sum((rewards[j] - weight * scores[j]) ** 2 for j in rows)


def point_logistic(scores, rewards, live, x, weight=0.05):
  total = 0.0
  for j in np.flatnonzero(live):
    p = min(max(rewards[j], 0.0), 1.0)
    total -= p * _log_sigmoid(weight * scores[j])
    total -= (1 - p) * _log_sigmoid(-weight * scores[j])
  return total


def group_equivalent(
  scores, rewards, live, x, weight=0.1, variance=1.0, correct=0.5
):
  rows = np.flatnonzero(live)
  good = [scores[j] for j in rows if rewards[j] > correct]
  bad = [scores[j] for j in rows if rewards[j] <= correct]
  if not good or not bad:
    return 0.0
  margin = sum(good) / len(good) - sum(bad) / len(bad)
  centre = sum(good) / len(good)
  spread = sum((s - centre) ** 2 for s in good) / len(good)
  return -_log_sigmoid(weight * margin) + variance * spread


def likelihood_contrast(scores, rewards, live, x, sides, weight=0.1):
  rows = np.flatnonzero(live)
  if not len(rows):
    return 0.0
  high, low = (f(rewards[j] for j in rows) for f in (max, min))
  best = [scores[j] for j in rows if rewards[j] == high]
  worst = [scores[j] for j in rows if rewards[j] == low]
  up = sum(best) / len(best)
  rest = sum(scores[j] for j in rows) - up
  down = {
    'only_best': 0.0,
    'best_against_worst': sum(worst) / len(worst),
    'best_against_sum': rest,
    'best_against_mean': rest / (len(rows) - 1) if len(rows) > 1 else 0.0,
  }[sides]
  return -up + weight * down


# Whole losses.


def by_group(samples, rule):
  """f64[N]: `rule` of each group, carried by its live rows.

  Args:
    rule: f(rows of the group) -> a number.
  """

  def losses(live):
    out = np.zeros(len(live))
    for start in range(0, len(live), samples):
      rows = np.arange(start, start + samples)
      out[rows] = np.where(live[rows], rule(rows), 0.0)
    return out

  return losses


def pairs(logp, fixed, old, mask, x, *, score, link, among, gap, samples):
  """sum_ij w_ij link_ij of each group. `gap` is f(i, j)."""
  live = x['valid'] & mask.any(1)

  def rule(rows):
    s, held = (
      [score(z, old, mask, i, x) if live[i] else 0.0 for i in rows]
      for z in (logp, fixed)
    )
    own = {k: v[rows] for k, v in x.items()}
    w = among(held, x['rewards'][rows], live[rows], own)
    return sum(
      w[a, b] * link(s[a], s[b], gap(rows[a], rows[b]), held[a], held[b])
      for a, b in np.argwhere(w)
    )

  return by_group(samples, rule)(live)


def lists(logp, fixed, old, mask, x, *, score, loss, samples):
  """The loss of each group's list."""
  live = x['valid'] & mask.any(1)

  def rule(rows):
    s = [score(logp, old, mask, i, x) if live[i] else 0.0 for i in rows]
    own = {k: v[rows] for k, v in x.items()}
    return loss(s, x['rewards'][rows], live[rows], own)

  return by_group(samples, rule)(live)


def kto(
  logp,
  fixed,
  old,
  a,
  mask,
  *,
  ref_logp,
  rewards,
  row_weights,
  weight=0.1,
  gain=1.0,
  loss=1.0,
  correct=0.5,
):
  rows = range(len(logp))
  held = [total(fixed - ref_logp, mask, i) for i in rows]
  z = sum(w * h for w, h in zip(row_weights, held)) / sum(row_weights)
  z = max(z, 0.0)
  out = np.zeros(len(logp))
  for i in rows:
    h = total(logp - ref_logp, mask, i)
    if not mask[i].any():
      continue
    if rewards[i] > correct:
      out[i] = gain * (1 - _sigmoid(weight * (h - z)))
    else:
      out[i] = loss * (1 - _sigmoid(weight * (z - h)))
  return out
