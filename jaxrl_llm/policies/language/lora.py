"""Low-rank adaptation: train a small product beside each frozen kernel.

    y = x W + (x A) B * alpha / rank

The factors are leaves beside the kernel they adapt, so the decoder needs no
second code path; `split` and `join` keep the optimiser on the trained part.

Source: LoRA, arXiv 2106.09685, section 4.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxrl_llm.policies.language import parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.policies.protocol import Param
from jaxrl_llm.types import Array

TARGETS = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')
_TRAINED = ('lora_a', 'lora_b')
_LEAVES = (*_TRAINED, 'lora_scale')
_DECODER = ('embed', 'layers', 'final_norm', 'unembed', 'per_layer')


def maps(target: str) -> tuple[str, ...]:
  """The modules of `parameters.table` that a target means, where they are."""
  return tuple(own + target for own in parameters.PREFIXES.values())


def table(
  config: Config,
  *,
  rank: int,
  alpha: float,
  targets: Sequence[str] = TARGETS,
) -> dict[tuple[str, ...], Param]:
  """The added leaves by path, as in `parameters.table`.

  Args:
    rank: r, columns of A and rows of B.
    alpha: the product is multiplied by alpha / r.
    targets: which linear maps of every layer are adapted, whatever its kind:
      'q' means `delta_q` of a delta net.

  Returns:
    path -> `Param`: `lora_a` [L, inputs, r] normal, `lora_b` [L, r, outputs]
    zero, so that the first forward pass equals the base model's, and
    `lora_scale` [L], which is not trained.

  Raises:
    ValueError: a target the decoder does not have or, in a mixture of
      experts, has of each expert; a rank below 1.
  """
  unknown = sorted(set(targets) - set(TARGETS))
  if unknown or not targets:
    raise ValueError(
      f'LoRA targets {unknown or list(targets)} are not in {TARGETS}; name at '
      'least one of these.'
    )
  if rank < 1:
    raise ValueError(f'LoRA rank {rank} is below 1; use 1 or more.')
  base = parameters.table(config)
  absent = [each for each in targets if ('layers', each, 'kernel') not in base]
  if absent:
    raise ValueError(
      f'LoRA targets {absent} are {config.experts} experts in this model, '
      'whose maps are not adapted; name targets out of q, k, v, o.'
    )
  scale = jax.nn.initializers.constant(alpha / rank)
  zeros = jax.nn.initializers.zeros
  entries: dict[tuple[str, ...], Param] = {}
  for target in itertools.chain.from_iterable(map(maps, targets)):
    if ('layers', target, 'kernel') not in base:
      continue
    shape, axes, _ = base['layers', target, 'kernel']
    # The output of attention has two input axes.
    split = 3 if target in maps('o') else 2
    fan_in = math.prod(shape[1:split])
    entries |= {
      ('layers', target, 'lora_a'): Param(
        (*shape[:split], rank),
        (*axes[:split], None),
        jax.nn.initializers.normal(fan_in**-0.5),
      ),
      ('layers', target, 'lora_b'): Param(
        (shape[0], rank, *shape[split:]), (axes[0], None, *axes[split:]), zeros
      ),
      ('layers', target, 'lora_scale'): Param(shape[:1], axes[:1], scale),
    }
  return entries


def add(
  params: Params,
  config: Config,
  key: Array,
  *,
  rank: int,
  alpha: float,
  targets: Sequence[str] = TARGETS,
) -> Params:
  """`params` with the leaves of `table` in float32, kernels untouched."""
  entries = table(config, rank=rank, alpha=alpha, targets=targets)
  keys = jax.random.split(key, len(entries))
  flat = traverse_util.flatten_dict(params)
  for key, (path, entry) in zip(keys, entries.items()):
    flat[path] = entry.init(key, entry.shape, jnp.float32)
  return traverse_util.unflatten_dict(flat)


def split(params: Params) -> tuple[Params, Params]:
  """What the optimiser sees, and what it must not.

  Returns:
    (trainable, frozen), disjoint and together `params`. With LoRA leaves the
    decoder's other parameters are frozen, and heads beside it stay
    trainable; without any, all is trainable and frozen is {}.
  """
  flat = traverse_util.flatten_dict(params)
  if not any(path[-1] in _TRAINED for path in flat):
    return params, {}
  trainable = {
    path: leaf
    for path, leaf in flat.items()
    if path[-1] in _TRAINED or path[0] not in _DECODER
  }
  frozen = {path: flat[path] for path in flat if path not in trainable}
  return (
    traverse_util.unflatten_dict(trainable),
    traverse_util.unflatten_dict(frozen),
  )


def join(trainable: Params, frozen: Params) -> Params:
  """The inverse of `split`."""
  if not frozen:
    return trainable
  return traverse_util.unflatten_dict(
    traverse_util.flatten_dict(frozen) | traverse_util.flatten_dict(trainable)
  )


def merge(params: Params) -> Params:
  """Ordinary parameters that compute the same: A B * scale is in the kernels.

  The sum is made in float32 and rounded to the kernel's dtype.
  """
  flat = traverse_util.flatten_dict(params)
  merged = {p: leaf for p, leaf in flat.items() if p[-1] not in _LEAVES}
  for path in flat:
    if path[-1] != 'lora_a':
      continue
    a, b, scale = (flat[*path[:-1], name] for name in _LEAVES)
    delta = jax.vmap(lambda a, b, s: s * jnp.tensordot(a, b, 1))(a, b, scale)
    kernel = flat[*path[:-1], 'kernel']
    merged[*path[:-1], 'kernel'] = (kernel + delta).astype(kernel.dtype)
  return traverse_util.unflatten_dict(merged)
