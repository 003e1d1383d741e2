"""Masked: a masked-diffusion language model learns to sort digits.

The questions are all words of L digits below V; a response is worth the share
of its positions that hold what the sorted word has there:

    r = 1 / L sum_i 1[x^i = sorted(q)^i]    in [0, 1], paid with the last token

The answer is one word, so that tokens may be drawn independently and the best
that a policy can do is 1, in however many steps. Uniform tokens get 1 / V.
"""

from __future__ import annotations

import functools
import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxrl_llm.environments.base import row_keys
from jaxrl_llm.policies.language.config import Config, check_heads
from jaxrl_llm.policies.masked import Masked
from jaxrl_llm.problems import pure
from jaxrl_llm.problems.pure import fingerprints, recipe_of
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.types import Array, PyTree, Rollouts

__all__ = ['assemble', 'check', 'fingerprints', 'recipe_of']


def check(config: ConfigDict) -> None:
  """See `jaxrl_llm.problems.check`."""
  pure.check(config)
  check_heads('policy', config.policy.width, config.policy.heads)


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """See `jaxrl_llm.problems.assemble`."""
  del workdir
  digits, length = config.masked.digits, config.masked.length

  def policy_of(recipe: Recipe) -> Masked:
    size = config.policy
    decoder = Config(
      vocab=digits + 1,
      width=size.width,
      layers=size.layers,
      heads=size.heads,
      kv_heads=size.heads,
      head_dim=size.width // size.heads,
      mlp_width=size.mlp_width,
    )
    return Masked(
      decoder,
      length=length,
      steps=config.masked.steps,
      order=config.masked.order,
      estimate=config.masked.estimate,
      readings=config.masked.readings,
      temperature=config.sample.temperature,
      critic='values' in recipe.statistics,
    )

  return pure.assembled(
    config,
    policy_of,
    lambda policy: functools.partial(responses, policy),
    tasks=digits**length,
    columns=length,
    optimum=1.0,
    abstract=abstract,
  )


def words(tasks: Array, digits: int, length: int) -> Array:
  """i32[N, length]: the digits of each task's number, the highest first."""
  places = digits ** jnp.arange(length)[::-1]
  return tasks[:, None] // places % digits


@functools.partial(jax.jit, static_argnums=0)
def responses(
  policy: Masked, params: PyTree, tasks: Array, uids: Array, key
) -> Rollouts:
  """One response to each task's word, and what it is worth.

  Args:
    tasks: i32[N]. uids: i32[N], the identity of each row.
  """
  asked = words(tasks, policy.mask_token, policy.length)
  everywhere = jnp.ones(asked.shape, bool)
  content, logp = policy.write(params, asked, everywhere, row_keys(key, uids))
  wanted = jnp.sort(asked, axis=-1)
  wanted = jnp.take_along_axis(wanted, content.position, axis=-1)
  reward = jnp.mean(content.token == wanted, axis=-1)
  return pure.judged(content, logp, tasks, reward)
