"""Wordings of a question that have answers of their own."""

import jax
import pytest

from jaxrl_llm.plans import orders
from jaxrl_llm.rewards import behaviour
from tests.plans import scripted
from tests.plans.wordings_test import RECORDS

KEY = jax.random.key(0)


def test_orders_are_judged_by_their_own_answers_and_paired():
  records = (
    {'prompt': 'a', 'wordings': ['b'], 'answers': ['a0', 'b1']},
    {'prompt': 'd', 'wordings': ['e'], 'answers': ['d1', 'e1']},
  )
  tools = scripted.Scripted(
    lambda text, i: f'{text}{i}',
    judge=lambda text, row: float(text == row['answer']),
    records=records,
  )
  plan = orders.Orders(samples=2, orders=2)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('a', 'd'), (), KEY)
  assert scores.components[:, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, 1]
  assert rollouts.extras['bundle'].tolist() == [0] * 4 + [1] * 4
  assert rollouts.extras['paper'].tolist() == [0, 1] * 4
  shaped = behaviour.in_every_order(scores.components[:, 0], rollouts)
  assert shaped.tolist() == [0, 0, 0, 0, 0, 1, 0, 1]


def test_orders_without_answers_of_their_own_are_refused():
  _, check = orders.Orders(samples=1).contract.checks
  with pytest.raises(ValueError, match='fewer answers .* .a.;'):
    check(RECORDS)
