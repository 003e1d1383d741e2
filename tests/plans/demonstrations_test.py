"""Demonstrations as rows."""

import jax
import numpy as np
import pytest

from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.plans import anchored, imitated, offline_states, resets, sampled
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'demonstration': 'ab'}, {'demonstration': 'abcdefgh'})


def tools(reply=lambda text, i: 'xyz'[i], records=RECORDS, judge=None):
  judge = judge or (lambda text, record: float(text == 'ab'))
  return scripted.Scripted(reply, judge, records, columns=4)


def test_the_last_row_of_a_group_is_the_demonstration():
  plan = imitated.WithDemonstration(samples=3)
  rollouts, scores, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), KEY)
  assert scripted.words(rollouts) == ['x', 'y', 'ab', 'x', 'y', '']
  assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
  assert rollouts.extras['offline'].tolist() == [False, False, True] * 2
  assert scores.components[:, 0].tolist() == [0, 0, 1, 0, 0, 0]
  # With its end, under the current policy, and learned like any action.
  row = jax.tree.map(lambda x: np.asarray(x[2]), rollouts)
  np.testing.assert_allclose(row.logp, [-0.1, -0.2, 0, 0], rtol=1e-6)
  assert row.action_mask.tolist() == [True, True, True, False]


def test_an_anchor_counts_where_no_own_response_is_right():
  plan = anchored.Anchored(3, optional=True)
  replies = {'q': 'xy', 'r': 'xa', 's': 'xy'}
  lent = tools(
    lambda text, i: replies[text][i],
    ({'demonstration': 'ab'}, {'demonstration': 'ab'}, {}),
    judge=lambda text, record: float(text in ('a', 'ab')),
  )
  prompts = scripted.ask('q', 'r', 's')
  rollouts, _, _ = plan.collect(lent, prompts, (), KEY)
  assert rollouts.valid.reshape(3, 3)[:, 2].tolist() == [True, False, False]
  assert rollouts.valid.reshape(3, 3)[:, :2].all()
  assert lent.notes['plan/anchored'] == pytest.approx(1 / 3)


class Referring(scripted.Scripted):
  def opponent(self, prompts, key, samples, share):
    assert share == 1
    said = scripted.Scripted(lambda text, i: 'uvw'[i], columns=self.columns)
    return said.generate(prompts, key, samples)


def test_the_references_responses_may_stand_before_the_demonstration():
  plan = imitated.BesideReference(samples=3)
  assert plan.contract.refers and plan.contract.provides == {'offline'}
  tools = Referring(None, lambda text, record: 0.0, RECORDS, columns=4)
  rollouts, _, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  assert scripted.words(rollouts) == ['u', 'v', 'ab']
  assert rollouts.extras['offline'].tolist() == [False, False, True]
  np.testing.assert_allclose(rollouts.logp[0, :2], [-2.1, 0], rtol=1e-6)


def test_a_demonstration_that_does_not_fit_does_not_count():
  plan = imitated.WithDemonstration(samples=2)
  rollouts, _, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), KEY)
  assert rollouts.valid.tolist() == [True, True, True, False]


def test_an_iteration_has_own_responses_or_demonstrations():
  seen = set()
  for seed in range(8):
    plan, key = (
      imitated.OrDemonstrations(samples=2),
      jax.random.key(seed),
    )
    rollouts, scores, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), key)
    assert rollouts.group.tolist() == [0, 0, 1, 1]
    seen.add(tuple(scripted.words(rollouts)))
    right = (scripted.words(rollouts)[0] == 'ab') * 1.0
    assert scores.components[:, 0].tolist() == [right, right, 0, 0]
  assert seen == {('x', 'y', 'x', 'y'), ('ab', 'ab', '', '')}


@pytest.mark.parametrize(('share', 'first'), [(1.0, 'x'), (0.0, 'ab')])
def test_a_share_may_be_all(share, first):
  plan = imitated.OrDemonstrations(share=share)
  rollouts, _, _ = plan.collect(tools(), scripted.ask('q'), (), KEY)
  assert scripted.words(rollouts) == [first]
  assert len(plan.contract.checks) == (share < 1)


def test_a_share_is_a_probability():
  with pytest.raises(ValueError, match=r'not in \[0, 1\]'):
    imitated.OrDemonstrations(share=1.5)


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


def test_a_group_needs_a_response_of_its_own():
  with pytest.raises(ValueError, match='use at least 2'):
    imitated.WithDemonstration(samples=1)
