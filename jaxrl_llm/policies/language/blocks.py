"""Log-probs over a vocabulary that is read in blocks, forward and backward.

The logits of N x T tokens over V entries are often the largest array of a
step. Here those of one block of the vocabulary exist at a time: the forward
pass keeps running sums, and the backward pass makes each block's logits again
from what is known by then of the whole row.

    lse = log sum_v exp s_v      mean = sum_v p_v s_v      p_v = exp(s_v - lse)
    log-prob of a  = s_a - lse,     d / d s_v = [v = a] - p_v
    entropy        = lse - mean,    d / d s_v = p_v (mean - s_v)

with s_v = z_v / temperature. Memory is that of N T block numbers whatever V,
beside the gradient of the kernel itself, which is written block by block.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.types import Array, PyTree


def token_logp(
  params: PyTree,
  config: Config,
  x: Array,
  token: Array,
  *,
  temperature: float | Array = 1.0,
  block: int,
) -> tuple[Array, Array, Array]:
  """Log-prob of each token, the entropy of its distribution, its largest one.

  Args:
    params: of the decoder; the kernel of its logits is read.
    x: dtype[N, T, D], states before the tokens. token: i32[N, T].
    temperature: divides the logits; traced, above 0.
    block: vocabulary entries whose logits exist at once.

  Returns:
    Three f32[N, T], nats; what `log_softmax` of all logits gives, up to the
    order of sums. The last, the log-prob of the most probable token, is a
    constant to whoever differentiates.
  """
  kernel = params['embed' if config.tied else 'unembed']['kernel']
  block = min(block, config.vocab)
  temperature = jnp.asarray(temperature, jnp.float32)
  return _logp(config, block, kernel, temperature, x, token)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _logp(config, block, kernel, temperature, x, token):
  return _forward(config, block, kernel, temperature, x, token)[0]


def _forward(config, block, kernel, temperature, x, token):
  def add(sums, number):
    top, total, weighted, chosen = sums
    start, fresh, own = _place(config, block, number, token)
    scores = _scores(
      config, _part(config, block, kernel, start), temperature, x
    )
    new = jnp.maximum(top, jnp.max(scores, axis=-1))
    share = jnp.where(fresh, jnp.exp(scores - new[..., None]), 0.0)
    shrunk = jnp.exp(top - new)
    sums = (
      new,
      total * shrunk + jnp.sum(share, axis=-1),
      weighted * shrunk + jnp.sum(share * scores, axis=-1),
      chosen + jnp.sum(jnp.where(own, scores, 0.0), axis=-1),
    )
    return sums, None

  zeros = jnp.zeros(token.shape, jnp.float32)
  start = (jnp.full_like(zeros, -jnp.inf), zeros, zeros, zeros)
  sums, _ = jax.lax.scan(add, start, _numbers(config, block))
  top, total, weighted, chosen = sums
  lse, mean = top + jnp.log(total), weighted / total
  known = (kernel, temperature, x, token, lse, mean)
  return (chosen - lse, lse - mean, top - lse), known


def _backward(config, block, known, slopes):
  kernel, temperature, x, token, lse, mean = known
  of_logp, of_entropy = (slope[..., None] for slope in slopes[:2])

  def add(total, number):
    start, fresh, own = _place(config, block, number, token)
    part = _part(config, block, kernel, start)
    scores, pull = jax.vjp(
      functools.partial(_scores, config), part, temperature, x
    )
    p = jnp.where(fresh, jnp.exp(scores - lse[..., None]), 0.0)
    slope = of_logp * (own - p) + of_entropy * p * (mean[..., None] - scores)
    of_part, of_temperature, of_x = pull(slope)
    axis = _axis(config)
    before = _part(config, block, total[0], start)
    of_kernel = jax.lax.dynamic_update_slice_in_dim(
      total[0], before + of_part, start, axis
    )
    return (of_kernel, total[1] + of_temperature, total[2] + of_x), None

  start = (
    jnp.zeros_like(kernel),
    jnp.zeros_like(temperature),
    jnp.zeros(x.shape, jnp.float32),
  )
  total, _ = jax.lax.scan(add, start, _numbers(config, block))
  of_kernel, of_temperature, of_x = total
  return of_kernel, of_temperature, of_x.astype(x.dtype), None


_logp.defvjp(_forward, _backward)


def _numbers(config, block):
  return jnp.arange(-(-config.vocab // block))


def _place(config, block, number, token):
  """Where a block starts, which of its entries are new, which are the tokens.

  The last block ends with the vocabulary and may repeat some entries.
  """
  first = number * block
  start = jnp.minimum(first, config.vocab - block)
  ids = start + jnp.arange(block)
  fresh = ids >= first
  return start, fresh, fresh & (ids == token[..., None])


def _axis(config):
  return 0 if config.tied else 1


def _part(config, block, kernel, start):
  return jax.lax.dynamic_slice_in_dim(kernel, start, block, _axis(config))


def _scores(config, part, temperature, x):
  params = {'embed' if config.tied else 'unembed': {'kernel': part}}
  return transformer.logits(params, config, x) / temperature
