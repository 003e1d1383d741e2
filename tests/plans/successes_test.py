"""Earlier successes in groups that fail."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import successes
from jaxrl_llm.types import Scores
from tests.plans.replay_test import SAMPLES, SPEC, _collect, _Tools


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
  assert rollouts.content.response[:, 0].tolist() == [0] + [1] * 7
  np.testing.assert_array_equal(rollouts.logp[0], 0.0)
  assert scores.components[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 1, 0]
  assert rollouts.group.tolist() == np.repeat(np.arange(4), 2).tolist()
  assert rollouts.task.tolist() == np.repeat(np.arange(4), 2).tolist()
  # A replay is not kept once more.
  assert _kept(state) == [(0, 0), (3, 0), (2, 1), (3, 1)]


def test_form_alone_is_no_success():
  """Neither keeps a row, nor saves a group that failed."""

  class Formal(_Asked):
    def verify(self, rollouts):
      rollouts, scores = super().verify(rollouts)
      form = jnp.ones_like(scores.components)
      found = jnp.concatenate([scores.components, form], axis=1)
      return rollouts, Scores(found, jnp.array([1.0, 0.5]))

  tools = Formal([[1, 0, 0, 0], [0, 0, 0, 0]])
  plan = successes.Successes(SAMPLES)
  spec = dataclasses.replace(SPEC, component_names=('right', 'form'))
  state = plan.init(spec)
  for _ in range(2):
    rollouts, _, state = plan.collect(tools, None, state, jax.random.key(0))
  assert tools.noted['plan/replayed'] == 1
  assert rollouts.content.response[:, 0].tolist() == [0] + [1] * 7
  assert _kept(state) == [(0, 0)]


def test_an_empty_memory_of_successes_changes_nothing():
  tools = _Asked([[0, 0, 1, 0]])
  rollouts, _, state = _collect(successes.Successes(SAMPLES), tools, 1)
  assert tools.noted['plan/replayed'] == 0
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
