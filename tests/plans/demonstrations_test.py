"""Demonstrations as rows."""

import jax
import pytest

from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.plans import imitated, offline_states, resets, sampled
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'demonstration': 'ab'}, {'demonstration': 'abcdefgh'})


def tools(reply=lambda text, i: 'xyz'[i], records=RECORDS, judge=None):
  judge = judge or (lambda text, record: float(text == 'ab'))
  return scripted.Scripted(reply, judge, records, columns=4)


SHOWN, BARE = {'demonstration': 'a'}, {}
OPTIONAL = imitated.WithDemonstration(samples=2, optional=True)


def check(plan, *records):
  for refuse in plan.contract.checks:
    refuse(records)


@pytest.mark.parametrize(
  'plan',
  [
    imitated.WithDemonstration(samples=2),
    resets.DatasetReset(),
    offline_states.OfflineStates(),
    notes.noted(sampled.independent(), passes.Coverage()),
    notes.noted(resets.DatasetReset(), notes.Answers()),
  ],
)
def test_questions_without_a_demonstration_are_refused(plan):
  check(plan, SHOWN, SHOWN)
  with pytest.raises(ValueError, match='2 of 3 questions .*leave them out'):
    check(plan, SHOWN, BARE, BARE)


@pytest.mark.parametrize('nothing', [None, '', ' \n', 5, [{'role': 'user'}]])
def test_what_is_no_text_demonstrates_nothing(nothing):
  """A table fills up fields with null, and not every text has words."""
  bad = {'demonstration': nothing}
  with pytest.raises(ValueError, match='1 of 2 questions'):
    check(imitated.WithDemonstration(samples=2), SHOWN, bad)
  lent = tools(records=(SHOWN, bad))
  rollouts, _, _ = OPTIONAL.collect(lent, scripted.ask('q', 'r'), (), KEY)
  assert rollouts.valid.tolist() == [True, True, True, False]


def test_some_questions_may_have_no_demonstration_if_others_do(caplog):
  check(OPTIONAL, SHOWN, SHOWN)
  assert not caplog.messages
  check(OPTIONAL, SHOWN, BARE, SHOWN)
  assert '1 of 3 questions have no text' in caplog.messages[0]
  with pytest.raises(ValueError, match='2 of 2 questions'):
    check(OPTIONAL, BARE, BARE)


def test_without_a_demonstration_its_row_does_not_count():
  lent = tools(records=(SHOWN, BARE))
  rollouts, _, _ = OPTIONAL.collect(lent, scripted.ask('q', 'r'), (), KEY)
  assert rollouts.valid.tolist() == [True, True, True, False]
