"""A policy in an environment: whole rows as one compiled loop."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm.environments.base import Environment, row_keys
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.protocol import Actor
from jaxrl_llm.types import Array, PyTree, Rollouts, Transitions


@functools.partial(jax.jit, static_argnums=(0, 1))
def unroll(
  policy: Actor,
  environment: Environment,
  params: PyTree,
  tasks: Array,
  uids: Array,
  key: Array,
) -> Rollouts:
  """One episode of each row, T = horizon columns; see `played`."""
  rollouts = played(policy, environment, params, tasks, uids, key)
  return rollouts.replace(extras={})


@functools.partial(jax.jit, static_argnums=(0, 1))
def played(
  policy: Actor,
  environment: Environment,
  params: PyTree,
  tasks: Array,
  uids: Array,
  key: Array,
) -> Rollouts:
  """One episode of each row, T = horizon columns, and what else is known of it.

  What is random in a row is a function of (key, its uid), see
  `jaxrl_llm.environments.base`.

  Args:
    tasks: i32[N], where each row begins. uids: i32[N], its identity.

  Returns:
    Rollouts with `Transitions`. Columns after the end of a row are 0; `group`
    is the number of the row, and `truncated` says that the horizon ended it.
    The extras say of every step what `Outcome` does, for `plans.acted`:
    `actor` i32[N, T], who acted, `own` f32[N, T] and, of games, `seats`
    f32[N, T, S].
  """
  act = functools.partial(policy.act, params)
  return _episodes(act, uids, environment, tasks, uids, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def in_pairs(
  policy: Gaussian,
  environment: Environment,
  params: PyTree,
  tasks: Array,
  uids: Array,
  key: Array,
) -> Rollouts:
  """As `unroll`, in pairs of rows whose actions have opposite noise.

      a_{2i} = mean(s) + std z    a_{2i+1} = mean(s') - std z    z ~ N(0, I)

  A normal density is symmetric, so each row is drawn as if it were alone, and
  what is random in a pair is a function of (key, half its uid).

  Source: FAKER-Air, arXiv 2511.22169, where a group is sampled.
  """
  odd = (uids % 2 == 1)[:, None]

  def act(observation, legal, keys):
    action, logp = policy.act(params, observation, legal, keys)
    mirrored = 2 * policy.mode(params, observation) - action
    return jnp.where(odd, mirrored, action), logp

  rollouts = _episodes(act, uids // 2, environment, tasks, uids, key)
  return rollouts.replace(extras={})


def _episodes(
  act: Callable[[Array, Array | None, Array], tuple[Array, Array]],
  draws: Array,
  environment: Environment,
  tasks: Array,
  uids: Array,
  key: Array,
) -> Rollouts:
  """See `played`; rows of equal `draws`, i32[N], act with equal keys."""
  start, acting, moving = jax.random.split(key, 3)
  own = row_keys(acting, draws)
  state = environment.reset(tasks, start, uids)

  def step(carry, time):
    state, live, cut, final, actor = carry
    observation, legal = environment.observe(state), environment.legal(state)
    keys = jax.vmap(jax.random.fold_in, (0, None))(own, time)
    action, logp = act(observation, legal, keys)
    moved = jax.random.fold_in(moving, time)
    state, outcome = environment.step(state, action, moved)
    cut |= live & outcome.truncated
    final = _where(live, environment.observe(state), final)
    said = {
      'actor': actor,
      'own': outcome.reward if outcome.own is None else outcome.own,
    }
    if outcome.seats is not None:
      said['seats'] = outcome.seats
    column = jax.tree.map(
      lambda x: _where(live, x, jnp.zeros_like(x)),
      (observation, action, legal, logp, outcome.reward, said),
    )
    carry = state, live & ~outcome.ended, cut, final, outcome.agent
    return carry, (*column, live)

  nobody = jnp.zeros(tasks.shape, bool)
  first = environment.observe(state)
  carry = state, ~nobody, nobody, jnp.zeros_like(first), jnp.zeros_like(tasks)
  times = jnp.arange(environment.spec.horizon)
  (_, _, cut, final, _), columns = jax.lax.scan(step, carry, times)
  observation, action, legal, logp, reward, said, live = jax.tree.map(
    lambda x: jnp.moveaxis(x, 0, 1), columns
  )
  return Rollouts(
    content=Transitions(observation, action, final, legal),
    response_mask=live,
    action_mask=live,
    logp=logp,
    paid=reward,
    group=jnp.arange(tasks.shape[0], dtype=jnp.int32),
    task=tasks,
    domain=jnp.zeros_like(tasks),
    valid=~nobody,
    truncated=cut,
    extras=said,
  )


def _where(mask, x, y):
  return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, y)
