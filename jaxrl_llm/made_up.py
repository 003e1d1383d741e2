"""Made-up arrays of what can be read, by which tests try parts of methods.

f(rng, shape, rollouts) -> array in NumPy
"""

from __future__ import annotations

import numpy as np


def below(high, low=0):
  return lambda rng, shape, _: rng.integers(low, high, shape)


def odds(chance):
  return lambda rng, shape, _: rng.random(shape) < chance


def uniform(scale=1.0):
  return lambda rng, shape, _: scale * rng.random(shape)


def normal(rng, shape, rollouts):
  del rollouts
  return rng.standard_normal(shape)


def log_chance(rng, shape, rollouts):
  del rollouts
  return -rng.exponential(1.0, shape)


def of_groups(rng, shape, rollouts):
  """One number for all rows of a group."""
  return rng.random(shape)[rollouts.group]


def odds_of_groups(rng, shape, rollouts):
  return 3 * of_groups(rng, shape, rollouts)


def group_over(count):
  return lambda rng, shape, rollouts: rollouts.group // count


def parity(rng, shape, rollouts):
  """One of two numbers for all rows of a group."""
  del rng, shape
  return rollouts.group % 2


def odd_groups(rng, shape, rollouts):
  """Every second group."""
  return parity(rng, shape, rollouts) == 1


def places(rng, shape, rollouts):
  """Which row of its group a row is."""
  del rng, shape
  same = rollouts.group[:, None] == rollouts.group
  return np.sum(np.tril(same, -1), axis=1)


def pairs(rng, shape, rollouts):
  """Two rows of a group each."""
  place = places(rng, shape, rollouts) // 2
  pair = rollouts.group * shape[0] + place
  return np.unique(pair, return_inverse=True)[1]


def two_of_them(rng, shape, rollouts):
  """Two entries of three or more each, and no others."""
  del rollouts
  named = np.full(shape, -1)
  named[..., 0] = rng.integers(0, 3, shape[:-1])
  named[..., 1] = (named[..., 0] + rng.integers(1, 3, shape[:-1])) % 3
  return rng.permuted(named, axis=-1)


def log_shares(rng, shape, rollouts):
  """Logarithms of numbers that add up to less than 1."""
  del rollouts
  share = rng.exponential(1.0, (*shape[:-1], shape[-1] + 1))
  return np.log(share / share.sum(axis=-1, keepdims=True))[..., :-1]


def of_places(fn):
  return lambda *given: fn(places(*given))


def tail(rng, shape, rollouts):
  """The end of every third row, from its third token on."""
  del rng, rollouts
  rows, tokens = (np.arange(n) for n in shape)
  return (tokens > 1) & (rows % 3 == 1)[:, None]


def head(rng, shape, rollouts):
  """The beginning of two rows in three, of two tokens."""
  del rng, rollouts
  rows, tokens = (np.arange(n) for n in shape)
  return (tokens < 2) & (rows % 3 > 0)[:, None]


# Of a kind, where a row of the table says no more.
BY_KIND = {
  'f32': normal,
  'i8': below(3),
  'i32': below(3),
  'bool': odds(0.4),
}
