"""Whole responses first, then groups of next steps from states of one."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import stepwise
from jaxrl_llm.types import Spec
from tests.plans import scripted

SPEC = Spec(4, 2, 1, 10)
LINES = 'ab\ncd\ne'


def reply(context, i):
  """The rest of the three lines; the second one ends in another letter."""
  rest = LINES[len(context) - 1 :]
  return rest.replace('d', 'df'[i]) if i else rest


def judge(text, record):
  return float(text.endswith('e'))


def collect(state, key=0, reply=reply):
  plan = stepwise.Stepwise(samples=2, first=1)
  tools = scripted.Scripted(reply, judge, columns=10)
  prompts = scripted.ask('q', 'r')
  return plan.collect(tools, prompts, state, jax.random.key(key))


def test_at_first_whole_responses_are_judged_and_their_steps_marked():
  plan = stepwise.Stepwise(samples=2, first=1)
  rollouts, scores, state = collect(plan.init(SPEC))
  assert scripted.words(rollouts) == [LINES, LINES.replace('d', 'f')] * 2
  assert not rollouts.extras['single'].any() and state == 1
  assert scores.components.shape == (4, 1)
  for ends in rollouts.extras['step_end']:
    # The line breaks, and the token that ends the response.
    assert np.flatnonzero(ends).tolist() == [2, 5, 7]


def test_then_a_group_is_next_steps_of_one_state_and_nothing_else_counts():
  said = set()
  for key in range(20):
    rollouts, scores, state = collect(np.int32(1), key)
    assert state == 2 and rollouts.extras['single'].all()
    assert rollouts.group.tolist() == [0, 0, 1, 1]
    # Whole responses are judged, and cut off after the step.
    assert scores.components.tolist() == [[1], [1], [1], [1]]
    for first, second in ((0, 1), (2, 3)):
      steps = []
      for row in (first, second):
        mask = np.asarray(rollouts.action_mask[row])
        exists = np.asarray(rollouts.response_mask[row])
        start, stop = np.flatnonzero(mask)[[0, -1]]
        assert exists.sum() == stop + 1 and mask[start : stop + 1].all()
        ends = np.asarray(rollouts.extras['step_end'][row])
        assert np.flatnonzero(ends).tolist() == [stop]
        text = scripted.words(rollouts)[row]
        steps.append((text[:start], text[start:]))
        assert np.all(rollouts.logp[row][~mask] == 0)
      assert steps[0][0] == steps[1][0]
      said.add(tuple(steps[0]))
  # Each of the three lines, from where it begins.
  assert said == {('', 'ab\n'), ('ab\n', 'cd\n'), ('ab\ncd\n', 'e')}


@pytest.mark.parametrize(
  ('chance', 'cut'), [(0.0, 0), (0.34, 3), (0.66, 3), (0.67, 6), (0.999, 6)]
)
def test_a_state_is_drawn_evenly(chance, cut):
  ends = np.isin(np.arange(10), [2, 5, 7])[None]
  assert stepwise._cuts(ends, np.array([chance])).tolist() == [cut]
  # A row without any token begins where it is.
  assert stepwise._cuts(np.zeros((1, 10), bool), [chance]).tolist() == [0]
