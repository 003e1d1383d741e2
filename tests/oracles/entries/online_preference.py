"""Oracles of the entries that compare the policy's own responses.

Write h for the log-ratio of a response to the reference, h = sum_t log pi /
pi_ref, and w and l for the better and the worse one.
"""

from __future__ import annotations

from math import exp

import jax
import numpy as np

from tests.oracles.entries import actor_critic
from tests.oracles.parts import (
  Answer,
  averaged,
  better,
  centred,
  clamp,
  entry,
  every,
  knock_out,
  log_sigmoid,
  mean,
  over_groups,
  over_pairs,
  over_tokens,
  ppo,
  ratio,
  row_weights,
  score_function,
  sequence_sum,
  sigmoid,
  spread,
  summed,
)


def _drawn(past, *, checkpoints, every):
  """One of the last `checkpoints` that were taken, every `every` iterations.

  Which one is a draw of the package's, of the seed 0: any would do.
  """
  taken = [x for step, x in enumerate(past) if step % every == 0]
  step = len(past) - 1
  key = jax.random.fold_in(jax.random.key(0), 0x706F6F6C)
  key = jax.random.fold_in(key, step)
  filled = min(len(taken), checkpoints)
  place = int(jax.random.randint(key, (), 0, filled))
  # The oldest ones are written over, in a ring.
  ring = [None] * checkpoints
  for number, x in enumerate(taken):
    ring[number % checkpoints] = x
  return ring[place]


@entry(
  values={'every': 2},
  moved=({'every': 1, 'checkpoints': 3},),
  reference=_drawn,
)
def seppo(case, *, weight):
  """Arxiv 2410.05255, equations 7 and 8: -log sigmoid(beta (h_w - s h_l)).

  s = 1 where the policy is ahead of the checkpoint on the demonstration, else
  -1; a pair is a demonstration and a response of the checkpoint.
  """
  shown = case.extras['offline']
  held = summed(case, case.now.logp - case.ref_logp)

  def pairs(rows):
    return [(i, j) for i in rows for j in rows if shown[i] and not shown[j]]

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def pair(i, j):
      sign = 1 if held[i] > 0 else -1
      return -log_sigmoid(weight * (h[i] - sign * h[j]))

    return over_pairs(case, pairs, pair)

  return Answer(loss)


@entry(moved=({'optimism': 0.3},))
def xpo(case, *, weight, optimism):
  """Arxiv 2405.21046, algorithm 1: DPO, and alpha log pi of the reference's."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    s = summed(case, now.logp)
    pairs = over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

    def seen(rows):
      return mean(s[i] for i in rows if case.extras['opponent'][i])

    return pairs + optimism * over_groups(case, seen)

  return Answer(loss)


@entry()
def hypo(case, *, weight, kl_weight):
  """Arxiv 2406.01462: DPO on the data's, the KL on the policy's rows.

  The KL's gradient is that of sg(h_i - mean of the others' h) h_i.
  """
  held = summed(case, case.now.logp - case.ref_logp)
  shown = case.extras['recorded']
  above = better(case.rewards)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    pairs = over_pairs(
      case,
      lambda rows: above([i for i in rows if shown[i]]),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

    def divergence(rows):
      rows = [i for i in rows if not shown[i]]
      if len(rows) < 2:
        return 0.0
      total = sum(held[i] for i in rows)
      others = {i: (total - held[i]) / (len(rows) - 1) for i in rows}
      return mean((held[i] - others[i]) * h[i] for i in rows)

    return pairs + kl_weight * over_groups(case, divergence)

  return Answer(loss)


@entry()
def dr_po(case, *, clip, value_weight):
  """Arxiv 2404.08495: PPO, which the plan starts from a demonstration."""
  return actor_critic.ppo(
    case,
    clip_low=clip,
    clip_high=clip,
    discount=1.0,
    trace=0.95,
    value_weight=value_weight,
    value_clip=0.2,
    entropy_weight=0.0,
  )


@entry()
def codpo(case, *, weight, imitation):
  """Arxiv 2409.20370: DPO under judges, and likelihood of the chosen one.

  -log sigmoid(beta (h_w - h_l)) - (lambda / |y_w|) log pi(y_w), w the best
  response that all judges pass, l the worst that one refuses, or the worst
  of all where none does.
  """
  value, judges = case.components[:, 0], case.components[:, 1:]

  def pairs(rows):
    passed = [i for i in rows if all(judges[i] > 0.5)]
    refused = [i for i in rows if i not in passed]
    others = refused or rows
    best = max((value[i] for i in passed), default=None)
    worst = min(value[i] for i in others)
    return [
      (i, j)
      for i in passed
      for j in others
      if value[i] == best
      and value[j] == worst
      and (refused or value[i] > value[j])
    ]

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    l = averaged(case, now.logp)

    def pair(i, j):
      return -log_sigmoid(weight * (h[i] - h[j])) - imitation * l[i]

    return over_pairs(case, pairs, pair)

  return Answer(loss)


def _pairwise(case, kl_weight, of_pair):
  """Arxiv 2310.00212: losses of two responses whose rewards hold the KL.

  Args:
    of_pair: f(A, log-ratios and held log-ratios to the sampler of both) -> a
      number, A the first reward less the second.
  """
  drift = summed(case, case.old.logp - case.ref_logp)
  rewards = case.rewards - np.where(case.valid, kl_weight * np.array(drift), 0)
  held = summed(case, case.now.logp - case.old.logp)

  def loss(now):
    moved = summed(case, now.logp - case.old.logp)
    return over_pairs(
      case,
      every,
      lambda i, j: of_pair(
        rewards[i] - rewards[j], (moved[i], moved[j]), (held[i], held[j])
      ),
    )

  return Answer(loss, advantages=0 * rewards, rewards=rewards)


_BETTER = {
  ('objective.losses.loss.among', 'better'): (
    'a pair means the same both ways, and no two rewards that hold the KL tie'
  )
}


@entry(same=_BETTER)
def p3o(case, *, kl_weight):
  """Theorem 1: -(r_1 - r_2) w_1 w_2 (log pi_1 - log pi_2) / 2."""

  def pair(a, moved, held):
    return -a * exp(sum(held)) * (moved[0] - moved[1]) / 2

  return _pairwise(case, kl_weight, pair)


@entry(same=_BETTER)
def p3o_separate(case, *, kl_weight, clip):
  """P3O-V1; recalled: PPO's clip on each ratio, times the other as it is."""

  def pair(a, moved, held):
    w, fixed = [exp(x) for x in moved], [exp(x) for x in held]
    first = ppo(w[0], a * fixed[1], clip, clip)
    return (first + ppo(w[1], -a * fixed[0], clip, clip)) / 2

  return _pairwise(case, kl_weight, pair)


@entry(same=_BETTER)
def p3o_joint(case, *, kl_weight, clip, most):
  """P3O-V2, the authors' code: the clip on d = log w_1 - log w_2."""

  def pair(a, moved, held):
    d = moved[0] - moved[1]
    both = clamp(exp(sum(held)), 1 / most, most)
    return -both * min(a * d, a * clamp(d, -clip, clip)) / 2

  return _pairwise(case, kl_weight, pair)


def _equivalent(case, weight, variance, correct):
  """Arxiv 2505.12723, section 3.2: f(now, rows) -> GEPO's loss of a group."""

  def of_group(now, rows):
    h = summed(case, now.logp - case.ref_logp)
    good = [h[i] for i in rows if case.rewards[i] > correct]
    bad = [h[i] for i in rows if case.rewards[i] <= correct]
    if not good or not bad:
      return 0.0
    apart = -log_sigmoid(weight * (mean(good) - mean(bad)))
    return apart + variance * spread(good, ddof=0) ** 2

  return of_group


@entry(moved=({'correct': 0.9},))
def gepo(case, *, weight, variance, correct):
  """Right responses above wrong ones on average, and equally likely."""
  of_group = _equivalent(case, weight, variance, correct)
  return Answer(lambda now: over_groups(case, lambda rows: of_group(now, rows)))


@entry()
def oorl(case, *, clip, weight, variance, preference_weight):
  """Arxiv 2505.12723, section 3.3: a clipped policy gradient, and GEPO."""
  of_group, w = _equivalent(case, weight, variance, 0.5), row_weights(case)
  scale = spread(case.rewards[case.valid]) + 1e-6
  a = centred(case, case.rewards) / scale

  def loss(now):
    total = 0.0
    for i in case.rows:
      total += w[i] * mean(
        ppo(ratio(case, now, (i, t)), a[i], clip, clip) for t in case.columns(i)
      )
    preferred = over_groups(case, lambda rows: of_group(now, rows))
    return total + preference_weight * preferred

  return Answer(loss, advantages=a)


def _calibrated(case):
  """f64[N] sigmoid(r - r_baseline) of what passes all judges, and the KL.

  The verifiers after the first judge; the baseline is the greedy response.
  """
  gain = case.rewards - case.extras['greedy_reward']
  passed = case.valid & np.all(case.components[:, 1:] > 0.5, axis=1)
  divergence = np.array(summed(case, case.old.logp - case.ref_logp))
  return np.where(passed, [sigmoid(x) for x in gain], 0.0), divergence


@entry()
def crpg(case, *, most):
  """Arxiv 2409.20370, CRPG: rewards with room, less the batch's mean."""
  calibrated, divergence = _calibrated(case)
  rewards = calibrated * np.maximum(0.0, 1 - divergence / most)
  level = mean(rewards[case.valid])
  a, w = np.where(case.valid, rewards - level, 0.0), sequence_sum(case)
  return Answer(
    over_tokens(case, w, score_function(case, a)),
    rewards=rewards,
    advantages=a,
    weights=w,
  )


# One judge, or no group has two rows that pass; a bound that some rows pass.
@entry(components=2, moved=({'most': 0.5},))
def crraft(case, *, most):
  """Arxiv 2409.20370, CRRAFT: -R log pi of the best that is accepted.

  A prompt without one is left out.
  """
  calibrated, divergence = _calibrated(case)
  rewards, keep = calibrated * (divergence <= most), np.zeros(len(divergence))
  for rows in case.groups:
    accepted = [i for i in rows if rewards[i] > 0]
    for i in accepted:
      keep[i] = case.rewards[i] == max(case.rewards[j] for j in accepted)
  w = sequence_sum(case, keep)
  return Answer(
    over_tokens(case, w, score_function(case, rewards)),
    rewards=rewards,
    advantages=rewards,
    keep=keep,
    weights=w,
  )


@entry(
  values={'depth': 2}, moved=({'gap': 0.7}, {'least': 1.5}, {'limit': 0.3})
)
def itool(case, *, weight, margin_ratio, gap, least, limit):
  """Arxiv 2501.09766: SimPO of the best child and the worst.

  Children of one node part at the last level of their paths. The mean over
  the nodes of a tree whose children differ enough in value and in words, and
  are not all bad, of those that tie.
  """
  path, r = case.extras['node_path'], case.rewards
  alike = case.extras['overlap']

  def loss(now):
    s = averaged(case, now.logp)

    def pair(i, j):
      return -log_sigmoid(weight * (s[i] - s[j]) - margin_ratio * weight)

    def of_node(rows):
      high, low = (end(r[i] for i in rows) for end in (max, min))
      if high - low <= gap or high < least:
        return None
      found = [
        pair(i, j)
        for i in rows
        for j in rows
        if r[i] == high and r[j] == low and alike[i, path[j, -1]] <= limit
      ]
      return mean(found) if found else None

    def of_group(rows):
      nodes = {}
      for i in rows:
        nodes.setdefault(tuple(path[i, :-1]), []).append(i)
      found = [of_node(children) for children in nodes.values()]
      return mean(x for x in found if x is not None)

    return over_groups(case, of_group)

  return Answer(loss)


@entry()
def rso(case, *, weight):
  """Arxiv 2309.06657, equation 12: max(0, 1 - gamma (h_w - h_l))."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: max(0, 1 - weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def rso_tournament(case, *, weight):
  """The hinge of rso, of the games of a knock-out, its section 5.2."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def of_group(rows):
      games, _ = knock_out(tuple(rows), case.rewards)
      total = sum(games.values())
      return sum(
        x / total * max(0, 1 - weight * (h[i] - h[j]))
        for (i, j), x in games.items()
      )

    return over_groups(case, of_group)

  return Answer(loss)
