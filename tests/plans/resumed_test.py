"""Responses over several iterations: each token is written once."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import resumed
from jaxrl_llm.types import Spec
from tests.plans import scripted

# What is said in answer to q and to r, whose ends come in other windows.
SAYS = {'q': 'abcdefg', 'r': 'xy', 's': 'lmn'}
SPEC = Spec(2, 1, 1, 9)


def reply(context, i):
  """The rest of what is said, as far as the context has it already."""
  del i
  return SAYS[context[0]][len(context) - 1 :]


def iterate(plan, *questions):
  """The words, marks and scores of iterations that draw these questions."""
  tools = scripted.Scripted(
    reply, lambda text, record: float(len(text)), columns=9
  )
  state = plan.init(SPEC)
  for texts in questions:
    prompts = scripted.ask(*texts)
    rollouts, scores, state = plan.collect(
      tools, prompts, state, jax.random.key(0)
    )
    yield tools, rollouts, scores


def test_a_row_goes_on_until_it_is_done_and_each_token_is_new_once():
  plan = resumed.Resumed(windows=3)
  told, unfinished, new = [], [], np.zeros((2, 9), int)
  for _, rollouts, scores in iterate(plan, 'qr', 'ss', 'rs', 'rr'):
    told.append(scripted.words(rollouts))
    unfinished.append(rollouts.extras['unfinished'].tolist())
    own = rollouts.action_mask & ~rollouts.extras['earlier']
    assert np.all(own.sum(axis=1) <= 3)
    new[0] += np.asarray(own[0]) * (len(told) <= 3)
    # A token that was kept is as it was sampled.
    wanted = np.where(
      rollouts.response_mask, -rollouts.content.response / 10, 0
    )
    np.testing.assert_allclose(rollouts.logp, wanted, rtol=1e-6)
    lengths = [float(len(words)) for words in told[-1]]
    assert scores.components[:, 0].tolist() == lengths
  assert told == [
    ['abc', 'xy'],
    ['abcdef', 'lmn'],
    ['abcdefg', 'lmn'],
    ['xy', 'xy'],
  ]
  assert unfinished == [
    [True, False],
    [True, True],
    [False, False],
    [False, False],
  ]
  # Of seven letters and an end, each was new in one iteration.
  assert new[0].tolist() == [1] * 8 + [0]


def test_a_row_that_fills_the_budget_is_done():
  plan = resumed.Resumed(windows=2)
  SAYS['u'] = 'abcdefghijklm'
  *_, (tools, rollouts, _) = iterate(plan, 'uu', 'rr')
  assert scripted.words(rollouts) == ['abcdefghi'] * 2
  assert rollouts.truncated.all()
  assert not rollouts.extras['unfinished'].any()
  assert tools.notes['plan/unfinished'] == 0


def test_one_window_finishes_everything():
  _, rollouts, _ = next(iterate(resumed.Resumed(windows=1), 'qr'))
  assert scripted.words(rollouts) == ['abcdefg', 'xy']
  assert not rollouts.extras['earlier'].any()


def test_windows_hold_something():
  with pytest.raises(ValueError, match='0 windows hold nothing'):
    resumed.Resumed(windows=0)
