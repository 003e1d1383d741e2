"""Attention inside sequences by fused kernels of accelerators.

Two that others maintain: of cuDNN on GPUs of NVIDIA, through
`jax.nn.dot_product_attention`, and splash on TPUs, through Pallas. Both know
rows that begin with all of their tokens, so the tokens of a row are brought
together first, whatever its padding, and what is computed goes back to where
they were. A window then counts columns, and `tiles` says the same.

Letters as in `attention`. Neither kernel is taken for the step of a token over
its caches, nor for blocks of new tokens over them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language.config import Config

Array = jax.Array

# What 'auto' tries on each platform.
_OF_PLATFORM = {'gpu': 'cudnn', 'tpu': 'splash'}
NAMES = ('auto', 'tiles', 'cudnn', 'splash')
# Columns of a block of splash, which divide its rows.
_BLOCKS = (512, 256, 128)


def resolve(name: str, config: Config, dtype, mesh: Mapping[str, int]) -> str:
  """The kernel that a model's attention uses: 'tiles', 'cudnn' or 'splash'.

  Args:
    name: one of `NAMES`; 'auto' is the kernel of this machine's accelerator if
      it fits the model, else 'tiles'.
    config: of the decoder. dtype: of its arithmetic. mesh: sizes by axis.

  Raises:
    ValueError: an unknown name, or a kernel that does not fit; says why.
  """
  if name not in NAMES:
    raise ValueError(f'model.attention={name!r} is not one of {NAMES}')
  if name == 'tiles':
    return name
  kernel = name
  if name == 'auto':
    kernel = _OF_PLATFORM.get(jax.default_backend(), 'tiles')
  reason = refusal(kernel, config, dtype, mesh)
  if reason and name != 'auto':
    raise ValueError(
      f'model.attention={name} does not fit: {reason}; use tiles or auto'
    )
  return 'tiles' if reason else kernel


def refusal(kernel: str, config: Config, dtype, mesh: Mapping[str, int]) -> str:
  """Why a kernel cannot compute a model's attention; '' if it can."""
  dtype = jnp.dtype(dtype)
  if kernel == 'tiles':
    return ''
  if mesh.get('context', 1) > 1:
    return f'mesh.context={mesh["context"]} splits the tokens of a row'
  # A window that is looked up in a loop over layers is no constant.
  for first, end, period in config.segments:
    windows = {*config.layer_windows[first:end]}
    if period == 1 and len(windows) > 1:
      return f'layers of one loop have windows {sorted(windows)}'
  if config.sinks or config.attention_cap:
    return 'there are sinks or bounded scores'
  widths = {config.head_dim, config.global_head_dim} - {0}
  if kernel == 'cudnn':
    if dtype not in (jnp.bfloat16, jnp.float16):
      return f'it computes in bfloat16 or float16, not in {dtype}'
    if any(width % 8 or width > 128 for width in widths):
      return f'heads are {sorted(widths)} wide, not a multiple of 8 up to 128'
    heads = {config.kv_heads, config.global_kv_heads} - {0}
    if any(count % mesh.get('model', 1) for count in heads):
      return f'mesh.model={mesh["model"]} does not divide key-value heads'
    return ''
  if any(width % 64 for width in widths):
    return f'heads are {sorted(widths)} wide, not a multiple of 64'
  if any(size > 1 for size in mesh.values()):
    return f'it runs on one device, and the mesh is {dict(mesh)}'
  return ''


def attend(
  kernel: str,
  q: Array,
  k: Array,
  v: Array,
  valid: Array,
  window: int | Array | None = None,
) -> Array:
  """`attention.within_sequence` of causal rows, by one of `KERNELS`.

  Args:
    q: [N, S, H, h], scaled. k, v: [N, S, K, h].
    valid: bool[N, S], the tokens, with padding anywhere.
    window: in tokens, no array, or None.

  Returns:
    [N, S, H, h], 0 where there is no token.
  """
  order = jnp.argsort(~valid, axis=1, stable=True)
  back = jnp.argsort(order, axis=1)
  count = jnp.sum(valid, axis=1, dtype=jnp.int32)
  here = (jnp.arange(q.shape[1]) < count[:, None])[..., None, None]

  def known(x):
    # Kernels leave what they like where there is no token, and in its
    # gradient; neither gets out.
    return jnp.where(here, x, jnp.zeros((), x.dtype))

  q, k, v = (known(_permuted(x, order, back)) for x in (q, k, v))
  y = KERNELS[kernel](q, k, v, count, window)
  return _permuted(known(y), back, order)


@jax.custom_vjp
def _permuted(x, order, back):
  """x[N, S, ...] in another order of columns; `back` undoes it."""
  del back
  return jnp.take_along_axis(x, order[..., None, None], axis=1)


def _permuted_forward(x, order, back):
  return _permuted(x, order, back), (order, back)


def _permuted_backward(orders, slope):
  # Read, where the transposition would add up what is written.
  return _permuted(slope, *orders[::-1]), None, None


_permuted.defvjp(_permuted_forward, _permuted_backward)


def of_jax(implementation, q, k, v, count, window):
  """`jax.nn.dot_product_attention` of the first `count` tokens of each row."""
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    scale=1.0,
    is_causal=True,
    query_seq_lengths=count,
    key_value_seq_lengths=count,
    # So many tokens before one's own, and none after it.
    local_window_size=window and (window - 1, 0),
    implementation=implementation,
  )


def splash(q, k, v, count, window, *, interpret=False):
  """Splash attention; its columns are filled up to whole blocks.

  Source: jax.experimental.pallas.ops.tpu.splash_attention.
  """
  # Imported where it is used: it takes a second, on machines without a TPU.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  columns = q.shape[1]
  more = -columns % _BLOCKS[-1]
  block = next(x for x in _BLOCKS if (columns + more) % x == 0)
  shape = (columns + more,) * 2
  rule = (
    lib.LocalMask(shape, (window - 1, 0), 0)
    if window
    else lib.CausalMask(shape)
  )
  sizes = lib.BlockSizes(
    block_q=block,
    block_kv=block,
    block_q_dkv=block,
    block_kv_dkv=block,
    block_q_dq=block,
    block_kv_dq=block,
  )
  kernel = lib.make_splash_mha(
    lib.MultiHeadMask([rule] * q.shape[2]),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=sizes,
    interpret=interpret,
  )

  def row(q, k, v, segment):
    ids = lib.SegmentIds(segment, segment)
    return kernel(q, k, v, segment_ids=ids)

  def ready(x):
    return jnp.pad(x, [(0, 0), (0, more), (0, 0), (0, 0)]).swapaxes(1, 2)

  # Fillers see fillers alone.
  segments = (jnp.arange(columns + more) < count[:, None]).astype(jnp.int32)
  y = jax.vmap(row)(ready(q), ready(k), ready(v), segments)
  return y.swapaxes(1, 2)[:, :columns]


KERNELS: dict[str, Callable[..., Array]] = {
  'cudnn': functools.partial(of_jax, 'cudnn'),
  'splash': splash,
}
