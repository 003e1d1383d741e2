"""Draws tokens from truncated distributions and says what it drew from.

The distribution of a row of logits z, in this order:

    w_v = exp((z_v - max z) / temperature)       temperature
    keep the k largest w                          top-k, off at 0
    of those, keep the fewest largest whose
      share of their mass is at least p           top-p, off at 1
    of those, keep w_v >= m * max w               min-p, off at 0
    p_v = w_v / sum of kept w

Every rule keeps the tokens above a threshold, so tokens tied with the last
one kept are kept too, and the kept set does not depend on the order of the
vocabulary. Thresholds are found by bisection over the bits of the weights: 30
passes over the row, exact, where a sort of the vocabulary costs more and would
have to be undone.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from jaxrl_llm.numerics import EntropyScale, entropy_rank

Array = jax.Array

# Weights are in [0, 1], so as integers they are at most the bits of 1.0,
# 0x3f800000, which is less than 2**30.
_WEIGHT_BITS = 30


class Sampling(struct.PyTreeNode):
  """How to draw. Traced scalars: changing them compiles nothing anew.

  Attributes:
    temperature: f32[], divides the logits; 0 takes the most probable token.
    top_k: i32[], tokens kept; 0 keeps all.
    top_p: f32[], share of the mass kept, in (0, 1]; 1 keeps all.
    min_p: f32[], least weight kept, relative to the largest; 0 keeps all.
    swing: f32[], >= 0, by how much of itself the temperature of a row follows
      `entropy_rank` of its distribution at `temperature`; 0 is not at all.
    scale: of that rank, an `EntropyScale` of f32[].
  """

  temperature: float | Array = 1.0
  top_k: int | Array = 0
  top_p: float | Array = 1.0
  min_p: float | Array = 0.0
  swing: float | Array = 0.0
  scale: EntropyScale = EntropyScale(0.0, 0.0, 0.0)

  def checked(self) -> Sampling:
    """The same values as arrays of one type each, so that 1 and 1.0 agree.

    Raises:
      ValueError: a value that is known and out of its range.
    """
    ranges = {
      'temperature': (lambda x: 0 <= x < math.inf, 'finite and at least 0'),
      'top_k': (lambda x: x >= 0, 'at least 0; 0 is off'),
      'top_p': (lambda x: 0 < x <= 1, 'in (0, 1]; 1 is off'),
      'min_p': (lambda x: 0 <= x <= 1, 'in [0, 1]; 0 is off'),
      'swing': (lambda x: 0 <= x < 1, 'in [0, 1); 0 is off'),
    }
    for name, (inside, words) in ranges.items():
      value = getattr(self, name)
      if isinstance(value, jax.core.Tracer):
        continue
      # As a number: comparing a known array inside a trace would be traced.
      if not inside(np.asarray(value).item()):
        raise ValueError(f'{name} {value} must be {words}')
    return Sampling(
      temperature=jnp.asarray(self.temperature, jnp.float32),
      top_k=jnp.asarray(self.top_k, jnp.int32),
      top_p=jnp.asarray(self.top_p, jnp.float32),
      min_p=jnp.asarray(self.min_p, jnp.float32),
      swing=jnp.asarray(self.swing, jnp.float32),
      scale=EntropyScale(*(jnp.asarray(x, jnp.float32) for x in self.scale)),
    )


class Draw(struct.PyTreeNode):
  """One token per row.

  Attributes:
    token: i32[N].
    logp: f32[N], nats, under the truncated distribution; 0 when greedy.
    log_mass: f32[N] <= 0, log of the share of the untruncated mass, at the
      same temperature, that was kept; 0 when greedy.
    support: i32[N, S], ids of the kept tokens from the most probable on, -1
      where dropped; S is 0 unless asked for.
  """

  token: Array
  logp: Array
  log_mass: Array
  support: Array


def draw(
  logits: Array,
  uniform: Array,
  sampling: Sampling,
  *,
  support: int = 0,
  allowed: Array | None = None,
) -> Draw:
  """One token per row by inverting the distribution function.

  Args:
    logits: f32[N, V]; -inf forbids a token. A row of nothing but -inf counts
      as uniform.
    uniform: f32[N, 2] in [0, 1), independent: one chooses a block of the
      vocabulary, one a token in it.
    sampling: how to draw. Temperatures below the smallest normal float32 are
      greedy, and greedy takes the first of tied tokens.
    support: S. When positive only the S largest logits (the first of tied
      ones) are candidates, and the kept ones are returned.
    allowed: bool[N, V], tokens that may be kept, at least one of each row;
      None is all. The rules above then see the others as forbidden, and
      `log_mass` counts their mass as dropped.

  Returns:
    a Draw. Its token always has positive probability.

  Raises:
    ValueError: a support larger than the vocabulary.
  """
  n, vocab = logits.shape
  chex.assert_shape(uniform, (n, 2))
  if not 0 <= support <= vocab:
    raise ValueError(
      f'support {support} is not in [0, {vocab}], the size of the vocabulary'
    )
  greedy = jnp.less(sampling.temperature, jnp.finfo(jnp.float32).tiny)
  logits = logits.astype(jnp.float32)
  scaled = _scaled(logits, greedy, _temperature(logits, greedy, sampling))
  whole, ids = jax.nn.logsumexp(scaled, axis=-1), None
  if allowed is not None:
    scaled = jnp.where(allowed, scaled, -jnp.inf)
    # The likeliest of those may be far below the likeliest of all.
    best = jnp.max(scaled, axis=-1)
    scaled, whole = scaled - best[:, None], whole - best
  if support:
    scaled, ids = jax.lax.top_k(scaled, support)
  weights = jax.lax.cond(
    greedy,
    lambda x: jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=x.dtype),
    lambda x: truncate(jnp.exp(x), sampling),
    scaled,
  )
  kept = jnp.sum(weights, axis=-1)
  index = _invert(weights, uniform)
  logp = _at(scaled, index) - jnp.log(kept)
  log_mass = jnp.minimum(jnp.log(kept) - whole, 0.0)
  if ids is None:
    token, kept_ids = index, jnp.zeros((n, 0), jnp.int32)
  else:
    token, kept_ids = _at(ids, index), jnp.where(weights > 0, ids, -1)
  return Draw(
    token=token.astype(jnp.int32),
    logp=jnp.where(greedy, 0.0, logp),
    log_mass=jnp.where(greedy, 0.0, log_mass),
    support=kept_ids,
  )


def truncate(weights: Array, sampling: Sampling) -> Array:
  """Weights with those that top-k, top-p and min-p drop set to 0.

  Args:
    weights: f32[N, V] in [0, 1], the largest of each row 1.
    sampling: the temperature is not used.

  Returns:
    f32[N, V]. At least one weight of each row stays.
  """
  k, p = sampling.top_k, sampling.top_p
  weights = jax.lax.cond(
    k > 0,
    lambda w: _largest(w, lambda kept: jnp.sum(kept > 0, axis=-1) >= k),
    lambda w: w,
    weights,
  )
  weights = jax.lax.cond(
    p < 1.0,
    lambda w: _heaviest(w, p),
    lambda w: w,
    weights,
  )
  return jnp.where(weights >= sampling.min_p, weights, 0.0)


def nucleus(logits: Array, share: ArrayLike, least: ArrayLike) -> Array:
  """The fewest most probable tokens with a share of the mass.

  Args:
    logits: f32[N, V]. share: in (0, 1].
    least: tokens that are kept at any rate.

  Returns:
    bool[N, V], with all that tie with the last of them.
  """
  weights = jnp.exp(_scaled(logits.astype(jnp.float32), jnp.bool_(False), 1.0))
  wanted = share * jnp.sum(weights, axis=-1)

  def enough(kept):
    number = jnp.sum(kept > 0, axis=-1)
    return (jnp.sum(kept, axis=-1) >= wanted) & (number >= least)

  return _largest(weights, enough) > 0


def _temperature(logits: Array, greedy: Array, sampling: Sampling) -> Array:
  """f32[N, 1], of each row."""
  plain = jnp.broadcast_to(sampling.temperature, (logits.shape[0], 1))

  def varied(logits):
    # Scorers rank at the temperature of the run, so that is where to rank.
    scaled = _scaled(logits, greedy, sampling.temperature)
    logp = jax.nn.log_softmax(scaled)
    p = jnp.exp(logp)
    entropy = -jnp.sum(p * jnp.where(p > 0, logp, 0.0), -1, keepdims=True)
    return plain * (1 + sampling.swing * entropy_rank(entropy, sampling.scale))

  return jax.lax.cond(sampling.swing > 0, varied, lambda _: plain, logits)


def _scaled(logits: Array, greedy: Array, temperature: ArrayLike) -> Array:
  # The maximum is taken off before dividing, or a small temperature would
  # overflow and give inf - inf.
  largest = jnp.max(logits, axis=-1, keepdims=True)
  shifted = jnp.where(largest == -jnp.inf, 0.0, logits - largest)
  return shifted / jnp.where(greedy, 1.0, temperature)


def _heaviest(weights: Array, share: ArrayLike) -> Array:
  wanted = share * jnp.sum(weights, axis=-1)
  return _largest(weights, lambda kept: jnp.sum(kept, axis=-1) >= wanted)


def _largest(weights: Array, enough) -> Array:
  """The smallest set of largest weights that is enough; the rest set to 0."""
  bits = jax.lax.bitcast_convert_type(weights, jnp.int32)

  def above(threshold: Array) -> Array:
    return jnp.where(bits >= threshold[:, None], weights, 0.0)

  def refine(i, threshold):
    candidate = threshold | jnp.left_shift(1, _WEIGHT_BITS - 1 - i)
    return jnp.where(enough(above(candidate)), candidate, threshold)

  zero = jnp.zeros(weights.shape[0], jnp.int32)
  threshold = jax.lax.fori_loop(0, _WEIGHT_BITS, refine, zero)
  return above(jnp.minimum(threshold, jnp.max(bits, axis=-1)))


def _invert(weights: Array, uniform: Array) -> Array:
  n, size = weights.shape
  # Two steps of about sqrt(V) cost far less than one cumulative sum over V.
  width = 2 ** math.ceil(math.log2(size) / 2)
  blocks = -(-size // width)
  padded = jnp.pad(weights, ((0, 0), (0, blocks * width - size)))
  table = padded.reshape(n, blocks, width)
  block = _pick(jnp.sum(table, axis=-1), uniform[:, 0])
  inside = jnp.take_along_axis(table, block[:, None, None], axis=1)[:, 0]
  return block * width + _pick(inside, uniform[:, 1])


def _pick(weights: Array, uniform: Array) -> Array:
  total = jnp.cumsum(weights, axis=-1)
  target = uniform * total[:, -1]
  over = (total > target[:, None]) & (weights > 0)
  # A parallel cumulative sum need not be monotone in its last bit: without
  # the fallback a token of weight 0 could be drawn about once in 10**7.
  return jnp.where(
    jnp.any(over, axis=-1), jnp.argmax(over, -1), jnp.argmax(weights, -1)
  )


def _at(values: Array, index: Array) -> Array:
  return jnp.take_along_axis(values, index[:, None], axis=-1)[:, 0]
