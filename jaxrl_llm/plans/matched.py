"""Recorded responses, and whose prompts are like those of good ones."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import recorded

_STEPS = 25  # of Newton's method; the loss is convex and smooth


@dataclasses.dataclass(frozen=True)
class Matched(recorded.Recorded):
  """The recorded responses, each with the odds that its prompt is a good one's.

  The extra `prompt_odds` f32[N] is p / (1 - p), p a logistic regression on how
  often tokens stand in a prompt. It is fitted once, before the first iteration,
  to the prompts of recorded responses, where good and bad ones weigh the same
  in all.

  Attributes:
    correct: a response whose record says more is good.
    size: features; tokens are counted by their number modulo it.
    most: questions that it is fitted to, evenly spread over the data.

  Source: BCO, arXiv 2404.04656; TRL's `BCOTrainer`, whose regression and
    penalty, 1/2 |w|^2, are those of scikit-learn.
  """

  correct: float = 0.5
  size: int = 256
  most: int = 1024

  @property
  def contract(self):
    return super().contract.adding(provides={'prompt_odds'})

  def init(self, spec):
    del spec
    return {'weights': jnp.zeros(self.size + 1), 'fitted': jnp.bool_(False)}

  def collect(self, tools, prompts, state, key):
    if not bool(state['fitted']):
      weights = fit(*self._recorded(tools, len(prompts.task)))
      weights = jnp.asarray(weights, jnp.float32)
      state = {'weights': weights, 'fitted': jnp.bool_(True)}
    rollouts, scores, state = super().collect(tools, prompts, state, key)
    seen = with_one(
      self._counted(np.asarray(prompts.tokens), np.asarray(prompts.mask))
    )
    log_odds = np.clip(seen @ np.asarray(state['weights'], np.float64), -20, 20)
    odds = jnp.asarray(np.exp(log_odds).repeat(self.samples), jnp.float32)
    return rollouts.with_extras(prompt_odds=odds), scores, state

  def _recorded(self, tools, block):
    """Features f64[M, D] and labels bool[M] of recorded responses."""
    tasks = np.linspace(0, tools.tasks - 1, min(self.most, tools.tasks))
    tasks = np.unique(tasks.round().astype(int))
    seen, labels = [], []
    for start in range(0, len(tasks), block):
      # The last batch wraps around, to be of the same compiled shape.
      own = np.resize(tasks[start : start + block], block)
      count = min(block, len(tasks) - start)
      prompts = tools.questions(own)
      written = np.asarray(prompts.extras['recorded_mask'])[:count]
      said = np.sum(written, axis=-1) > 0
      score = np.asarray(prompts.extras['recorded_score'])[:count]
      rows = self._counted(
        np.asarray(prompts.tokens)[:count], np.asarray(prompts.mask)[:count]
      )
      seen.append(rows[np.nonzero(said)[0]])
      labels.append(score[said] > self.correct)
    return np.concatenate(seen), np.concatenate(labels)

  def _counted(self, tokens, mask):
    """f64[M, D]: the share of each bucket among the tokens of a prompt."""
    rows = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
    found = np.zeros((len(tokens), self.size))
    np.add.at(found, (rows[mask], tokens[mask] % self.size), 1.0)
    return found / np.maximum(mask.sum(axis=1, keepdims=True), 1)


def with_one(x):
  """f64[M, D + 1]: features, and a 1 for the constant."""
  return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def fit(features, labels):
  """f64[D + 1]: the weights of least loss, the last that of the constant.

      1/2 |w|^2 + sum_i c_i log(1 + e^(-y_i (w x_i + b))),  y_i = +-1

  Args:
    features: f64[M, D]. labels: bool[M]; c_i of either kind add up to M / 2.

  Returns:
    Zeros where all are of one kind: nothing tells them apart then.
  """
  good = int(np.sum(labels))
  if good in (0, len(labels)):
    return np.zeros(features.shape[1] + 1)
  seen = with_one(features)
  counts = np.where(labels, good, len(labels) - good)
  costs = len(labels) / (2 * counts)
  penalty = np.append(np.ones(features.shape[1]), 0.0)
  weights = np.zeros(seen.shape[1])
  for _ in range(_STEPS):
    chance = 1 / (1 + np.exp(-(seen @ weights)))
    slope = seen.T @ (costs * (chance - labels)) + penalty * weights
    bend = (seen * (costs * chance * (1 - chance))[:, None]).T @ seen
    weights = weights - np.linalg.solve(bend + np.diag(penalty), slope)
  return weights
