import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import replay
from jaxrl_llm.plans.lent import Tools
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec

GROUPS, SAMPLES = 4, 2
SPEC = Spec(8, SAMPLES, 1, 3, tasks=100)


class _Tools(Tools):
  """Iteration t writes the token t; `live` groups have one right row."""

  def __init__(self, live, extras=('log_mass',)):
    self.live, self.extras, self.time = live, extras, 0
    self.noted = {}

  def generate(self, prompts, key, samples):
    del prompts, key
    task = np.repeat(10 * self.time + np.arange(GROUPS), samples)
    response = np.full((GROUPS * samples, 3), self.time, np.int32)
    group = np.arange(GROUPS * samples) // samples
    rollouts = policy.as_rollouts(
      response,
      np.ones_like(response, bool),
      task=jnp.asarray(task, jnp.int32),
      group=jnp.asarray(group, jnp.int32),
      logp=jnp.full((GROUPS * samples, 3), -1.0 * self.time),
    )
    self.time += 1
    zeros = jnp.zeros((GROUPS * samples, 3))
    return rollouts.replace(extras={name: zeros for name in self.extras})

  def verify(self, rollouts):
    live = np.repeat(np.asarray(self.live[self.time - 1], bool), SAMPLES)
    right = live & (np.arange(GROUPS * SAMPLES) % SAMPLES == 0)
    return rollouts, Scores(jnp.asarray(right[:, None] * 1.0), jnp.ones(1))

  def note(self, name, value):
    self.noted[name] = value


def _collect(plan, tools, count):
  state = plan.init(SPEC)
  for step in range(count):
    key = jax.random.fold_in(jax.random.key(0), step)
    rollouts, scores, state = plan.collect(tools, None, state, key)
  return rollouts, scores, state


def test_dead_groups_give_way_to_earlier_live_ones():
  tools = _Tools([[1, 1, 0, 0], [0, 1, 0, 1]])
  plan = replay.SelectiveBuffer(SAMPLES, capacity=4, share=1.0)
  rollouts, scores, _ = _collect(plan, tools, 2)
  task = np.asarray(rollouts.task)[::SAMPLES]
  assert tools.noted['plan/replayed'] == 2
  assert set(task[[0, 2]]) == {0, 1} and list(task[[1, 3]]) == [11, 13]
  right = np.asarray(scores.components)[:, 0].reshape(GROUPS, SAMPLES)
  np.testing.assert_array_equal(right, [[1, 0]] * GROUPS)
  group = np.asarray(rollouts.group)
  np.testing.assert_array_equal(group, np.arange(8) // SAMPLES)


def test_replays_keep_the_log_probs_of_their_sampler():
  tools = _Tools([[1, 1, 1, 1], [0, 0, 0, 0]])
  plan = replay.SelectiveBuffer(SAMPLES, capacity=4, share=0.5)
  rollouts, _, _ = _collect(plan, tools, 2)
  old = np.asarray(rollouts.task) < 10
  assert old.sum() == 2 * SAMPLES
  logp = np.where(old, 0.0, -1.0)[:, None] * np.ones(3)
  np.testing.assert_array_equal(rollouts.logp, logp)
  np.testing.assert_array_equal(
    rollouts.content.response[:, 0], np.where(old, 0, 1)
  )


def test_an_empty_buffer_changes_nothing():
  tools = _Tools([[0, 0, 1, 0]])
  rollouts, _, state = _collect(replay.SelectiveBuffer(SAMPLES), tools, 1)
  task = np.asarray(rollouts.task)
  np.testing.assert_array_equal(task, np.repeat(np.arange(4), SAMPLES))
  assert tools.noted['plan/replayed'] == 0
  assert float(state['magnitude'].max()) > 0


def test_the_oldest_groups_are_forgotten():
  tools = _Tools([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
  plan = replay.SelectiveBuffer(SAMPLES, capacity=3, share=1.0)
  rollouts, _, _ = _collect(plan, tools, 3)
  task = np.asarray(rollouts.task)[::SAMPLES]
  assert sorted(task) == [3, 10, 11, 23]


def test_draws_follow_the_advantages():
  held, fresh = jnp.array([1.0, 3.0, 0.0]), jnp.zeros(1)

  def draw(key):
    place = jnp.int32(0)
    index, _ = replay._places(held, place, fresh, key, most=1, power=2.0)
    return index[0] - 1

  drawn = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 2000)))
  assert set(drawn) == {0, 1}
  np.testing.assert_allclose(np.mean(drawn == 1), 0.9, atol=0.03)


def test_arrays_of_unknown_shape_are_refused_by_name():
  tools = _Tools([[1, 1, 1, 1]], extras=('log_mass', 'support'))
  with pytest.raises(ValueError, match=r"\['support'\]"):
    _collect(replay.SelectiveBuffer(SAMPLES), tools, 1)


def test_state_keeps_its_types():
  plan = replay.SelectiveBuffer(SAMPLES, capacity=3)
  _, _, state = _collect(plan, _Tools([[1, 0, 0, 0]]), 1)
  same = jax.tree.map(
    lambda a, b: a.shape == b.shape and a.dtype == b.dtype,
    plan.init(SPEC),
    state,
  )
  assert all(jax.tree.leaves(same))
