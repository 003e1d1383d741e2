"""How likely a policy is to be right on prompts that it has not answered.

What a policy can do is read off a history of prompts and results, its context;
no parameter is learned as it changes. All run on the host, in NumPy.

Source: V_0, arXiv 2602.03584, read at second hand. There a pretrained network
  of tables (TabPFN) reads the context, through features that were trained on
  many policies; here a kernel does, whose width is the one that foretells the
  context itself best.
"""

from __future__ import annotations

import numpy as np

WIDTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
_TINY = 1e-6  # What chances are held from 0 and 1.


def features(tokens, mask, *, size=64):
  """f64[B, size]: how often which tokens stand in prompts, of length 1.

  Args:
    tokens: i[B, P]. mask: bool[B, P], those that are there.
    size: numbers that tokens, and pairs of neighbours, are hashed into.
  """
  tokens, mask = np.asarray(tokens, np.uint32), np.asarray(mask, bool)
  following = np.roll(tokens, -1, axis=1)
  both = mask & np.roll(mask, -1, axis=1)
  both[:, -1] = False
  found = np.zeros((len(tokens), size))
  rows = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
  pairs = (tokens + np.uint32(1)) * np.uint32(40503) + following
  for words, there in ((tokens, mask), (pairs, both)):
    place = (words * np.uint32(2654435761) >> np.uint32(16)) % np.uint32(size)
    np.add.at(found, (rows[there], place[there]), 1.0)
  length = np.linalg.norm(found, axis=1, keepdims=True)
  return found / np.where(length > 0, length, 1.0)


def foretold(shown, results, counts, asked, *, prior=1.0, widths=WIDTHS):
  """f64[B], the chances that answers to prompts are right.

      p(x) = (prior m + sum_i k_i n_i r_i) / (prior + sum_i k_i n_i)
      k_i  = exp(-|x - x_i|^2 / (2 width^2))

  m is the mean result of the context. Of the widths, the one is taken with the
  least `loss` on the context, each entry of it foretold by the others.

  Args:
    shown: f[C, F], features of prompts. results: f[C], their mean rewards.
    counts: f[C] >= 0, responses behind each; 0 leaves an entry out.
    asked: f[B, F]. prior: responses that the mean counts for, > 0.

  Returns:
    In [0, 1]; 1/2 of an empty context.
  """
  there = np.asarray(counts) > 0
  if not there.any():
    return np.full(len(asked), 0.5)
  shown, results, counts = (
    np.asarray(x, np.float64)[there] for x in (shown, results, counts)
  )
  results = np.clip(results, 0.0, 1.0)
  own, far = _squares(shown, shown), _squares(np.asarray(asked), shown)

  def by(kernel, width):
    near = np.exp(-kernel / (2 * width**2)) * counts
    return near @ results, near.sum(axis=1)

  mean = results @ counts / counts.sum()
  np.fill_diagonal(own, np.inf)
  losses = []
  for width in widths:
    won, tried = by(own, width)
    losses.append(loss((prior * mean + won) / (prior + tried), results))
  won, tried = by(far, widths[int(np.argmin(losses))])
  return (prior * mean + won) / (prior + tried)


def loss(chances, results, *, ranking=0.25):
  """Cross-entropy, and how pairs are ranked.

      (1 - ranking) mean -r log p - (1 - r) log(1 - p)
      + ranking mean over pairs r_i > r_j of log(1 + e^(logit p_j - logit p_i))

  Args:
    chances: f[N] in [0, 1]. results: f[N] in [0, 1]. ranking: in [0, 1].

  Returns:
    In nats; 0 of nothing.

  Source: V_0, arXiv 2602.03584, whose weights are 1/4 and 3/4.
  """
  p = np.clip(np.asarray(chances, np.float64), _TINY, 1 - _TINY)
  r = np.asarray(results, np.float64)
  if not r.size:
    return 0.0
  entropy = np.mean(-r * np.log(p) - (1 - r) * np.log1p(-p))
  logit = np.log(p) - np.log1p(-p)
  pair = r[:, None] > r
  if not pair.any():
    return (1 - ranking) * entropy
  wrong = np.logaddexp(0, logit[None, :] - logit[:, None])
  return (1 - ranking) * entropy + ranking * np.mean(wrong[pair])


def routed(chances, costs, *, weight=0.5):
  """i[B]: who answers each prompt, argmax weight p + (1 - weight) (1 - cost).

  Args:
    chances: f[M, B], of M policies. costs: f[M], in [0, 1].
    weight: beta in [0, 1]; 1 asks the most able, whatever it costs.

  Source: V_0, arXiv 2602.03584.
  """
  worth = weight * np.asarray(chances)
  worth = worth + (1 - weight) * (1 - np.asarray(costs))[:, None]
  return np.argmax(worth, axis=0)


def _squares(x, y):
  """f64[N, M], squared distances, never below 0."""
  inner = x @ y.T
  sizes = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)
  return np.maximum(sizes - 2 * inner, 0.0)
