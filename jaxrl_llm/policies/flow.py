"""Vectors drawn by walking from noise along a learned velocity, with noise.

A flow-matching model moves x_0 ~ N(0, I) to a sample x_1 by dx = v(x, t) dt.
Any spread g of a stochastic walk leaves its marginals as they are if the drift
makes up for it:

    dx = (v + g^2 / 2 score) dt + g dW     score = (t v - x) / (1 - t)

With g = noise sqrt(1 - t) nothing is divided by 1 - t. In T steps of 1 / T
every step is a Gaussian whose density is known, so a walk is a row of T
decisions and policy gradients apply:

    x_{k+1} ~ N(x_k + (v + noise^2 / 2 (t v - x_k)) / T, noise^2 (1 - t) / T I)

Source: Flow-GRPO, arXiv 2505.05470, section 4.2, whose time runs the other way
  and whose spread is noise sqrt(t / (1 - t)).
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm.policies import network
from jaxrl_llm.types import Path, Rollouts, Stats


@dataclasses.dataclass(frozen=True)
class Flow:
  """A flow policy on vectors.

  Attributes:
    condition: numbers of what is asked for. size: of what is made.
    steps: T. widths: hidden layers of the velocity.
    noise: spread of the walk, see the module.
  """

  condition: int
  size: int
  steps: int = 10
  widths: tuple[int, ...] = (64, 64)
  noise: float = 0.7

  gives = frozenset({'entropy'})

  def table(self):
    sizes = (self.size + 1 + self.condition, *self.widths, self.size)
    return network.table('velocity', sizes)

  def velocity(self, params, x, time, condition):
    """f32[..., size] at points f32[..., size] and times f32[...]."""
    condition = jnp.broadcast_to(
      condition, (*x.shape[:-1], condition.shape[-1])
    )
    inputs = jnp.concatenate([x, time[..., None], condition], axis=-1)
    return network.apply(params['velocity'], inputs)

  def step(self, params, x, time, condition):
    """Mean f32[..., size] and spread f32[...] of the next point."""
    v = self.velocity(params, x, time, condition)
    back = 0.5 * self.noise**2 * (time[..., None] * v - x)
    mean = x + (v + back) / self.steps
    return mean, self.noise * jnp.sqrt((1 - time) / self.steps)

  def walk(self, params, condition, keys) -> tuple[Path, jax.Array]:
    """Paths to samples, and the log-densities of their steps f32[N, T].

    Args:
      condition: f32[N, c]. keys: [N], one a row.
    """
    times = jnp.arange(self.steps + 1) / self.steps
    drawn = jax.vmap(
      lambda key: jax.random.normal(key, (self.steps + 1, self.size))
    )(keys)

    def go(x, inputs):
      time, noise = inputs
      time = jnp.broadcast_to(time, x.shape[:1])
      mean, spread = self.step(params, x, time, condition)
      after = mean + spread[:, None] * noise
      return after, (after, _logp(after, mean, spread))

    start = drawn[:, 0]
    noise = jnp.moveaxis(drawn[:, 1:], 1, 0)
    _, (states, logp) = jax.lax.scan(go, start, (times[:-1], noise))
    states = jnp.concatenate([start[None], states])
    path = Path(
      condition=condition,
      state=jnp.moveaxis(states, 0, 1),
      time=jnp.broadcast_to(times, (len(start), self.steps + 1)),
    )
    return path, logp.T

  def score(self, params, rollouts: Rollouts, needs=frozenset()) -> Stats:
    """Log-density and entropy of every step.

    Args:
      rollouts: with a `Path` of T steps.
    """
    del needs
    path = rollouts.content
    mean, spread = self.step(
      params, path.state[:, :-1], path.time[:, :-1], path.condition[:, None]
    )
    size = path.state.shape[-1]
    entropy = size * (jnp.log(spread) + 0.5 * math.log(2 * math.pi * math.e))
    return Stats(_logp(path.state[:, 1:], mean, spread), entropy)


def _logp(x, mean, spread):
  z = (x - mean) / spread[..., None]
  constant = jnp.log(spread) + 0.5 * math.log(2 * math.pi)
  return jnp.sum(-0.5 * z**2, axis=-1) - x.shape[-1] * constant
