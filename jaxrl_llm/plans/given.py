"""Responses that the policy did not choose: none, or tokens that are known."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.types import Prompts, Rollouts, Tokens

# What the sampler says of every token, and its value where there is none.
EMPTY = {'log_mass': 0.0, 'support': -1, 'routes': -1}


def blank(prompts: Prompts, samples: int, columns: int) -> Rollouts:
  """`samples` empty responses to each prompt, of T columns.

  `truncated` is True: nothing has ended them.
  """
  count = prompts.tokens.shape[0]

  def by_row(x):
    return jnp.repeat(jnp.asarray(x), samples, axis=0)

  shape = (count * samples, columns)
  off = jnp.zeros(shape, bool)
  return Rollouts(
    content=Tokens(
      prompt=by_row(prompts.tokens),
      prompt_mask=by_row(prompts.mask),
      response=jnp.zeros(shape, jnp.int32),
    ),
    response_mask=off,
    action_mask=off,
    logp=jnp.zeros(shape, jnp.float32),
    paid=jnp.zeros(shape, jnp.float32),
    group=by_row(jnp.arange(count, dtype=jnp.int32)),
    task=by_row(prompts.task),
    domain=by_row(prompts.domain),
    valid=jnp.ones(shape[0], bool),
    truncated=jnp.ones(shape[0], bool),
    extras=jax.tree.map(by_row, dict(prompts.extras)),
  )


def written(rollouts: Rollouts, ids: Sequence[Sequence[int]]) -> Rollouts:
  """Rows with the same prompts whose responses the policy did not choose.

  Args:
    rollouts: N rows of T columns.
    ids: the tokens of each response, N sequences of at most T.

  Returns:
    N rows of T columns, without actions.
  """
  response = np.zeros(rollouts.content.response.shape, np.int32)
  for row, tokens in enumerate(ids):
    response[row, : len(tokens)] = tokens
  length = np.array([len(tokens) for tokens in ids])
  mask = np.arange(response.shape[1]) < length[:, None]
  extras = {
    name: jnp.full_like(rollouts.extras[name], empty)
    for name, empty in EMPTY.items()
    if name in rollouts.extras
  }
  return rollouts.replace(
    content=rollouts.content.replace(response=jnp.asarray(response)),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.zeros(mask.shape, bool),
    logp=jnp.zeros(mask.shape, jnp.float32),
    paid=jnp.zeros(mask.shape, jnp.float32),
    truncated=jnp.zeros(len(ids), bool),
  ).with_extras(**extras)
