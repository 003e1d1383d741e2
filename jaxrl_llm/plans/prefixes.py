"""Responses as prefixes: to go on from, to write into, to branch at.

A prefix moved into the left-padded prompt is sampled from by the ordinary
sampler, at one shape whatever the cuts, and what comes of it is put behind the
prefix again. Rows keep their T columns throughout.

    prompts = as_prompts(rollouts, cut)
    more    = tools.generate(prompts, key, 1)
    rows    = joined(rollouts, cut, more)

which is `continued(tools, rollouts, cut, key)`.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm.plans import arranged, given
from jaxrl_llm.types import Array, Prompts, Rollouts


@jax.jit
def as_prompts(rollouts: Rollouts, cut: Array) -> Prompts:
  """Prompts that end with the first `cut` tokens of each response.

  Args:
    rollouts: N rows of P + T columns.
    cut: i32[N] in [0, length].

  Returns:
    N prompts of P + T columns, left padded without gaps between prompt and
    prefix.
  """
  width = rollouts.content.response.shape[1]
  chex.assert_shape(cut, rollouts.valid.shape)
  tokens = jnp.concatenate(
    [rollouts.content.prompt, rollouts.content.response], axis=1
  )
  mask = jnp.concatenate(
    [rollouts.content.prompt_mask, rollouts.response_mask], axis=1
  )
  source = jnp.arange(tokens.shape[1]) - (width - cut)[:, None]
  place = jnp.maximum(source, 0)
  tokens = jnp.take_along_axis(tokens, place, axis=1)
  mask = jnp.take_along_axis(mask, place, axis=1) & (source >= 0)
  return Prompts(
    tokens=jnp.where(mask, tokens, 0),
    mask=mask,
    task=rollouts.task,
    domain=rollouts.domain,
  )


@jax.jit
def joined(
  rollouts: Rollouts, cut: Array, more: Rollouts, going: Array | None = None
) -> Rollouts:
  """The first `cut` tokens of each response, then those of `more`.

  Args:
    rollouts: N rows. cut: i32[N] in [0, length].
    more: N rows, in the same order, of any number of columns.
    going: bool[N]; others stay as they are. None is all.

  Returns:
    N rows in the T columns of `rollouts`. What does not fit is lost, and the
    row then counts as truncated.
  """
  columns = rollouts.content.response.shape[1]
  going = jnp.ones_like(rollouts.valid) if going is None else going
  source = jnp.arange(columns) - cut[:, None]
  before = (source < 0) | ~going[:, None]
  behind = arranged.moved(more, source)

  def spliced(old, new):
    here = before.reshape(before.shape + (1,) * (old.ndim - 2))
    return jnp.where(here, old, new)

  extras = dict(rollouts.extras)
  for name, empty in given.EMPTY.items():
    if name in behind.extras:
      new = behind.extras[name]
      none = jnp.full_like(new, empty)
      extras[name] = spliced(extras.get(name, none), new)
  late = more.truncated | (cut + more.length > columns)
  response = spliced(rollouts.content.response, behind.content.response)
  return rollouts.replace(
    content=rollouts.content.replace(response=response),
    response_mask=spliced(rollouts.response_mask, behind.response_mask),
    action_mask=spliced(rollouts.action_mask, behind.action_mask),
    logp=spliced(rollouts.logp, behind.logp),
    paid=spliced(rollouts.paid, behind.paid),
    truncated=jnp.where(going, late, rollouts.truncated),
    extras=extras,
  )


def continued(
  tools,
  rollouts: Rollouts,
  cut: Array,
  key: Array,
  *,
  samples: int = 1,
  most: int = 0,
  going: Array | None = None,
) -> Rollouts:
  """The first `cut` tokens of each response, then what the policy writes.

  Args:
    rollouts: N rows. cut: i32[N] in [0, length]. `samples` adjacent rows have
      the same cut and the same tokens before it, which are read once for all
      of them.
    most: tokens that are written; 0 is the budget of the run.
    going: as of `joined`.

  Returns:
    N rows in the T columns of `rollouts`.
  """
  parents = jax.tree.map(lambda x: x[::samples], (rollouts, cut))
  more = tools.generate(as_prompts(*parents), key, samples, most=most)
  return joined(rollouts, cut, more, going)


def shortened(rollouts: Rollouts, cut: Array) -> Rollouts:
  """The first `cut` tokens of each response alone, i32[N]."""
  nothing = given.written(rollouts, [()] * len(rollouts.valid))
  return joined(rollouts, cut, nothing)
