"""A decision transformer in NumPy float64, a row and a token at a time."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np


def gelu(x):
  return np.array([each * (1 + erf(each / sqrt(2))) / 2 for each in x])


def linear(layer, x):
  return x @ layer['kernel'] + layer['bias']


def normed(layer, x):
  x = x - x.mean()
  return x / np.sqrt(np.mean(x**2) + 1e-5) * layer['scale'] + layer['bias']


def embedded(layers, x):
  h = linear(layers['first'], x)
  return linear(layers['second'], gelu(h)) + h if 'second' in layers else h


def adapted(module, layer):
  """The kernel of a layer with its low-rank product."""
  kernel = module['kernel'][layer]
  if 'lora_a' in module:
    product = np.tensordot(module['lora_a'][layer], module['lora_b'][layer], 1)
    kernel = kernel + module['lora_scale'][layer] * product
  return kernel


def decoded(params, x, theta=10_000.0):
  """States [S, D] of one row of tokens [S, D], each seeing those before it."""

  def scaled(layer, x):
    size = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return x / size * layer

  def turned(x):
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

  layers = params['layers']
  for n in range(len(layers['q']['kernel'])):
    y = scaled(layers['attention_norm']['scale'][n], x)
    q, k, v = (
      np.einsum('sd,dhk->shk', y, adapted(layers[name], n)) for name in 'qkv'
    )
    q, k = turned(q), turned(k)
    mixed = np.zeros_like(q)
    for s in range(len(x)):
      for head in range(q.shape[1]):
        scores = k[: s + 1, head] @ q[s, head] / sqrt(q.shape[-1])
        weight = np.exp(scores - scores.max())
        mixed[s, head] = weight / weight.sum() @ v[: s + 1, head]
    x = x + np.einsum('shk,hkd->sd', mixed, layers['o']['kernel'][n])
    y = scaled(layers['mlp_norm']['scale'][n], x)
    gate, up = (y @ layers[name]['kernel'][n] for name in ('gate', 'up'))
    x = x + (gate / (1 + np.exp(-gate)) * up) @ layers['down']['kernel'][n]
  return scaled(params['final_norm']['scale'], x)


def answers(params, returns, observation, action, time):
  """[T, a] of one episode: numbers as in the paper, arXiv 2310.20587."""
  tokens, own = [], params['numbers']
  for r, s, a, t in zip(returns, observation, action, time):
    for kind, x in (('returns', [r]), ('observation', s), ('action', a)):
      token = normed(own['norm'], embedded(own[kind], np.array(x)))
      tokens.append(token + own['time'][t])
  states = decoded(params, np.array(tokens))[1::3]
  answer = params['answer']
  if 'first' in answer:
    states = [gelu(linear(answer['first'], x)) for x in states]
  return np.array([linear(answer['second'], x) for x in states])


def unlikelihood(params, rows):
  """Nats a token of some texts, lists of numbers."""
  costs = []
  for row in rows:
    states = decoded(params, params['embed']['kernel'][row])
    scores = states @ params['unembed']['kernel']
    for state, following in zip(scores, row[1:]):
      costs.append(np.log(np.sum(np.exp(state))) - state[following])
  return np.mean(costs)
