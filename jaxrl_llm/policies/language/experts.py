"""Mixtures of experts: MLPs of which every token is given a few.

    p_n  = softmax(W x_n)                                  over E experts
    w_nj = the k largest p_ne, j = 1..k, and e_nj their experts
    w_nj = w_nj / sum_i w_ni,                  if `config.experts_norm`
    y_n  = sum_j w_nj down_e(act(gate_e x_n) * up_e x_n),      e = e_nj

with biases of W and of the maps where there are parameters of them.

No token is dropped, whatever the experts' loads. The rows of each expert are
brought together in blocks of its own, the last of which is filled up with
zeros, so that every block is one product and the work is that of the chosen
experts: k n rows, and less than a block more for each expert.

Rows of a batch that a mesh splits over `data` are brought together on their
own device alone, and the experts are split over `model` (their columns, where
the axis does not divide their number): each device adds up what its experts
say of its rows, and one sum over `model` completes it. The mesh is the one
that `jax.sharding.get_abstract_mesh` knows, see `shard.Layout.known`. Without
it the result is the same, and XLA decides where it is computed.

Letters beside those of `transformer`: E experts, k of them a
token, n tokens, C = k n choices, b rows of a block, Q blocks; l lanes, which
are computed side by side and share no block.

Source: Mixtral, arXiv 2401.04088, section 2.1, and the published code of
`transformers` for it and for Qwen 3; blocks as in MegaBlocks, arXiv 2211.15841,
section 4.

On a TPU, `jax.lax.ragged_dot` multiplies all blocks of a lane at once, and each
device of a mesh has one lane; elsewhere they are a loop. Where there is no
routine of the platform, `ragged_dot` multiplies every row by every expert and
masks the rest. So it is on a CPU (6 to 35 times as long, `python -m
experiments.benchmarks.mixtures`), and on GPUs of NVIDIA, for which XLA expands
it by default; the kernel that JAX has for them is in none of its packages
(jax-ml/jax issue 40888).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxrl_llm.policies.language.config import Config

Array = jax.Array

# Rows of a block: enough for its product to pay for reading the kernel, and
# few enough that the zeros of the last one of each expert cost little.
_FEWEST, _MOST = 8, 128


def mixture(
  params,
  config: Config,
  x: Array,
  gated: Callable[[Array, Array], Array],
  routed: tuple[Array, Array] | None = None,
) -> Array:
  """What the chosen experts say of every token.

  Args:
    params: 'router' with 'kernel' [D, E], and 'experts' with 'gate' and 'up'
      [E, D, F] and 'down' [E, F, D], and biases of the names, '_bias' added.
    x: dtype[..., D], n tokens in all.
    gated: f(gate, up) -> what goes down; act(gate) * up above.
    routed: what `route` said of x; None asks it.

  Returns:
    dtype[..., D]. Weights and their sum are float32, products are of x's
    dtype. The backward pass computes the products with gate and up again.
  """
  weights, chosen = routed or route(params['router'], config, x)
  kernels = {name: y.astype(x.dtype) for name, y in params['experts'].items()}
  biases = kernels.pop('down_bias', None)
  k = config.experts_per_token

  def rows(y, *axes):
    return y.reshape(x.shape[0], -1, *axes)

  y = _mixed(
    gated,
    kernels,
    rows(x, config.width),
    rows(weights, k),
    rows(chosen, k),
  )
  y = y.reshape(x.shape)
  if biases is not None:
    # As a product with all experts: E is small beside what a token computes.
    one_hot = chosen[..., None] == jnp.arange(config.experts)
    weights = jnp.sum(jnp.where(one_hot, weights[..., None], 0.0), axis=-2)
    y = y + jnp.tensordot(weights, biases.astype(jnp.float32), 1)
  return y.astype(x.dtype)


def route(
  router, config: Config, x: Array, routes: Array | None = None
) -> tuple[Array, Array]:
  """The weights of the experts of each token, and which they are.

  Args:
    router: 'kernel' [D, E] and, where there is one, 'bias' [E].
    x: dtype[..., D].
    routes: i8 or i16[..., k], experts that tokens have whatever their
      probabilities, -1 where they choose; None is -1 everywhere. Weights, and
      so the router's gradient, are of the experts that a token has.

  Returns:
    f32[..., k], falling where tokens choose, and i32[..., k]; of equal experts
    the first ones. Below float32, Qwen's published code rounds the weights to
    x's dtype and Mixtral's does not; here they are not rounded.
  """
  scores = jnp.tensordot(x, router['kernel'].astype(x.dtype), 1)
  if 'bias' in router:
    scores = scores + router['bias'].astype(x.dtype)
  probs = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
  left, ranked = probs, []
  # `jax.lax.top_k` would bring all tokens to every device of a mesh.
  for _ in range(config.experts_per_token):
    ranked.append(jnp.argmax(left, axis=-1))
    taken = jnp.arange(config.experts) == ranked[-1][..., None]
    left = jnp.where(taken, -1.0, left)
  chosen = jnp.stack(ranked, axis=-1)
  if routes is not None:
    chosen = jnp.where(routes >= 0, routes.astype(chosen.dtype), chosen)
  weights = jnp.take_along_axis(probs, chosen, axis=-1)
  if config.experts_norm:
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
  return weights, chosen


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mixed(gated, kernels, x, weights, chosen):
  """f32[N, S, D] of x[N, S, D], weights f32[N, S, k], chosen i32[N, S, k]."""
  forward = functools.partial(_forward, gated)
  return _in_lanes(forward)(kernels, x, weights, chosen)[1]


def _mixed_forward(gated, *inputs):
  return _mixed(gated, *inputs), inputs


def _mixed_backward(gated, inputs, slope):
  backward = functools.partial(_backward, gated)
  of_kernels, of_rows = _in_lanes(backward, tuple(inputs[0]))(*inputs, slope)
  return of_kernels, *of_rows, None


_mixed.defvjp(_mixed_forward, _mixed_backward)


def _in_lanes(core, summed: tuple[str, ...] = ()):
  """f(kernels, *rows[N, S, ...]) -> sums over all rows, rows [N, S, ...].

  Lanes are the rows of each device on `data`; under `vmap`, whose elements
  have sums of their own, those of each element.

  Args:
    core: the same of rows [l, n, ...], with sums of each lane.
    summed: the kernels that it gives sums of.
  """

  def by_lane(count, kernels, rows):
    split = [x.reshape(count, -1, x.shape[-1]) for x in rows]
    sums, outputs = _on_devices(core, summed)(kernels, *split)
    shape = rows[0].shape[:-1]
    return sums, jax.tree.map(lambda x: x.reshape(*shape, -1), outputs)

  def plain(kernels, *rows):
    data = _known().get('data', 1)
    count = 1 if rows[0].shape[0] % data else data
    sums, outputs = by_lane(count, kernels, rows)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), outputs

  call = jax.custom_batching.custom_vmap(plain)

  @call.def_vmap
  def of_vmap(size, batched, kernels, *rows):
    if any(jax.tree.leaves(batched[0])):
      axes = jax.tree.map(lambda each: 0 if each else None, tuple(batched))
      result = jax.vmap(plain, axes, axis_size=size)(kernels, *rows)
    else:
      lanes = [
        x if each else jnp.broadcast_to(x, (size, *x.shape))
        for x, each in zip(rows, batched[1:])
      ]
      result = by_lane(size, kernels, lanes)
    return result, jax.tree.map(lambda _: True, result)

  return call


def _known():
  """Sizes of the axes of the mesh that this is traced for, by name."""
  return jax.sharding.get_abstract_mesh().shape


def _on_devices(core, summed):
  """f(kernels, *rows) that calls `core` on each device's rows and experts.

  Args:
    core: f(kernels, ids, *rows) -> sums by the names in `summed`, outputs.
  """

  def call(kernels, *rows):
    experts, _, columns = kernels['gate'].shape
    inputs = kernels, jnp.arange(experts), *rows
    model, data = (_known().get(name, 1) for name in ('model', 'data'))
    split = model > 1 and not (experts % model and columns % model)
    lanes = 'data' if data > 1 and rows[0].shape[0] % data == 0 else None
    if not (split or lanes):
      return core(*inputs)
    axis = 'model' if split else None
    # Experts apart or, where they cannot be, the columns of every one.
    apart = experts % model == 0
    wide = PartitionSpec(axis) if apart else PartitionSpec(None, None, axis)
    tall = PartitionSpec(axis) if apart else PartitionSpec(None, axis)
    ids = PartitionSpec(axis) if apart else PartitionSpec()
    # Of biases, too, an axis less wide: their columns are those of kernels.
    flat = wide if apart else PartitionSpec(None, axis)
    places = {'gate': wide, 'up': wide, 'down': tall}
    places |= {name: flat for name in kernels if name.endswith('_bias')}
    own_rows = PartitionSpec(lanes)

    def own(*inputs):
      sums, outputs = core(*inputs)
      return sums, jax.lax.psum(outputs, axis) if axis else outputs

    return jax.shard_map(
      own,
      in_specs=(places, ids, *[own_rows] * len(rows)),
      out_specs=(
        {name: PartitionSpec(lanes, *places[name]) for name in summed},
        own_rows,
      ),
      axis_names={name for name in (axis, lanes) if name},
      # Nothing differentiates through this, which is what the check is for.
      check_vma=False,
    )(*inputs)

  return call


def _forward(gated, kernels, ids, x, weights, chosen):
  """What the experts `ids` say, f32[l, n, D]; no sums over rows."""
  places = _places(ids, chosen)
  _, _, h = _hidden(gated, kernels, places, x)
  y = _taken(_products(places, h, kernels['down']), places.place)
  y = y.reshape(*weights.shape, -1).astype(jnp.float32)
  return {}, jnp.sum(y * weights[..., None], axis=2)


def _backward(gated, kernels, ids, x, weights, chosen, slope):
  """The pullback of `_forward`: of kernels by lane, and of x and weights."""
  places = _places(ids, chosen)
  gate, up, h = _hidden(gated, kernels, places, x)
  weight = _spread(places, weights.reshape(*chosen.shape[:1], -1, 1), 1)
  slope = _spread(places, slope.astype(x.dtype), chosen.shape[-1])
  # Of an answer, were its weight 1: its product with h is the weight's slope.
  of_h = _products(places, slope, kernels['down'].swapaxes(1, 2))
  of_weight = jnp.sum((h * of_h).astype(jnp.float32), axis=-1, keepdims=True)
  weight = weight.astype(x.dtype)
  _, pull = jax.vjp(gated, gate, up)
  of_gate, of_up = pull(weight * of_h)
  rows = _spread(places, x, chosen.shape[-1])
  of_x = _products(places, of_gate, kernels['gate'].swapaxes(1, 2))
  of_x += _products(places, of_up, kernels['up'].swapaxes(1, 2))
  of_kernels = {
    'gate': _outer(places, rows, of_gate, kernels['gate']),
    'up': _outer(places, rows, of_up, kernels['up']),
    'down': _outer(places, weight * h, slope, kernels['down']),
  }
  for name, of_rows in (('gate_bias', of_gate), ('up_bias', of_up)):
    if name in kernels:
      of_kernels[name] = _totals(places, of_rows, kernels[name])
  of_x = _taken(of_x, places.place).reshape(*chosen.shape, -1)
  of_x = jnp.sum(of_x.astype(jnp.float32), axis=2).astype(x.dtype)
  of_weights = _taken(of_weight, places.place).reshape(weights.shape)
  return of_kernels, (of_x, of_weights)


def _hidden(gated, kernels, places, x):
  """Gate, up and their product of every row in its block, [l, Q, b, F]."""
  k = places.place.shape[1] // x.shape[1]
  rows = _spread(places, x, k)
  gate, up = (
    _products(places, rows, kernels[name], kernels.get(f'{name}_bias'))
    for name in ('gate', 'up')
  )
  return gate, up, gated(gate, up)


class _Places(NamedTuple):
  """Which choices lie in which blocks.

  Attributes:
    place: i32[l, C], of each choice, counted over blocks; Q b for that of an
      expert who is not here.
    choice: i32[l, Q b], in each place; C for none.
    expert: i32[l, Q], whose block it is; any for one that is not used.
    used: i32[], blocks used, of the lane that uses most.
    sizes: i32[l, E], places in the blocks of each expert.
  """

  place: Array
  choice: Array
  expert: Array
  used: Array
  sizes: Array


def _places(ids, chosen) -> _Places:
  """Finds a place for the choices [l, n, k] of the experts `ids`, adjacent."""
  experts, count = ids.shape[0], math.prod(chosen.shape[1:])
  rows = _rows_of_block(count, experts)
  blocks = min(count, count // rows + experts)

  def of_lane(chosen):
    expert = chosen.reshape(-1) - ids[0]
    here = (expert >= 0) & (expert < experts)
    expert = jnp.where(here, expert, experts)
    loads = jnp.bincount(expert, length=experts + 1)
    first = jnp.cumsum(loads) - loads
    filled = -(-loads // rows)
    last = jnp.cumsum(filled)
    order = jnp.argsort(expert)
    ranks = jnp.arange(count)
    rank = jnp.zeros_like(order).at[order].set(ranks) - first[expert]
    place = (last - filled)[expert] * rows + rank
    place = jnp.where(here, place, blocks * rows)
    choice = jnp.full(blocks * rows, count)
    choice = choice.at[place].set(ranks, mode='drop')
    ended = last[:experts] <= jnp.arange(blocks)[:, None]
    owner = jnp.minimum(jnp.sum(ended, axis=-1), experts - 1)
    sizes = filled[:experts] * rows
    return place, choice, owner, last[experts - 1], sizes

  place, choice, expert, used, sizes = jax.vmap(of_lane)(chosen)
  return _Places(place, choice, expert, jnp.max(used), sizes)


def _rows_of_block(choices: int, experts: int) -> int:
  """The power of 2 above an even load, within bounds."""
  load = max(choices // experts, 1)
  return min(max(1 << (load - 1).bit_length(), _FEWEST), _MOST)


def _spread(places, x, each):
  """Rows [l, Q, b, ...] in their blocks, of x [l, C / each, ...], else 0."""
  # The choice that is none of C comes out as a row that is none of x.
  rows = _taken(x[:, None], places.choice // each)
  return rows.reshape(*places.expert.shape, -1, x.shape[-1])


def _taken(x, places):
  """x[l, Q, b, ...] at places [l, ...] counted over blocks; 0 beyond them."""
  flat = x.reshape(x.shape[0], -1, x.shape[-1])

  def take(x, place):
    return x.at[place].get(mode='fill', fill_value=0)

  return jax.vmap(take)(flat, places)


def _products(places, x, kernel, bias=None):
  """x_q K_e + b_e of every used block [l, Q, b, ...].

  Rows that fill a block up, and blocks that are not used, get 0 or the bias
  alone; nobody takes them.
  """

  def looped(places, x, kernel, bias):
    def product(x, expert):
      y = (x @ kernel[expert]).astype(x.dtype)
      return y if bias is None else y + bias[expert]

    def block(q, y):
      return y.at[:, q].set(jax.vmap(product)(x[:, q], places.expert[:, q]))

    y = jnp.zeros((*x.shape[:-1], columns), x.dtype)
    return jax.lax.fori_loop(0, places.used, block, y)

  def ragged(places, x, kernel, bias):
    rows = x.reshape(-1, x.shape[-1])
    y = jax.lax.ragged_dot(rows, kernel, places.sizes[0]).astype(x.dtype)
    y = y.reshape(*x.shape[:-1], columns)
    return y if bias is None else y + bias[places.expert][:, :, None]

  columns = kernel.shape[-1]
  return _by_platform(looped, ragged, places, x, kernel, bias)


def _by_platform(looped, ragged, places, x, *others):
  """`ragged` of one lane on TPUs, `looped` elsewhere; both say the same."""
  if len(x) > 1:
    return looped(places, x, *others)
  return jax.lax.platform_dependent(
    places, x, *others, tpu=ragged, default=looped
  )


# Rows of x and of y, grouped alike: one sum of products for each group.
_OF_GROUPS = jax.lax.RaggedDotDimensionNumbers(
  dot_dimension_numbers=(((0,), (0,)), ((), ())),
  lhs_ragged_dimensions=[0],
  rhs_group_dimensions=[],
)


def _totals(places, x, like):
  """The sums of all rows of each expert, [l, *like.shape]."""
  # Blocks that are not used hold zeros.
  rows = jnp.sum(x.astype(jnp.float32), axis=2)
  total = jnp.zeros((x.shape[0], *like.shape), jnp.float32)
  add = jax.vmap(lambda total, rows, expert: total.at[expert].add(rows))
  return add(total, rows, places.expert).astype(like.dtype)


def _outer(places, x, y, like):
  """sum_q x_q^T y_q over the blocks of each expert, [l, *like.shape]."""

  def add(total, x, y, expert):
    product = jnp.matmul(x.T, y, preferred_element_type=jnp.float32)
    return total.at[expert].add(product)

  def looped(places, x, y):
    def block(q, total):
      return jax.vmap(add)(total, x[:, q], y[:, q], places.expert[:, q])

    total = jnp.zeros((x.shape[0], *like.shape), jnp.float32)
    return jax.lax.fori_loop(0, places.used, block, total)

  def ragged(places, x, y):
    x, y = (z.reshape(-1, z.shape[-1]) for z in (x, y))
    return jax.lax.ragged_dot_general(
      x,
      y,
      places.sizes[0],
      _OF_GROUPS,
      preferred_element_type=jnp.float32,
    )[None]

  return _by_platform(looped, ragged, places, x, y).astype(like.dtype)
