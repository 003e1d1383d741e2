"""Reference policies: what the policy is held close to.

    init(params, spec) -> state      params(state) -> tree
    update(state, params, step) -> state
    opponent(state) -> tree

The state is a pytree checkpointed with the parameters. Arithmetic on whole
policies is `jax.tree.map`; with LoRA the trees are the trainable deltas, and
the frozen weights under them are shared. `step` counts finished iterations.
The opponent is who the policy plays against in games where somebody else does:
the reference itself, unless `Beside` says otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxrl_llm.types import Array, PyTree, Spec

# What tells the draws of `Pool` from the others of a seed.
_STREAM = 0x706F6F6C


class Reference(Protocol):
  """What holds the policy back."""

  def init(self, params: PyTree, spec: Spec) -> PyTree:
    """The state at the start, where the policy has these parameters."""

  def params(self, state: PyTree) -> PyTree:
    """The parameters of the reference."""

  def opponent(self, state: PyTree) -> PyTree:
    """The parameters of who the policy plays against."""

  def update(self, state: PyTree, params: PyTree, step: Array) -> PyTree:
    """The state after an iteration that ended with these parameters."""


def _mix(old: PyTree, new: PyTree, weight: Array | float) -> PyTree:
  return jax.tree.map(lambda a, b: a + weight * (b - a), old, new)


@dataclasses.dataclass(frozen=True)
class Frozen:
  """The policy the run started from."""

  def init(self, params, spec):
    del spec
    # A copy: the trainable buffers are donated to every learn step.
    return jax.tree.map(jnp.copy, params)

  def params(self, state):
    return state

  def opponent(self, state):
    return self.params(state)

  def update(self, state, params, step):
    del params, step
    return state


@dataclasses.dataclass(frozen=True)
class EMA(Frozen):
  """An exponential moving average: ref <- decay * ref + (1 - decay) * params.

  Attributes:
    decay: in [0, 1] per iteration; 0 follows the policy at one step's
      distance, 1 never moves.
  """

  decay: float = 0.99

  def update(self, state, params, step):
    del step
    return _mix(state, params, 1 - self.decay)


@dataclasses.dataclass(frozen=True)
class Periodic(Frozen):
  """Every so many iterations a step to the policy as it is then.

      ref <- ref + weight (params - ref)

  Attributes:
    every: iterations between two steps. weight: 1 takes the policy itself;
      with `every` of 1 it is a moving average.

  Source: TR-DPO, arXiv 2404.09656, with 512 and 0.6 in TRL.
  """

  every: int = 100
  weight: float = 1.0

  def update(self, state, params, step):
    take = step % self.every == 0
    # Exactly the policy, which a sum of differences is not.
    after = params if self.weight == 1 else _mix(state, params, self.weight)
    return jax.tree.map(lambda a, b: jnp.where(take, b, a), state, after)


@dataclasses.dataclass(frozen=True)
class Previous(Frozen):
  """The policy that the last iteration started from."""

  def init(self, params, spec):
    del spec
    return {
      'before': jax.tree.map(jnp.copy, params),
      'now': jax.tree.map(jnp.copy, params),
    }

  def params(self, state):
    return state['before']

  def update(self, state, params, step):
    del step
    return {'before': state['now'], 'now': params}


@dataclasses.dataclass(frozen=True)
class Pool(Frozen):
  """One of the last `count` checkpoints, drawn anew for every iteration.

  A checkpoint is taken at the start and every `every` iterations. Which one is
  drawn is a function of the run's seed and of the iteration.

  Attributes:
    count: K, copies that are held. every: iterations.
  """

  count: int = 7
  every: int = 30

  def init(self, params, spec):
    held = jax.tree.map(lambda x: jnp.stack([x] * self.count), params)
    # Its own stream: the loop folds steps and purposes into the same seed.
    key = jax.random.fold_in(jax.random.key(spec.seed), _STREAM)
    key = jax.random.key_data(key)
    return {'held': held, 'step': jnp.int32(0), 'key': key}

  def params(self, state):
    step = state['step']
    filled = jnp.minimum(step // self.every + 1, self.count)
    key = jax.random.fold_in(jax.random.wrap_key_data(state['key']), step)
    index = jax.random.randint(key, (), 0, filled)
    return jax.tree.map(lambda x: x[index], state['held'])

  def update(self, state, params, step):
    take = step % self.every == 0
    slot = step // self.every % self.count
    held = jax.tree.map(
      lambda a, b: jnp.where(take, a.at[slot].set(b), a), state['held'], params
    )
    return state | {'held': held, 'step': jnp.int32(step)}


@dataclasses.dataclass(frozen=True)
class Soup(Frozen):
  """A mean, in parameter space, of the start and of policies the run is given.

  Who makes the run gives it: the state begins as `souped` of them. Without any
  it is the start.
  """


def souped(params: PyTree, others: Sequence[PyTree], weight: float) -> PyTree:
  """(1 - weight) params + weight mean_k others_k, leaf by leaf.

  Leaves that the others lack, such as a critic's head, stay; sums are float32.

  Args:
    weight: in [0, 1].

  Raises:
    ValueError: a leaf of the others that is not among the parameters, or has
      another shape.
  """
  flat = traverse_util.flatten_dict(params)
  mixed = dict(flat)
  parts = [traverse_util.flatten_dict(other) for other in others]
  for path in dict.fromkeys(path for part in parts for path in part):
    same = [part[path] for part in parts if path in part]
    shapes = {x.shape for x in same} | {getattr(flat.get(path), 'shape', None)}
    if len(same) < len(parts) or len(shapes) > 1:
      raise ValueError(
        f'{"/".join(path)} is not the same in all policies of a soup, but of '
        f'shapes {sorted(map(str, shapes))}; give policies of one architecture'
      )
    mean = sum(x.astype(jnp.float32) for x in same) / len(same)
    mixed[path] = _mix(flat[path].astype(jnp.float32), mean, weight)
    mixed[path] = mixed[path].astype(flat[path].dtype)
  return traverse_util.unflatten_dict(mixed)


@dataclasses.dataclass(frozen=True)
class Extrapolate(Frozen):
  """A point on the line through the start and the present policy.

      ref = start + weight * (params - start)

  Attributes:
    weight: 0 is the start, 1 the present policy, between them a
      interpolation, beyond 1 an extrapolation.
  """

  weight: float = 0.5

  def init(self, params, spec):
    del spec
    start = jax.tree.map(jnp.copy, params)
    return {'start': start, 'now': jax.tree.map(jnp.copy, params)}

  def params(self, state):
    return _mix(state['start'], state['now'], self.weight)

  def update(self, state, params, step):
    del step
    return {'start': state['start'], 'now': params}


@dataclasses.dataclass(frozen=True)
class Beside(Frozen):
  """A reference, and beside it another policy to play against.

  Attributes:
    held: what costs refer to. rival: the opponent.
  """

  held: Reference = Frozen()
  rival: Reference = Previous()

  def init(self, params, spec):
    return {
      'held': self.held.init(params, spec),
      'rival': self.rival.init(params, spec),
    }

  def params(self, state):
    return self.held.params(state['held'])

  def opponent(self, state):
    return self.rival.params(state['rival'])

  def update(self, state, params, step):
    return {
      'held': self.held.update(state['held'], params, step),
      'rival': self.rival.update(state['rival'], params, step),
    }
