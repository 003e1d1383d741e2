"""Demonstrations where no own response is right."""

import pytest

from jaxrl_llm.plans import anchored
from tests.plans import scripted
from tests.plans.demonstrations_test import KEY, tools


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
