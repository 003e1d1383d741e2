"""Heads beside the decoder: what a critic reads off the hidden state."""

from __future__ import annotations

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from jaxrl_llm.policies.language import hf
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.protocol import Param

Array = jax.Array

# The heads' places in the parameters, by what needs them.
NAMES = {'values': 'value_head', 'after_values': 'after_head'}
# Their file in a model folder, which other programs may ignore.
_FILE = 'heads.safetensors'


def value_table(
  config: Config, *, name: str = 'value_head', shape: tuple[int, ...] = ()
) -> dict[tuple[str, ...], Param]:
  """A value head's parameters by path, as `parameters.table` lists them.

  Args:
    name: of `NAMES`. shape: of what it answers to one hidden state; () is a
      number.
  """
  small = jax.nn.initializers.normal((config.width + 1) ** -0.5)
  axes = (None,) * len(shape)
  return {
    (name, 'kernel'): Param((config.width, *shape), ('embed', *axes), small),
    (name, 'bias'): Param(shape, axes, jax.nn.initializers.zeros),
  }


def init_value(
  config: Config, key: Array, dtype=jnp.float32, *, shape: tuple[int, ...] = ()
):
  """A linear head from the hidden state; see `value_table`."""
  entries = value_table(config, shape=shape)
  return {
    path[-1]: entry.init(key, entry.shape, dtype)
    for path, entry in entries.items()
  }


def value(params, hidden: Array) -> Array:
  """w . h + b, f32[..., *shape] from [..., D]."""
  kernel = params['kernel'].astype(jnp.float32)
  return hidden.astype(jnp.float32) @ kernel + params['bias']


def save(folder: pathlib.Path, params) -> None:
  """Writes the heads among the parameters beside a model; no file for none."""
  tensors = {
    f'{name}.{leaf}': np.ascontiguousarray(x)
    for name in NAMES.values()
    for leaf, x in params.get(name, {}).items()
  }
  if tensors:
    safetensors.numpy.save_file(tensors, folder / _FILE)
    # Which only its owner could read.
    shutil.copymode(next(folder.glob('*config.json')), folder / _FILE)


def load(folder: pathlib.Path) -> dict[str, dict[str, Array]]:
  """The heads of a reward model's folder, by their places in the parameters.

  Raises:
    ValueError: the folder has none, or one that holds NaN or infinity.
  """
  if not (found := kept(folder)):
    raise ValueError(
      f'{folder} holds no {_FILE}, and its config.json names no '
      '...ForSequenceClassification: it is no reward model. Train one with '
      'experiments/configs/preference.py:reward_model and --export'
    )
  return found


def kept(folder: pathlib.Path) -> dict[str, dict[str, Array]]:
  """The same of any model folder: {} where it has no head.

  Raises:
    ValueError: a head that holds NaN or infinity.
  """
  path = folder / _FILE
  found: dict[str, dict[str, Array]] = {}
  if not path.exists():
    return found
  for name, tensor in safetensors.numpy.load_file(path).items():
    hf.check_finite(f'{name} of {path}', tensor)
    head, _, leaf = name.partition('.')
    found.setdefault(head, {})[leaf] = jnp.asarray(tensor)
  return found
