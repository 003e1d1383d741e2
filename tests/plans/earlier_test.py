"""Groups of earlier iterations beside new ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import earlier
from jaxrl_llm.plans.base import Contract, Plan
from tests.plans.replay_test import GROUPS, SAMPLES, SPEC, _collect, _Tools


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
