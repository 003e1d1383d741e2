"""Oracles of the entries that compare the policy's own responses.

Write h for the log-ratio of a response to the reference, h = sum_t log pi /
pi_ref, and w and l for the better and the worse one.
"""

from __future__ import annotations

import jax

from tests.oracles.entries import actor_critic
from tests.oracles.parts import (
  Answer,
  averaged,
  better,
  entry,
  log_sigmoid,
  mean,
  over_groups,
  over_pairs,
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
  -1; a pair is a demonstration and a worse own response.
  """
  shown = case.extras['offline']
  held = summed(case, case.now.logp - case.ref_logp)

  def pairs(rows):
    return [
      (i, j) for i, j in better(case.rewards)(rows) if shown[i] and not shown[j]
    ]

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def pair(i, j):
      sign = 1 if held[i] > 0 else -1
      return -log_sigmoid(weight * (h[i] - sign * h[j]))

    return over_pairs(case, pairs, pair)

  return Answer(loss)


@entry()
def hypo(case, *, weight, kl_weight):
  """Arxiv 2406.01462: DPO, and the KL to the reference on the policy's rows.

  The KL's gradient is that of sg(h_i - mean of the others' h) h_i.
  """
  held = summed(case, case.now.logp - case.ref_logp)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    pairs = over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

    def divergence(rows):
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
