"""Hyperbolic layers in NumPy float64, a point and a plane at a time."""

from __future__ import annotations

from math import asinh, atanh, cosh, exp, sinh, sqrt, tanh

import numpy as np


def bounded(kernel, bias, h, c):
  """Arxiv 2512.14202: RMSNorm, tanh, 1 / sqrt(d), and a learned length."""
  size = sqrt(np.mean(h**2) + 1e-6)
  u = np.array([tanh(each / size) for each in h]) / sqrt(len(h))
  gate = 1 / (1 + exp(-(kernel @ u + bias)))
  return gate * atanh(0.95) / sqrt(c) * u


def lifted(x, c):
  length = sqrt(c) * sqrt(x @ x)
  space = sinh(length) / length * x if length else x
  return sqrt(space @ space + 1 / c), space


def logit(z, r, time, space, c):
  size = sqrt(z @ z)
  inner = -time * sinh(sqrt(c) * r) * size + cosh(sqrt(c) * r) * (z @ space)
  return size * asinh(sqrt(c) * inner / size) / sqrt(c)


def ball_logit(z, r, x, c):
  size, swell = sqrt(z @ z), 2 / (1 - c * (x @ x))
  turn = 2 * sqrt(c) * r
  inner = sqrt(c) * swell * cosh(turn) * (x @ z) / size
  return 2 * size * asinh(inner + (1 - swell) * sinh(turn)) / sqrt(c)
