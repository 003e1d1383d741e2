"""Learned models of an environment in NumPy float64, from the formulas."""

from __future__ import annotations

import numpy as np


def squared(error, slopes):
  return sum(e**2 for e in error) / len(error)


def value_weighted(error, slopes):
  """Of one model and row: error [n], slopes [C, n]."""
  total = 0.0
  for slope in slopes:
    for g, e in zip(slope, error):
      total += g**2 * e**2
  return total / (len(slopes) * len(error))


def taylor(error, slopes):
  total = 0.0
  for slope in slopes:
    total += sum(g * e for g, e in zip(slope, error)) ** 2
  return total / len(slopes)


def clipped(slopes, quantile, known=None):
  """[C, B, n], each value by itself; the quantile is of rows that are known."""
  found = np.array(slopes, np.float64)
  for each in found:
    norms = [np.sqrt(np.sum(slope**2)) for slope in each]
    own = [n for b, n in enumerate(norms) if known is None or known[b]]
    bound = np.quantile(own, quantile)
    for slope, norm in zip(each, norms):
      if norm > bound:
        slope *= bound / norm
  return found


def network(layers, x):
  """One network of SiLU layers, (kernel, bias) each."""
  for number, (kernel, bias) in enumerate(layers):
    if number:
      x = x / (1 + np.exp(-x))
    x = x @ kernel + bias
  return x


def slopes(value, states, step=1e-5):
  """Central differences of value(states) -> [B], [B, n]."""
  found = np.zeros(np.shape(states))
  for j in range(found.shape[1]):
    move = np.zeros(found.shape[1])
    move[j] = step
    found[:, j] = (value(states + move) - value(states - move)) / (2 * step)
  return found


class Imagination:
  """The losses of soft actor-critic on a learned model, on a batch.

  Args:
    models, critics, targets: networks. actor: one. alpha: the temperature.
    mean, spread: by which observations are standardised.
  """

  def __init__(self, models, critics, targets, actor, alpha, mean, spread):
    self.models, self.critics, self.targets = models, critics, targets
    self.actor, self.alpha = actor, alpha
    self.mean, self.spread = mean, spread

  def seen(self, s):
    return (s - self.mean) / self.spread

  def value(self, critic, s, a):
    return network(critic, np.concatenate([self.seen(s), a], axis=1))[:, 0]

  def law(self, s):
    """Mean and log spread of the actions before tanh."""
    mean, wide = np.split(network(self.actor, self.seen(s)), 2, axis=1)
    return mean, -5 + 7 * (np.tanh(wide) + 1) / 2

  def drawn(self, s, noise):
    """The action, and its log-density by the change of variables."""
    mean, log_std = self.law(s)
    raw = mean + np.exp(log_std) * noise
    density = -(noise**2) / 2 - log_std - np.log(2 * np.pi) / 2
    density -= np.log(1 - np.tanh(raw) ** 2)
    return np.tanh(raw), density.sum(axis=1)

  def model_loss(self, batch, error, quantile, *, plain):
    """Mean over models and known rows, of state, reward and, early, squares."""
    action = np.tanh(self.law(batch['after'])[0])
    every = [
      slopes(lambda s, c=critic: self.value(c, s, action), batch['after'])
      for critic in [*self.critics, *self.targets]
    ]
    every = clipped(every, quantile, batch['known'])
    total, count = 0.0, 0
    for model in self.models:
      x = np.concatenate([self.seen(batch['observation']), batch['action']], 1)
      out = network(model, x)
      for b in np.flatnonzero(batch['known']):
        wrong = batch['observation'][b] + out[b, :-1] - batch['after'][b]
        reward = out[b, -1] - batch['reward'][b]
        total += error(wrong, every[:, b]) + reward**2
        if plain:
          total += np.mean(np.append(wrong, reward) ** 2)
        count += 1
    return total / count

  def policy_losses(self, states, chosen, noise, later, discount):
    """Those of actor, temperature and critics, on imagined steps."""
    a, logp = self.drawn(states, noise)
    x = np.concatenate([self.seen(states), a], axis=1)
    out = np.stack(
      [network(self.models[k], x)[b] for b, k in enumerate(chosen)]
    )
    after = states + out[:, :-1]
    then, logp_then = self.drawn(after, later)
    least = np.min([self.value(c, after, then) for c in self.targets], axis=0)
    y = out[:, -1] + discount * (least - self.alpha * logp_then)
    q = np.array([self.value(c, states, a) for c in self.critics])
    actor = np.mean(self.alpha * logp - q.min(axis=0))
    temperature = np.mean(self.alpha * (a.shape[1] - logp))
    critics = sum(np.mean((each - y) ** 2) for each in q)
    return actor, temperature, critics
