"""Every question is asked a few times before any is learned from."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import asked_first, sampled
from jaxrl_llm.types import Spec
from tests.plans import measured_test


class Drawing(measured_test.Asking):
  """Draws other prompts than those that the loop drew before."""

  def draw(self):
    return self.questions([2, 1])


def test_questions_are_asked_once_told_of_and_drawn_anew():
  tools = Drawing()
  plan = asked_first.AskedFirst(sampled.independent(samples=2), count=3)
  state, found = plan.init(Spec(4, 2, 1, 6, tasks=3)), []
  for step in range(3):
    prompts = tools.questions([0, 1])
    rollouts, _, state = plan.collect(
      tools, prompts, state, jax.random.key(step)
    )
    found.append((rollouts.task, rollouts.extras['first_rate']))
  # Two rounds of two: the first of each pair is right, and all of task 2.
  np.testing.assert_array_equal(tools.told, [[0.5, 0.5, 1.0]])
  np.testing.assert_array_equal(found[0], [[2, 2, 1, 1], [1, 1, 0.5, 0.5]])
  np.testing.assert_array_equal(found[2], [[0, 0, 1, 1], [0.5] * 4])


def test_no_response_is_refused():
  with pytest.raises(ValueError, match='say nothing'):
    asked_first.AskedFirst(sampled.independent(samples=1), count=0)
