import jax.numpy as jnp
import numpy as np

from jaxrl_llm.rewards import thinking
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases


def _measured(stage, state, rewards, lengths):
  """Shaped rewards f32[N] of one task's responses, and the memory after."""
  count = len(lengths)
  mask = np.arange(8) < np.array(lengths)[:, None]
  zeros = np.zeros(count, np.int32)
  rollouts = policy.as_rollouts(
    np.zeros(mask.shape, int), mask, task=zeros, group=zeros
  )
  scores = Scores(jnp.asarray(rewards, jnp.float32)[:, None], jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  credit = credit.replace(rewards=scores.components[:, 0])
  credit, state = stage.update(credit, rollouts, state)
  return np.asarray(credit.rewards), state


def test_length_is_measured_by_iterations_before_and_right_responses_alone():
  stage = thinking.ShortestSoFar()
  state = stage.init(Spec(3, 3, 1, 8, tasks=1))
  plain = [1.0, 0.0, 1.0]
  shaped, state = _measured(stage, state, plain, [6, 1, 4])
  np.testing.assert_array_equal(shaped, plain)  # nothing is known yet
  np.testing.assert_array_equal(state, [4])  # the wrong one is shorter
  shaped, state = _measured(stage, state, plain, [2, 2, 8])
  gain = np.cos(np.pi / 4)
  np.testing.assert_allclose(shaped, [1 + gain, 0, 0.3], rtol=1e-6)
  np.testing.assert_array_equal(state, [2])
  # Wrong ones are charged in full where they are long, and teach nothing.
  shaped, state = _measured(stage, state, [0.0, 0.0], [1, 8])
  np.testing.assert_allclose(shaped, [0, -1], atol=1e-6)
  np.testing.assert_array_equal(state, [2])


def test_any_right_response_earns_more_than_any_wrong_one():
  stage = thinking.ShortestSoFar()
  known = jnp.array([3.0])
  right, _ = _measured(stage, known, [1.0] * 8, range(1, 9))
  wrong, _ = _measured(stage, known, [0.0] * 8, range(1, 9))
  assert min(right) > max(wrong)


def test_a_right_response_earns_by_its_beginning_and_any_other_the_same():
  rollouts = cases.rollouts(beginning=np.arange(16, dtype=np.int32) % 4 - 1)
  rewards = np.where(np.arange(16) < 8, 1.0, 0.5).astype('f')
  ours = thinking.by_beginning(rewards, rollouts, right=(3.0, 2.0), wrong=-4.0)
  np.testing.assert_array_equal(ours, [-4, 3, 2, -4] * 2 + [-4] * 8)


def test_a_response_earns_no_more_than_its_budget_promises():
  rollouts = cases.rollouts(seed=1, beginning=np.arange(16) % 2)
  ours = thinking.within_budget(
    np.ones(16, 'f'), rollouts, budgets=(2, 4), longest=5
  )
  lengths = np.asarray(rollouts.length)
  budget = np.array([2, 4])[np.arange(16) % 2]
  assert np.all(np.asarray(ours) <= thinking.worth(budget, 5) + 1e-6)
  np.testing.assert_array_equal(ours[lengths > 5], 0)
  exact = lengths == budget
  assert exact.any()
  np.testing.assert_allclose(
    ours[exact], thinking.worth(budget, 5)[exact], rtol=1e-6
  )
  wrong = thinking.within_budget(
    np.zeros(16, 'f'), rollouts, budgets=(2, 4), longest=5
  )
  np.testing.assert_array_equal(wrong, 0)


def test_an_easy_question_pays_less_for_thinking_and_a_hard_one_does_not():
  mode = np.array([0, 0, 1, -1] * 4, np.int32)
  assigned = np.array([True, True, True, False] * 4)
  rollouts = cases.rollouts(seed=1, beginning=mode, assigned=assigned)
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  easy, hard = [1, 1, 1, 1], [0, 1, 1, 1]
  rewards = np.array(easy * 2 + hard * 2, 'f')
  ours = thinking.at_once_if_easy(rewards, rollouts, threshold=0.5)
  np.testing.assert_allclose(ours, [1, 1, 0, 0] * 2 + hard * 2, atol=1e-6)


def test_only_right_answers_from_earlier_exits_of_the_group_cost():
  place = np.array([2, 0, 3, 1] * 4, np.int32)
  rollouts = cases.rollouts(seed=1, exit=place)
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  rewards = np.array([1, 1, 1, 0] + [0, 0, 1, 0] + [1] * 8, 'f')
  ours = thinking.decaying(rewards, rollouts, base=2.0)
  first = [0.5, 1, 0.25, 0]
  every = [0.25, 1, 0.125, 0.5]
  np.testing.assert_allclose(ours, [*first, 0, 0, 1, 0, *every, *every])
  plain = thinking.decaying(rewards, rollouts, base=1.0)
  np.testing.assert_array_equal(plain, rewards)
