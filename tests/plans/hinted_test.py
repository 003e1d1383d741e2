"""Levels of hints: who gets which, and when they move."""

import jax
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.plans import hinted, sampled
from jaxrl_llm.types import Spec
from tests.plans import scripted
from tests.plans.retried_test import QUESTIONS, collect, shown, tools

KEY = jax.random.key(0)
SPEC = Spec(8, 2, 12, 6, tasks=4)
# The first hints of q, u and v are h, 0 and k; only with h q is right.
SAID = {'q1abcd': 'h', 'qh': 'r', 'e': 'e', 'v1mnop': 'k', 'vk': 'v0'}


def plan_of(**values):
  values = {'levels': 2, 'phrase': '{prompt}{hint}', 'samples': 2, **values}
  return recipes.build(
    'sage_light', ask='{prompt}{level}{solution}', **values
  ).plan


def run(plan, lent, iterations):
  """What was asked in each iteration, and the levels behind it."""
  state, found = plan.init(SPEC), []
  for _ in range(iterations):
    rows, _, state = collect(plan, lent, state)
    found.append(([x.split('>')[0] for x in shown(rows)[::2]], [*state[0]]))
  return found, state


def test_levels_rise_where_all_fail_and_fall_where_enough_succeed():
  found, _ = run(plan_of(), tools(SAID), 3)
  assert found == [
    (QUESTIONS, [1, 0, 1, 1]),
    # Half of v's answers are right, and more than 0.35.
    (['qh', 'e', 'u0', 'vk'], [0, 0, 2, 0]),
    (['q', 'e', 'u0', 'v'], [1, 0, 2, 1]),
  ]


def test_between_the_shares_a_level_stays():
  found, _ = run(plan_of(high=0.5), tools(SAID), 3)
  assert found[2] == (['q', 'e', 'u0', 'vk'], [1, 0, 2, 1])


def test_each_question_is_asked_once_and_hints_at_its_level():
  lent = tools(SAID)
  run(plan_of(), lent, 3)
  # Hints of a question are asked for if it has a level above 0; of three they
  # are asked as four, one of them twice.
  assert lent.asked[1] == ['q1abcd', 'u1ijkl', 'v1mnop', 'q1abcd']
  assert [*map(len, lent.asked)] == [4, 4, 4, 1, 4]
  assert lent.asked[3] == ['u2ijkl']
  np.testing.assert_allclose(lent.notes['plan/hint_level'], 0.5)


def test_a_prompt_over_the_budget_is_asked_without_and_begins_anew():
  lent = tools({}, width=7)
  found, _ = run(plan_of(phrase='{prompt}{hint}zzzzzz'), lent, 3)
  assert found == [(QUESTIONS, [1, 1, 1, 1])] * 3


def test_a_group_of_which_nothing_counts_keeps_its_level():
  found, _ = run(plan_of(), tools({'q': '?', 'e': 'e'}), 1)
  assert found[0][1] == [0, 0, 1, 1]


def test_the_levels_are_those_of_tasks_and_kept():
  plan, lent = plan_of(), tools(SAID)
  state = plan.init(SPEC)
  assert state[0].dtype == np.int32 and state[0].shape == (4,)
  prompts = scripted.ask(*QUESTIONS, width=12)
  late = jax.tree.map(lambda x: x[2:], prompts)
  _, _, state = plan.collect(lent, late, state, KEY)
  assert state[0].tolist() == [0, 0, 1, 1]
  assert state[0].dtype == np.int32


def test_the_learner_is_told_what_it_must_know():
  contract = plan_of().contract
  assert contract.rewords and contract.may_lag and contract.one_prompt
  with pytest.raises(ValueError, match='"solution"'):
    contract.checks[0]([{'prompt': 'a'}])


def test_shares_out_of_order_are_refused():
  with pytest.raises(ValueError, match='not above the high'):
    hinted.Hinted(sampled.independent(), None, low=0.5, high=0.1)
