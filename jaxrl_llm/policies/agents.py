"""Policies of several agents side by side, each with an optimizer of its own.

    params = {'agent_0': ..., 'agent_1': ...}

What is told of one policy is told of each: rows say who acted, in the extra
`agent`, and loop, checkpoints and reference see one tree. The agents share no
parameter, so the gradient of one is that of its own rows. Parameters of a
single policy are no agents', and all agents are it, told apart by what they
are asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_llm.types import Array, PyTree, Rollouts, Stats


def names(count: int) -> tuple[str, ...]:
  """Under which the parameters of each of some agents stand."""
  return tuple(f'agent_{number}' for number in range(count))


def copies(params: PyTree, count: int) -> PyTree:
  """Parameters of agents that begin alike; for one agent they are its own."""
  if count == 1:
    return params
  return {name: jax.tree.map(jnp.copy, params) for name in names(count)}


def own(params: PyTree, agent: int) -> PyTree:
  """The parameters by which an agent acts.

  Raises:
    ValueError: there is no such agent.
  """
  [first, name] = [*names(1), f'agent_{agent}']
  if first not in params:
    return params
  if name not in params:
    count = sum(key.startswith('agent_') for key in params)
    raise ValueError(
      f'agent {agent} acts, and {count} are trained, from 0 on; set '
      f'model.agents={agent + 1}'
    )
  return params[name]


def actors(
  params: PyTree, agents: Any, going: Any = True
) -> list[tuple[int, PyTree, np.ndarray]]:
  """Number and parameters of each who acts, and the rows where it does.

  Args:
    agents: i32[N], who acts in each row. going: bool[N], where anybody does.

  Returns:
    Masks bool[N]; of one policy, which is all agents, `going`.
  """
  agents, going = np.broadcast_arrays(agents, going)
  if names(1)[0] not in params:
    return [(0, params, going)]
  return [
    (number, own(params, number), going & (agents == number))
    for number in np.unique(agents[going]).tolist()
  ]


def scorer(inner: Callable[..., Stats], count: int) -> Callable[..., Stats]:
  """What the agent of each row says of it, where `inner` is told of one.

  Every agent reads all rows, and is heard where it acted, so that the shapes
  of programs do not depend on who acts: it costs as much as `count` policies.

  Args:
    inner: f(params, rollouts, needs) of one policy. Parameters that are no
      agent's are given to all.
  """
  if count == 1:
    return inner

  def score(params, rollouts: Rollouts, needs, **options) -> Stats:
    if 'agent' not in rollouts.extras:
      raise ValueError(
        'these rows do not say who acted, in the extra agent, and '
        f'model.agents={count} have policies of their own; set model.agents=1'
      )
    agent = rollouts.extras['agent']
    common = {k: x for k, x in params.items() if k not in names(count)}
    return together(
      (
        agent == number,
        inner(params[name] | common, rollouts, needs, **options),
      )
      for number, name in enumerate(names(count))
    )

  return score


def together(parts: Iterable[tuple[Any, PyTree]]) -> PyTree:
  """Leaves [N, ...] of which each row is that of the last whose mask has it.

  Args:
    parts: masks bool[N] with trees; what no mask has is of the first.
  """

  def choose(rows, a: Array, b: Array) -> Array:
    here = jnp.reshape(jnp.asarray(rows), (-1,) + (1,) * (a.ndim - 1))
    return jnp.where(here, a, b)

  [(_, found), *others] = parts
  for rows, part in others:
    found = jax.tree.map(functools.partial(choose, rows), part, found)
  return found


def apart(
  tx: optax.GradientTransformation, count: int, frozen: Sequence[int] = ()
) -> optax.GradientTransformation:
  """An optimizer that is `tx` of each agent by itself.

  A gradient's norm, say, is that of one agent. One without any gradient, as
  that of whom no row is learned from, stays as it is, and so do its moments and
  its place in a schedule, which counts its own steps.

  Args:
    frozen: numbers of agents that never learn.

  Raises:
    ValueError: an agent that there is not.
  """
  wrong = [number for number in frozen if number not in range(count)]
  if wrong:
    raise ValueError(
      f'the setting frozen names the agents {wrong}; there are {count}, from 0 '
      'on'
    )
  kinds = {
    name: optax.set_to_zero() if number in frozen else _resting(tx)
    for number, name in enumerate(names(count))
  }
  return optax.partition(kinds, {name: name for name in names(count)})


def _resting(tx) -> optax.GradientTransformation:
  """`tx`, which does nothing where nothing is to be learned."""
  tx = optax.with_extra_args_support(tx)

  def update(gradients, state, params=None, **more):
    moved = [jnp.any(x != 0) for x in jax.tree.leaves(gradients)]
    learns = jnp.any(jnp.stack(moved))
    updates, after = tx.update(gradients, state, params, **more)
    still = jax.tree.map(jnp.zeros_like, updates)
    return jax.tree.map(
      lambda a, b: jnp.where(learns, a, b), (updates, after), (still, state)
    )

  return optax.GradientTransformationExtraArgs(tx.init, update)
