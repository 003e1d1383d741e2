"""Groups that are sampled until they are live."""

import numpy as np
import pytest

from jaxrl_llm.plans import refill
from jaxrl_llm.selection import filters
from jaxrl_llm.types import Spec
from tests.plans.sampled_test import GROUPS, KEY, SAMPLES, Lender, tasks_of


def collect(live, **values):
  tools = Lender(live)
  plan = refill.Refill(filters.mixed_groups, samples=SAMPLES, **values)
  state = plan.init(Spec(GROUPS * SAMPLES, SAMPLES, 1, 1))
  rollouts, scores, state = plan.collect(tools, tools.draw(), state, KEY)
  assert state == ()
  return tools, rollouts, scores


def test_refill_stops_at_once_when_every_group_is_live():
  tools, rollouts, _ = collect(live=(0, 1, 2, 3))
  assert tools.notes == {'plan/rounds': 1}
  assert tasks_of(rollouts) == [0, 1, 2, 3]


def test_refill_replaces_dead_groups_by_live_ones_of_later_rounds():
  tools, rollouts, scores = collect(live=(1, 3, 6, 9, 10))
  assert tasks_of(rollouts) == [1, 3, 6, 9]
  assert tools.notes == {'plan/rounds': 3}
  rewards = np.asarray(scores.components).reshape(GROUPS, SAMPLES)
  np.testing.assert_array_equal(rewards, [[0, 1]] * GROUPS)


def test_refill_stops_after_its_rounds_and_leaves_places_to_dead_groups():
  tools, rollouts, scores = collect(live=(5,), rounds=2)
  assert tools.notes == {'plan/rounds': 2}
  assert tools.drawn == 2 * GROUPS
  assert tasks_of(rollouts) == [5, 0, 1, 2]
  live = filters.mixed_groups(
    scores.components[:, 0], rollouts.group, rollouts.valid
  )
  np.testing.assert_array_equal(live, [1, 1, 0, 0, 0, 0, 0, 0])


def test_refill_reads_what_the_recipe_makes_of_the_scores():
  def alike(components, weights, rollouts):
    return components[:, 0] * 0

  tools, _, _ = collect(live=(0, 1, 2, 3), rounds=2, combine=alike)
  assert tools.notes == {'plan/rounds': 2}


def test_refill_without_a_round_is_refused():
  with pytest.raises(ValueError, match='0 rounds sample nothing'):
    refill.Refill(filters.mixed_groups, rounds=0)


def test_refill_gives_groups_that_meet_different_adjacent_ids():
  _, rollouts, _ = collect(live=(0, 4, 8, 12))
  np.testing.assert_array_equal(rollouts.group, [0, 0, 1, 1, 2, 2, 3, 3])


def test_refill_samples_every_round_with_a_key_of_its_own():
  tools, _, _ = collect(live=(), rounds=3)
  assert len(set(tools.keys)) == 3


@pytest.mark.parametrize('rounds', [1, 3])
def test_refill_keeps_the_shapes_of_one_round(rounds):
  _, rollouts, scores = collect(live=(2,), rounds=rounds)
  assert rollouts.content.response.shape == (GROUPS * SAMPLES, 1)
  assert scores.components.shape == (GROUPS * SAMPLES, 1)
