"""Flow: a flow policy is rewarded for points where its condition asks for them.

The conditions are places on a circle; a sample is worth more the nearer it is:

    r = exp(-|x_1 - place|^2 / 0.1)      in (0, 1], paid with the last step

The last step of a walk has the variance s = (noise / T)^2 whatever its mean, so
the best that a policy can do is E r = 1 / (1 + 2 s / 0.1).
"""

from __future__ import annotations

import functools
import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxrl_llm.environments.base import row_keys
from jaxrl_llm.policies.flow import Flow
from jaxrl_llm.problems import pure
from jaxrl_llm.problems.pure import check, fingerprints, recipe_of
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.types import Array, PyTree, Rollouts

__all__ = ['assemble', 'check', 'fingerprints', 'recipe_of']

_RADIUS, _WIDTH = 1.5, 0.1


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """See `jaxrl_llm.problems.assemble`."""
  del workdir
  places = config.flow.places

  def policy_of(recipe: Recipe) -> Flow:
    del recipe
    return Flow(
      condition=2,
      size=2,
      steps=config.flow.steps,
      widths=tuple(config.policy.widths),
      noise=config.flow.noise,
    )

  return pure.assembled(
    config,
    policy_of,
    lambda policy: functools.partial(walks, policy, places),
    tasks=places,
    columns=config.flow.steps,
    optimum=1 / (1 + 2 * (config.flow.noise / config.flow.steps) ** 2 / _WIDTH),
    abstract=abstract,
  )


def place_of(tasks: Array, places: int) -> Array:
  """f32[N, 2]: the place of each task, evenly on a circle."""
  angle = 2 * jnp.pi * tasks / places
  return _RADIUS * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def walks(
  policy: Flow, places: int, params: PyTree, tasks: Array, uids: Array, key
) -> Rollouts:
  """One walk of each row, and what its end is worth.

  Args:
    places: A. tasks: i32[N]. uids: i32[N], the identity of each row.
  """
  condition = place_of(tasks, places)
  path, logp = policy.walk(params, condition, row_keys(key, uids))
  away = jnp.sum((path.state[:, -1] - condition) ** 2, axis=-1)
  reward = jnp.exp(-away / _WIDTH)
  return pure.judged(path, logp, tasks, reward)
