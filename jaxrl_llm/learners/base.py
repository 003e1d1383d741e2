"""Learners: what acts, observes and updates by a rule of its own.

    init(spec, key) -> state
    act(state, observation, key) -> (action, state)
    update(state, observation, action, outcome) -> state

All are pure and jittable, over N rows that share one state. `play` is their
one loop; `jax.vmap` over states or `seeds` of `play` runs many side by side.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl_llm.environments.base import Environment, Outcome, Spec, restarted
from jaxrl_llm.types import Array, PyTree


class Learner(Protocol):
  """What learns by acting."""

  def init(self, spec: Spec, key: Array) -> PyTree:
    """The state of one that has seen nothing.

    Args:
      key: of what is random in it, and later in `update`, which has none.

    Raises:
      ValueError: an environment that it cannot act in, and why.
    """

  def act(
    self, state: PyTree, observation: Array, key: Array
  ) -> tuple[Array, PyTree]:
    """The action of every row, and the state with what acting changes."""

  def update(
    self, state: PyTree, observation: Array, action: Array, outcome: Outcome
  ) -> PyTree:
    """The state that knows what the actions brought.

    A row whose action is no action of the environment counts for nothing.
    """


class History(struct.PyTreeNode):
  """What happened, each with leading axes [S, steps, N].

  Attributes:
    observation, action: before and of each step. outcome: what it brought.
    learner: the states after the last step, with leading axis [S].
  """

  observation: Array
  action: Array
  outcome: Outcome
  learner: PyTree


def play(
  learner: Learner,
  environment: Environment,
  steps: int,
  key: Array,
  *,
  tasks: Array | None = None,
  seeds: int = 1,
) -> History:
  """A learner in an environment, from nothing, `seeds` times over.

  A row that has ended begins its task again. Jit it with the learner, the
  environment and the numbers static.

  Args:
    steps: of every row, however many episodes they are.
    key: of all runs. The run s is the same for any number of `seeds`.
    tasks: i32[N], what each row plays; None is one row of task 0.
  """
  tasks = jnp.zeros(1, jnp.int32) if tasks is None else jnp.asarray(tasks)

  def run(seed):
    root = jax.random.fold_in(key, seed)

    def step(carry, number):
      held, state = carry
      keys = jax.random.split(jax.random.fold_in(root, number), 3)
      observation = environment.observe(state)
      action, held = learner.act(held, observation, keys[0])
      state, outcome = environment.step(state, action, keys[1])
      held = learner.update(held, observation, action, outcome)
      state = restarted(environment, state, outcome.ended, tasks, keys[2])
      return (held, state), (observation, action, outcome)

    state = environment.reset(tasks, jax.random.fold_in(root, steps))
    held = learner.init(environment.spec, jax.random.fold_in(root, steps + 1))
    (held, _), seen = jax.lax.scan(step, (held, state), jnp.arange(steps))
    observation, action, outcome = seen
    return History(observation, action, outcome, learner=held)

  return jax.vmap(run)(jnp.arange(seeds))
