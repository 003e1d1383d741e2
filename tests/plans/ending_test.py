"""Why episodes end, and what they are paid for it."""

import itertools
import types

import numpy as np
import pytest

from jaxrl_llm.plans import by_turn, ending, episodes, resampled
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.tasks import environments
from tests.plans import scripted
from tests.plans.episodes_test import (
  RECORDS,
  Patient,
  collect,
  judge,
  told,
  tools,
)


def test_what_was_paid_in_another_order_adds_up_to_the_same():
  """Or a norm would tell episodes apart by what rounding left of their sums."""

  class Lent:
    def rows(self, tasks):
      return [{} for _ in tasks]

    def verify(self, rollouts, texts, records):
      return np.float32([record['return'] for record in records])

  pay = [*itertools.permutations((0.1, 0.2, 0.3, 0.4)), (1.0, 0.0, 0.0, 0.0)]
  log = turns_lib.empty(len(pay), 4)
  log.reward[:] = pay
  rollouts = types.SimpleNamespace(task=range(len(pay)))
  assert len({*ending.judged(Lent(), rollouts, log).tolist()}) == 1


def stops(rollouts):
  return [environments.STOPS[i] for i in np.asarray(rollouts.extras['stop'])]


@pytest.mark.parametrize(
  ('reply', 'turns', 'columns', 'reason'),
  [
    (told, 4, 24, 'done'),
    (lambda text: 'a', 2, 24, 'turns'),
    (lambda text: 'a', 4, 5, 'tokens'),
  ],
)
def test_an_episode_says_why_it_ended(reply, turns, columns, reason):
  for plan in (
    episodes.MultiTurn(samples=2, turns=turns),
    by_turn.Steps(episodes=2, turns=turns),
    resampled.Resampled(samples=2, turns=turns),
  ):
    lent = tools(lambda text, i: reply(text), columns)
    rollouts, _ = collect(plan, lent)
    assert set(stops(rollouts)) == {reason}
    assert rollouts.truncated.tolist() == [reason != 'done'] * len(
      rollouts.truncated
    )
    assert lent.notes == {
      f'stop/{name}': float(name == reason)
      for name in ('done', 'turns', 'tokens')
    }


class Judged(Patient):
  """Ends for reasons of its own, and pays for what it did not end."""

  stops = ('said', 'failed')

  def _answer(self, action):
    if action.endswith('?'):
      return environments.Step(action, 'a')
    stop = {'bad': 'failed', 'odd': 'tired'}.get(action, 'said')
    return environments.Step(action, done=True, reward=1.0, stop=stop)

  def truncated(self, states):
    return [len(state) for state in states]


def judged_rows(says, **more):
  begins = iter(says)
  lent = scripted.Scripted(
    lambda text, i: next(begins), judge, RECORDS, 24, Judged()
  )
  rollouts, scores = collect(
    episodes.MultiTurn(samples=len(says) // 2, turns=2), lent
  )
  return lent, rollouts, np.asarray(rollouts.paid.sum(axis=1)).tolist()


def test_what_turns_ended_is_paid_for_and_what_failed_does_not_count():
  lent, rollouts, paid = judged_rows(['a?', 'yes', 'bad', 'abc?', '', ''])
  assert stops(rollouts) == ['turns', 'said', 'failed']
  assert rollouts.valid.tolist() == [True, True, False]
  assert paid == [len('abc?'), 1, 1]
  assert rollouts.truncated.tolist() == [True, False, False]
  assert lent.notes['stop/failed'] == pytest.approx(1 / 3)


def test_a_reason_that_an_environment_has_not_is_refused():
  with pytest.raises(ValueError, match="reason 'tired'.* are said, failed"):
    judged_rows(['odd', 'odd'])
