import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import earlier, replay, successes
from jaxrl_llm.plans.base import Contract, Plan
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


class _Asked(_Tools):
  """The same questions in every iteration; log-probs are minus the time."""

  def generate(self, prompts, key, samples):
    rollouts = super().generate(prompts, key, samples)
    return rollouts.replace(task=rollouts.task % 10)


def _kept(state):
  """(task, time of writing) of the rows that are kept, the oldest first."""
  order = np.argsort(state['number'])
  found = [
    (int(state['task'][i]), int(state['rows']['content'].response[i, 0]))
    for i in order
  ]
  return [pair for pair in found if pair[0] >= 0]


def test_a_failing_group_gets_an_earlier_success_of_its_question():
  tools = _Asked([[1, 0, 0, 1], [0, 0, 1, 1]])
  rollouts, scores, state = _collect(successes.Successes(SAMPLES), tools, 2)
  assert tools.noted['plan/replayed'] == 1
  replayed = np.asarray(rollouts.extras['replayed'])
  assert replayed.tolist() == [True] + [False] * 7
  assert rollouts.content.response[:, 0].tolist() == [0] + [1] * 7
  np.testing.assert_array_equal(rollouts.logp[0], 0.0)
  assert scores.components[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 1, 0]
  assert rollouts.group.tolist() == np.repeat(np.arange(4), 2).tolist()
  assert rollouts.task.tolist() == np.repeat(np.arange(4), 2).tolist()
  # A replay is not kept once more.
  assert _kept(state) == [(0, 0), (3, 0), (2, 1), (3, 1)]


def test_an_empty_memory_of_successes_changes_nothing():
  tools = _Asked([[0, 0, 1, 0]])
  rollouts, _, state = _collect(successes.Successes(SAMPLES), tools, 1)
  assert not np.any(rollouts.extras['replayed'])
  assert rollouts.content.response[:, 0].tolist() == [0] * 8
  assert _kept(state) == [(2, 0)]


def test_the_oldest_successes_of_a_question_leave_first_and_then_of_all():
  live = [[1, 0, 0, 0]] * 3 + [[0, 1, 1, 0]]
  few = successes.Successes(SAMPLES, each=2, capacity=8)
  assert _kept(_collect(few, _Asked(live), 3)[2]) == [(0, 1), (0, 2)]
  full = successes.Successes(SAMPLES, each=8, capacity=3)
  assert _kept(_collect(full, _Asked(live), 4)[2]) == [(0, 2), (1, 3), (2, 3)]


def test_rows_that_push_each_other_out_in_one_iteration_are_kept_once():
  full = successes.Successes(SAMPLES, capacity=2)
  state = _collect(full, _Asked([[1, 1, 1, 1]]), 1)[2]
  assert _kept(state) == [(2, 0), (3, 0)]
  assert state['rows']['task'].tolist() == state['task'].tolist()


def test_successes_are_drawn_evenly():
  tools = _Asked([[1, 0, 0, 0]] * 2 + [[0, 0, 0, 0]] * 200)
  plan, drawn = successes.Successes(SAMPLES), []
  state = plan.init(SPEC)
  for step in range(202):
    key = jax.random.fold_in(jax.random.key(0), step)
    rollouts, _, state = plan.collect(tools, None, state, key)
    drawn.append(int(rollouts.content.response[0, 0]))
  assert set(drawn[2:]) == {0, 1}
  np.testing.assert_allclose(np.mean(drawn[2:]), 0.5, atol=0.1)


@pytest.mark.parametrize(
  ('rewards', 'fails'),
  [
    ([0, 0], True),
    ([0.1, 0.1], True),
    ([0.3, 0.3], False),
    ([0, 0.3], False),
    ([], False),
  ],
)
def test_groups_fail_whose_rewards_are_low_and_alike(rewards, fails):
  assert successes.Successes()._fails(np.array(rewards)) == fails


def test_memories_of_rows_keep_their_types_and_refuse_what_they_cannot_keep():
  plan = successes.Successes(SAMPLES, capacity=3)
  state = _collect(plan, _Asked([[1, 0, 0, 0]]), 1)[2]
  same = jax.tree.map(
    lambda a, b: a.shape == b.shape and a.dtype == b.dtype,
    plan.init(SPEC),
    state,
  )
  assert all(jax.tree.leaves(same))
  tools = _Asked([[1, 1, 1, 1]], extras=('log_mass', 'support'))
  with pytest.raises(ValueError, match=r"\['support'\]"):
    _collect(plan, tools, 1)


class _Marked(Plan):
  """Groups of iteration t, whose rows are marked `offline` where t is odd."""

  contract = Contract(SAMPLES, provides={'offline'})

  def collect(self, tools, prompts, state, key):
    rollouts, scores = tools.verify(tools.generate(prompts, key, SAMPLES))
    marks = jnp.full(GROUPS * SAMPLES, tools.time % 2 == 0)
    return rollouts.with_extras(offline=marks), scores, state


def test_groups_of_earlier_iterations_take_the_places_of_new_ones():
  tools = _Tools([[1, 1, 0, 0]] * 4)
  plan = earlier.Earlier(_Marked(), share=0.5, most=2)
  state, seen = plan.init(SPEC), []
  for step in range(4):
    key = jax.random.fold_in(jax.random.key(1), step)
    rollouts, scores, state = plan.collect(tools, None, state, key)
    time = np.asarray(rollouts.content.response)[:, 0]
    # Whole groups, with their marks, scores and questions.
    by_group = time.reshape(GROUPS, SAMPLES)
    assert (by_group[:, 0] == by_group[:, 1]).all()
    np.testing.assert_array_equal(rollouts.extras['offline'], time % 2 == 1)
    place = np.asarray(rollouts.task) % 10
    right = (place < 2) & (np.arange(GROUPS * SAMPLES) % SAMPLES == 0)
    np.testing.assert_array_equal(scores.components[:, 0], right)
    np.testing.assert_array_equal(rollouts.task // 10, time)
    seen.append(sorted(by_group[:, 0].tolist()))
  # Two of the iteration before, one of that before it; 1 has none but 0.
  assert seen == [[0] * 4, [0, 0, 1, 1], [0, 1, 1, 2], [1, 2, 2, 3]]
  assert tools.noted['plan/replayed'] == 3


def test_what_gave_way_can_be_shown_later():
  """What is kept are the new groups, whether they were learned or not."""
  tools = _Tools([[1, 1, 0, 0]] * 2)
  plan = earlier.Earlier(_Marked(), share=0.5, most=1)
  _, _, state = _collect(plan, tools, 2)
  np.testing.assert_array_equal(state['rows']['task'] // 10, 1)


@pytest.mark.parametrize('share, most', [(0.6, 2), (-0.1, 2), (0.3, 0)])
def test_a_replay_of_everything_or_nothing_is_refused(share, most):
  with pytest.raises(ValueError, match=r'use one in \[0, 0.5\]'):
    earlier.Earlier(_Marked(), share, most)
