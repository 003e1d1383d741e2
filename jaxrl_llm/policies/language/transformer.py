"""The decoder: one block for every family, on plain dictionaries of arrays.

`parameters` lists what they hold. A linear map that also holds `lora_a`,
`lora_b` and `lora_scale` adds their product.

Two ways through whole sequences: `hidden`, and `hidden_of_groups` where G rows
share their prompt. `decoding` goes through the same block a token at a time.
Letters of the docstrings: S tokens of a sequence, D width, H heads, K key-value
heads, R = H / K, h head width, F MLP width, E experts, L layers; the others as
in `jaxrl_llm.types`.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxrl_llm.policies.language import attention, delta, fused, stack, tiles
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.types import Array

# By what name the kernel of the logits is among parameters, in parts.
PARTS = 'vocabulary'


def hidden(
  params: Params,
  config: Config,
  tokens: Array,
  mask: Array,
  *,
  segments: Array | None = None,
  routes: Array | None = None,
  causal: bool = True,
  dtype=jnp.float32,
  remat: bool = False,
  unroll: int | bool = 1,
) -> Array:
  """The last hidden state of every token, after the final norm.

  A token's position is the number of tokens before it, so that padding on
  either side or in between changes nothing; windows count positions too.

  Args:
    tokens: i32[N, S].
    mask: bool[N, S], True on tokens; others are never attended to.
    segments: i32[N, S], of rows that hold several sequences, each without
      gaps: equal ids are of one, which is read as if it were alone.
    routes: [N, S, L, k], experts that tokens have, see `experts.route`.
    causal: False lets every token see those after it as well.
    dtype: of the arithmetic; norms and softmax are float32 in any case.
    remat: recompute each layer in the backward pass instead of keeping it.
    unroll: layers per step of the scan; True is all of them, faster to run
      and slower to compile.

  Returns:
    dtype[N, S, D]; finite but without meaning off the mask.
  """
  chex.assert_rank([tokens, mask], 2)
  chex.assert_equal_shape([tokens, mask])
  if not causal and (config.delta or config.kernel != 'tiles'):
    raise ValueError(
      f'delta nets and the kernel {config.kernel!r} read forth alone; a policy '
      'whose tokens see those after them needs a model with attention in all '
      'layers, and tiles.'
    )
  order = None
  if segments is None:
    tokens, mask, order = without_gaps(config, tokens, mask, mask)
    routes = _ordered(routes, order)
  options = {'causal': causal, 'dtype': dtype, 'remat': remat, 'unroll': unroll}
  devices = jax.sharding.get_abstract_mesh().shape.get('context', 1)
  if devices > 1:
    check_context(config, devices)
    if segments is not None:
      raise ValueError(
        f'mesh.context={devices} splits rows of one sequence each, and packed '
        'rows hold several; use mesh.context=1 or no learn.packing.'
      )
    return _over_context(params, config, tokens, mask, devices, options)
  x, _ = sequence(
    params, config, tokens, mask, segments=segments, routes=routes, **options
  )
  return _back(x, order)


def over_context(x: Array) -> Array:
  """Columns [N, S, ...] split over the axis 'context', if it divides them."""
  devices = jax.sharding.get_abstract_mesh().shape.get('context', 1)
  if devices == 1 or x.shape[1] % devices:
    return x
  rest = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1)
  place = PartitionSpec(rest[0], 'context', *rest[1:])
  return jax.lax.with_sharding_constraint(x, place)


def check_context(config: Config, devices: int) -> None:
  """Refuses models whose rows cannot be split over `mesh.context` devices.

  Raises:
    ValueError: a delta net, which reads a row from its first token on, experts,
      which would be computed on every device, or a fused kernel.
  """
  reasons = {
    'delta nets, which read a row from its first token on': config.delta,
    'experts, which every device would compute': config.experts,
    'fused kernels of attention': config.kernel != 'tiles',
  }
  for reason, there in reasons.items():
    if devices > 1 and there:
      raise ValueError(
        f'mesh.context={devices} splits the tokens of a row and there are '
        f'{reason}; use mesh.context=1.'
      )


def _over_context(params, config, tokens, mask, devices, options):
  """`hidden` of rows whose tokens are split over the axis 'context'."""
  columns = tokens.shape[1]
  positions = stack.positions_of(mask)
  more = -columns % devices

  def own(params, *rows):
    tokens, mask, positions = rows
    attend = functools.partial(
      _attend_context,
      config,
      attention.Mask(mask, positions, causal=options['causal']),
    )
    rest = {k: x for k, x in options.items() if k != 'causal'}
    return stack.apply(
      params, config, tokens, positions, columns, attend, None, **rest
    )[0]

  split = PartitionSpec(None, 'context')
  rows = (jnp.pad(x, ((0, 0), (0, more))) for x in (tokens, mask, positions))
  x = jax.shard_map(
    own,
    in_specs=(PartitionSpec(), split, split, split),
    out_specs=split,
    axis_names={'context'},
    # What the loops over tiles begin with is alike on all devices, which the
    # check would not let become different.
    check_vma=False,
  )(params, *rows)
  return x[:, :columns]


def hidden_of_groups(
  params: Params,
  config: Config,
  prompt: Array,
  prompt_mask: Array,
  response: Array,
  response_mask: Array,
  *,
  routes: Array | None = None,
  dtype=jnp.float32,
  remat: bool = False,
  unroll: int | bool = 1,
) -> tuple[Array, Array]:
  """`hidden` of responses whose prompt is read, and learned, once a group.

  Row n continues prompt n // G, with G = N / B. Every token gets the position
  it has in the whole sequence and sees what it sees there, so the states are
  those of `hidden` up to the order of sums.

  Args:
    prompt: i32[B, P]. prompt_mask: bool[B, P], at least one token each.
    response: i32[N, T]. response_mask: bool[N, T].
    routes: [N, T, L, k], experts that tokens of responses have.
    dtype, remat, unroll: as in `hidden`.

  Returns:
    dtype[B, D] of the last column of every prompt, dtype[N, T, D].
  """
  b, p = prompt.shape
  n, t = response.shape
  chex.assert_equal_shape([prompt, prompt_mask])
  chex.assert_equal_shape([response, response_mask])
  prompt, prompt_mask, _ = without_gaps(
    config, prompt, prompt_mask, prompt_mask
  )
  response, response_mask, order = without_gaps(
    config, response, response_mask, ~response_mask
  )
  if routes is not None:
    routes = _ordered(routes, order).reshape(b, -1, *routes.shape[2:])
    routes = jnp.pad(
      routes, [(0, 0), (p, 0), (0, 0), (0, 0)], constant_values=-1
    )
  # One row a group, so that its tokens stay on one device of a mesh: the
  # prompt, then the responses one after the other.
  own = response_mask.reshape(b, -1, t)
  length = jnp.sum(prompt_mask, axis=-1, dtype=jnp.int32)[:, None, None]
  before = stack.positions_of(prompt_mask)
  after = jnp.maximum(length + jnp.cumsum(own, -1, dtype=jnp.int32) - 1, 0)
  tokens = jnp.concatenate([prompt, response.reshape(b, -1)], axis=1)
  positions = jnp.concatenate([before, after.reshape(b, -1)], axis=1)
  attend = functools.partial(
    _attend_group,
    config,
    attention.Mask(prompt_mask, before),
    attention.Mask(own, after),
  )
  recur = functools.partial(_recur_group, config, prompt_mask, own)
  x, _ = stack.apply(
    params,
    config,
    tokens,
    positions,
    p + t,
    attend,
    recur,
    dtype=dtype,
    remat=remat,
    unroll=unroll,
    routes=routes,
  )
  return x[:, p - 1], _back(x[:, p:].reshape(n, t, -1), order)


def logits(params: Params, config: Config, hidden: Array) -> Array:
  """Scores of the next token, f32[..., V] from dtype[..., D].

  Args:
    params: with the kernel 'embed' or 'unembed' or, in place of it, its `PARTS`
      along the vocabulary, in their order.
  """
  name, axis = ('embed', 1) if config.tied else ('unembed', 0)

  def of(kernel):
    return jax.lax.dot_general(
      hidden,
      kernel.astype(hidden.dtype),
      (((hidden.ndim - 1,), (axis,)), ((), ())),
      preferred_element_type=jnp.float32,
    )

  if PARTS in params:
    scores = jnp.concatenate([*map(of, params[PARTS])], axis=-1)
  else:
    scores = of(params[name]['kernel'])
  return tiles.capped(config.logit_scale * scores, config.logit_cap)


def sequence(
  params,
  config,
  tokens,
  mask,
  *,
  dtype,
  segments=None,
  routes=None,
  causal=True,
  remat=False,
  unroll=1,
  keep=False,
):
  """Final hidden states and, if `keep`, caches of a period, stacked."""
  columns, reach = tokens.shape[1], None
  if segments is None:
    positions = counted = stack.positions_of(mask)
  else:
    positions, counted = _apart(segments)
    reach = columns
  rule = attention.Mask(mask, counted, reach, causal)
  # Kernels bring a row's tokens together, which are of one sequence.
  kernel = config.kernel if segments is None else 'tiles'
  attend = functools.partial(_attend_sequence, config, kernel, rule, keep)
  recur = functools.partial(_recur_sequence, config, mask, segments, keep)
  return stack.apply(
    params,
    config,
    tokens,
    positions,
    columns,
    attend,
    recur,
    dtype=dtype,
    remat=remat,
    unroll=unroll,
    routes=routes,
  )


def _apart(segments):
  """Positions i32[N, S] in each segment, and those that windows count.

  By the latter, tokens of one segment are less than S apart, and those of two
  are more: a window of S is no window, and shows a token its segment alone.
  """
  columns = jnp.arange(segments.shape[1], dtype=jnp.int32)
  before = jnp.roll(segments, 1, axis=1)
  first = (segments != before) | (columns == 0)
  start = jax.lax.cummax(jnp.where(first, columns, 0), axis=1)
  number = jnp.cumsum(first, axis=1, dtype=jnp.int32)
  return columns - start, columns + number * segments.shape[1]


def without_gaps(config, tokens, mask, later):
  """Tokens and mask, columns where `later` last, and how they are ordered.

  Delta nets go on from the column before. Attention alone sees what the mask
  says, and its rows stay as they are: then the order is None.
  """
  if not config.delta:
    return tokens, mask, None
  order = jnp.argsort(later, axis=1, stable=True)
  tokens, mask = (jnp.take_along_axis(x, order, 1) for x in (tokens, mask))
  return tokens, mask, order


def _ordered(routes, order):
  """Routes [N, S, L, k] in the order of `without_gaps`."""
  if order is None or routes is None:
    return routes
  return jnp.take_along_axis(routes, order[..., None, None], 1)


def _back(x, order):
  """Columns [N, S, D] where they were before `_without_gaps`."""
  if order is None:
    return x
  return jnp.take_along_axis(x, jnp.argsort(order, axis=1)[..., None], 1)


def _attend_sequence(config, kernel, mask, keep, window, q, k, v, sinks):
  if window is not None:
    reach = mask.window  # Of segments, which no window goes beyond.
    window = window if reach is None else jnp.minimum(window, reach)
    mask = mask.replace(window=window)
  y = attention.within_sequence(
    q,
    k,
    v,
    mask,
    cap=config.attention_cap,
    sinks=sinks,
    kernel=kernel,
  )
  if not keep:
    return y, None
  return y, {'k': k.transpose(0, 2, 3, 1), 'v': v.transpose(0, 2, 1, 3)}


def _attend_context(config, mask, window, q, k, v, sinks):
  mask = mask.replace(window=window)
  y = attention.over_context(
    q, k, v, mask, cap=config.attention_cap, sinks=sinks
  )
  return y, None


def _attend_group(config, prompt_mask, mask, window, q, k, v, sinks):
  b, p = prompt_mask.valid.shape
  groups = mask.valid.shape
  if config.kernel != 'tiles':
    return _attend_rows(config, prompt_mask, mask, window, q, k, v), None

  def parts(x):
    return x[:, :p], x[:, p:].reshape(*groups, *x.shape[2:])

  (q, own_q), (k, own_k), (v, own_v) = map(parts, (q, k, v))
  masks = prompt_mask.replace(window=window), mask.replace(window=window)
  options = {'cap': config.attention_cap, 'sinks': sinks}
  y = attention.within_sequence(q, k, v, masks[0], **options)
  own_y = attention.within_group(own_q, k, v, own_k, own_v, *masks, **options)
  own_y = own_y.reshape(b, -1, *y.shape[2:])
  return jnp.concatenate([y, own_y], axis=1), None


def _attend_rows(config, prompt_mask, mask, window, q, k, v):
  """`_attend_group` of rows that repeat their prompt, in attention alone.

  Fused kernels know one sequence, and not one softmax over two.
  """
  b, p = prompt_mask.valid.shape
  g, t = mask.valid.shape[1:]

  def rows(x):
    own = x[:, p:].reshape(b, g, t, *x.shape[2:])
    prompt = jnp.broadcast_to(x[:, None, :p], (b, g, p, *x.shape[2:]))
    return jnp.concatenate([prompt, own], axis=2).reshape(
      b * g, p + t, *x.shape[2:]
    )

  valid = jnp.concatenate(
    [prompt_mask.valid, mask.valid.reshape(b, -1)], axis=1
  )
  q, k, v, valid = map(rows, (q, k, v, valid))
  y = fused.attend(config.kernel, q, k, v, valid, window)
  y = y.reshape(b, g, p + t, *y.shape[2:])
  own = y[:, :, p:].reshape(b, g * t, *y.shape[3:])
  # Every row says the same of the prompt.
  return jnp.concatenate([y[:, 0, :p], own], axis=1)


def _recur_sequence(config, mask, segments, keep, inputs, kernels, rate, beta):
  before = config.delta.empty(mask.shape[0], inputs['v'].dtype)
  y, after = delta.sequence(inputs, kernels, rate, beta, mask, before, segments)
  return y, after if keep else None


def _recur_group(config, prompt_mask, mask, inputs, kernels, rate, beta):
  b, p = prompt_mask.shape
  groups = mask.shape

  def read(cut, mask, before):
    x, own_rate, own_beta = jax.tree.map(cut, (inputs, rate, beta))
    return delta.sequence(x, kernels, own_rate, own_beta, mask, before)

  empty = config.delta.empty(b, inputs['v'].dtype)
  y, states = read(lambda x: x[:, :p], prompt_mask, empty)
  own_y, _ = read(
    lambda x: x[:, p:].reshape(-1, groups[2], *x.shape[2:]),
    mask.reshape(-1, groups[2]),
    delta.of_rows(states, groups[1]),
  )
  own_y = own_y.reshape(b, -1, *y.shape[2:])
  return jnp.concatenate([y, own_y], axis=1), None
