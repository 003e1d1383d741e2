"""Which experts the tokens of a response had, from the sampler to the learner.

Where two experts are nearly as probable, rounding decides, and it decides
otherwise in the sampler's program than in the learner's: a token then goes
through another map, and what it says differs by more than rounding. Under
`Config.replay` the sampler keeps the experts of every token that it reads, and
the scorer goes through the same ones,

    routes[n, t] = experts of the token before decision t, layer by layer,

[N, T, L, k] of one byte each up to 128 experts and of two beyond, -1 where a
token chooses for itself: the last one of the prompt, which is read with the
prompt, and those that somebody else wrote.

Source: Rollout Routing Replay, arXiv 2510.11370, section 4, where the tokens of
prompts are replayed, too.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.types import Array


def none(config: Config, *shape: int) -> Array:
  """[*shape, k] of tokens that choose for themselves."""
  dtype = jnp.int8 if config.experts <= 128 else jnp.int16
  return jnp.full((*shape, config.experts_per_token), -1, dtype)


def of_step(config: Config, cache) -> Array | None:
  """[N, L, k] of the tokens that a step read; None without replay."""
  if not config.replay:
    return None
  each = [layer['routes'] for layer in cache]
  if each[0].ndim == 2:
    return jnp.stack(each, axis=1)
  # By periods, which are axis 1, and places in them.
  stacked = jnp.stack(each, axis=2)
  return stacked.reshape(len(stacked), config.layers, -1)


def of_tokens(routes: Array) -> Array:
  """[N, T, L, k] of the tokens themselves, from those before each decision.

  Nothing is read of the last one.
  """
  return jnp.concatenate(
    [routes[:, 1:], jnp.full_like(routes[:, :1], -1)], axis=1
  )
