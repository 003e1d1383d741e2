"""The order of an iteration and its keys, on parts that only note them."""

import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.training import keys, loop
from jaxrl_llm.types import TrainState

SEED = 5


class Rows:
  """What an iteration passes on: the number of the batch it belongs to."""

  def __init__(self, number):
    self.number = self.task = self.rewards = self.valid = number


jax.tree_util.register_pytree_node(
  Rows, lambda rows: ((), rows.number), lambda number, _: Rows(number)
)


class Lent:
  """The tools of one iteration, of which the first call notes the key."""

  def __init__(self, session, state, key, meanwhile=lambda: None):
    session.heard.append(('tasks', key))
    self.curriculum, self.rater = state.method['curriculum'], None
    self.metrics = {'time/sample': 0.0}
    self.meanwhile = meanwhile

  def draw(self):
    return None

  def compare(self, rollouts, scores):
    del rollouts
    return scores


def session_of(pipeline) -> Any:
  """A session whose parts note who was asked, with which key and rows."""
  heard = []
  memories = {'curriculum': 0, 'plan': 0, 'credit': (), 'controllers': {}}

  def collect(tools, prompts, memory, key):
    heard.append(('sample', key))
    tools.meanwhile()
    return Rows(memory), memory, memory + 1

  def assign(memory, rollouts, scores):
    heard.append(('assign', (rollouts.number, scores)))
    return rollouts, memory, {'scores': jnp.zeros(0)}

  def learn(state, frozen, rollouts, credit, key):
    heard.append(('learn', key))
    return state.replace(step=state.step + 1), {}

  def hear(state, task, rewards, valid):
    heard.append(('curriculum', task))
    return state

  session = types.SimpleNamespace(
    heard=heard,
    fixed={},
    marked=lambda rollouts: rollouts,
    config=types.SimpleNamespace(seed=SEED, pipeline=pipeline),
    spec=types.SimpleNamespace(component_names=()),
    layout=types.SimpleNamespace(everywhere=lambda tree: tree),
    recipe=types.SimpleNamespace(
      plan=types.SimpleNamespace(collect=collect),
    ),
    compiled=types.SimpleNamespace(
      score=lambda state, frozen, rollouts: rollouts,
      assign=assign,
      learn=learn,
      hear=hear,
    ),
    init=lambda params: TrainState(params, (), (), memories, 0),
  )
  session.lend = functools.partial(Lent, session)
  return session


@pytest.mark.parametrize('pipeline', [0, 1])
def test_every_purpose_has_a_key_of_its_own_in_every_iteration(pipeline):
  session = session_of(pipeline)
  state = loop.begin(session, {})
  for step in range(3):
    state, _, (rollouts, *_) = loop.iterate(session, state, step)
    assert rollouts.number == step
  found = {}
  for what, told in session.heard:
    found.setdefault(what, []).append(told)
  # A pipelined run has sampled for the iteration that is to come.
  sampled = range(3 + pipeline)
  purposes = keys.Purpose.TASKS, keys.Purpose.SAMPLE, keys.Purpose.LEARN
  for what, purpose in zip(('tasks', 'sample', 'learn'), purposes):
    steps = range(3) if what == 'learn' else sampled
    expected = [keys.key_for(SEED, step, purpose) for step in steps]
    np.testing.assert_array_equal(
      [jax.random.key_data(key) for key in found[what]],
      [jax.random.key_data(key) for key in expected],
    )
  assert found['assign'] == [(step, step) for step in range(3)]
  assert found['curriculum'] == [0, 1, 2]


def test_keys_of_steps_and_purposes_differ():
  found = {
    tuple(jax.random.key_data(keys.key_for(seed, step, purpose)).tolist())
    for seed in range(3)
    for step in range(4)
    for purpose in keys.Purpose
  }
  assert len(found) == 3 * 4 * len(keys.Purpose)
