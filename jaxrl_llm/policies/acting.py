"""A policy in an environment: whole rows as one compiled loop."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrl_llm.environments.base import Environment, row_keys
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
  start, acting, moving = jax.random.split(key, 3)
  own = row_keys(acting, uids)
  state = environment.reset(tasks, start, uids)

  def step(carry, time):
    state, live, cut, final, actor = carry
    observation, legal = environment.observe(state), environment.legal(state)
    keys = jax.vmap(jax.random.fold_in, (0, None))(own, time)
    action, logp = policy.act(params, observation, legal, keys)
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
