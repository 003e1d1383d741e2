"""Rows that a plan keeps until a later iteration, as columns by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import arranged
from jaxrl_llm.types import Tokens

_FIELDS = (
  'content',
  'response_mask',
  'action_mask',
  'logp',
  'paid',
  'task',
  'domain',
  'valid',
  'truncated',
)


def columns(rollouts, components=None):
  """{name: [N, ...]}: what is kept of each row, by name."""
  found = {name: getattr(rollouts, name) for name in _FIELDS}
  found |= rollouts.extras
  return found if components is None else found | {'components': components}


def blank(spec, *leading, provides=()):
  """The same, of rows [*leading] of zeros.

  Args:
    provides: names of extras that a plan adds, bool[N].
  """

  def empty(dtype, *shape):
    return jnp.zeros((*leading, *shape), dtype)

  prompt, response = spec.prompt_length, spec.response_length
  return {name: empty(bool) for name in provides} | {
    'content': Tokens(
      prompt=empty(jnp.int32, prompt),
      prompt_mask=empty(bool, prompt),
      response=empty(jnp.int32, response),
    ),
    'response_mask': empty(bool, response),
    'action_mask': empty(bool, response),
    'logp': empty(jnp.float32, response),
    'paid': empty(jnp.float32, response),
    'task': empty(jnp.int32),
    'domain': empty(jnp.int32),
    'valid': empty(bool),
    'truncated': empty(bool),
    'log_mass': empty(jnp.float32, response),
    'components': empty(jnp.float32, spec.components),
  }


def check(rollouts, kept):
  """Refuses rows with more than what is kept of them."""
  unknown = sorted(rollouts.extras.keys() - kept.keys())
  if unknown:
    raise ValueError(
      f'the buffer cannot keep {unknown} of earlier responses; sample '
      'without them (sample.support=0, model.replay_routes=False)'
    )


def rows(rollouts, columns):
  """The rollouts with these columns, without components; group ids stay."""
  fields = {name: columns[name] for name in _FIELDS}
  other = columns.keys() - {*_FIELDS, 'components'}
  return rollouts.replace(**fields, extras={n: columns[n] for n in other})


@jax.jit
def exchanged(fresh, kept, index, place):
  """What is learned from, of fresh and kept rows, and what is kept then.

  Args:
    fresh: [B, ...] and kept: [C, ...], columns of the same names.
    index: i32[B], into the fresh rows and the kept ones behind them.
    place: i32[B], where each fresh row is kept, C for nowhere.
  """
  mixed = arranged.picked(fresh, kept, index)
  kept = jax.tree.map(lambda a, b: b.at[place].set(a, mode='drop'), fresh, kept)
  return mixed, kept


def mixed(rollouts, scores, memory, index, place, *, samples=0):
  """Rows some of which are earlier ones, their scores, and what is kept then.

  Args:
    memory: of `blank`, as many leading axes as things are kept by.
    index, place: as of `exchanged`.
    samples: rows of a group, where groups are kept; 0 where single rows are.

  Raises:
    ValueError: rows with more than what is kept of them.
  """
  check(rollouts, memory)
  fresh = columns(rollouts, scores.components)
  if samples:
    fresh = jax.tree.map(lambda x: x.reshape(-1, samples, *x.shape[1:]), fresh)
  found, memory = exchanged(fresh, memory, index, place)
  if samples:
    found = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
  scores = scores.replace(components=found['components'])
  return rows(rollouts, found), scores, memory
