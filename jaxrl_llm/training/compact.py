"""Several iterations of a pure problem as one compiled program.

What the loop does between iterations (logs, checkpoints, evaluation) is left
out, so thousands of small iterations cost no trip to the host, and many seeds
run side by side. The state after k iterations is that of the loop.
"""

from __future__ import annotations

import dataclasses
import functools

import jax

from jaxrl_llm.training.keys import Purpose, key_for
from jaxrl_llm.training.session import Session
from jaxrl_llm.types import Array, TrainState


def iteration(session: Session, state: TrainState, seed: Array):
  """One iteration, and its metrics; jittable where the problem is pure.

  Args:
    seed: of the run, i32[].
  """
  step = state.step
  tools = session.lend(state, key_for(seed, step, Purpose.TASKS))
  rollouts, scores, plan = session.recipe.plan.collect(
    tools,
    tools.draw(),
    state.method['plan'],
    key_for(seed, step, Purpose.SAMPLE),
  )
  scores = tools.compare(rollouts, scores)
  state, rollouts, credit, metrics = session.program.iterate(
    state, session.fixed, rollouts, scores, key_for(seed, step, Purpose.LEARN)
  )
  heard = session.recipe.curriculum.update(
    tools.curriculum, rollouts.task, credit.rewards, rollouts.valid
  )
  held = {'curriculum': heard, 'plan': plan}
  return state.replace(method=state.method | held), metrics


@functools.partial(jax.jit, static_argnums=(0, 2), donate_argnums=1)
def iterations(session: Session, state: TrainState, count: int, seed: Array):
  """`count` iterations on from a state, and their metrics [count, ...]."""
  return _iterations(session, state, count, seed)


def _iterations(session, state, count, seed):
  def step(state, _):
    return iteration(session, state, seed)

  return jax.lax.scan(step, state, None, length=count)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def seeds(session: Session, init, count: int, numbers: Array):
  """`count` iterations from scratch for each seed, side by side.

  Args:
    init: f(key) -> trainable parameters; the same function again is compiled
      no second time.
    numbers: i32[S], seeds.

  Returns:
    States and metrics with leading axis [S].
  """

  def one(seed):
    spec = dataclasses.replace(session.spec, seed=seed)
    state = session.program.init(init(jax.random.key(seed)), spec)
    return _iterations(session, state, count, seed)

  return jax.vmap(one)(numbers)
