"""A main agent, its sub-agent, and what both are paid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments.research import MAIN, SUB, Research

SURE = Research(documents=6, words=3, found=1.0, price=0.1, pay=0.5)
CALL = SURE.words
KEY = jax.random.key(0)


def walked(environment, task, actions):
  """Who acted, what was seen, rewards and own worth, until the end."""
  state = environment.reset(jnp.array([task]), KEY)
  seen, found = [], []
  for action in actions:
    agent = int(state.agent[0])
    seen.append(int(environment.observe(state)[0]))
    state, outcome = environment.step(state, jnp.array([action]), KEY)
    found.append((agent, float(outcome.reward[0]), float(outcome.own[0])))
    if outcome.ended[0]:
      break
  return seen, found


def test_an_answer_that_was_read_is_right_and_the_reader_is_paid_for_it():
  seen, found = walked(SURE, 5, [CALL, 2, 2])
  assert [agent for agent, _, _ in found] == [MAIN, SUB, MAIN]
  np.testing.assert_allclose([x[1] for x in found], [-0.1, 0, 1], atol=1e-6)
  assert [x[2] for x in found] == [0, 0.5, 0]
  # The main agent sees what was said, the sub-agent which document it is.
  main, _ = SURE.spec.agents
  assert seen == [CALL, main + 5, 1 * (SURE.words + 1) + 2]


def test_a_wrong_word_is_worth_nothing_and_misleads():
  _, found = walked(SURE, 5, [CALL, 0, 0])
  assert found[1][2] == 0 and found[-1][1] == 0


def test_what_is_not_found_is_to_be_said():
  blind = Research(documents=6, words=3, found=0.0)
  _, found = walked(blind, 5, [CALL, CALL, CALL, 2, 0])
  assert [x[2] for x in found] == [0, 0.5, 0, 0, 0]


def test_after_its_last_call_the_main_agent_has_to_answer():
  state = SURE.reset(jnp.array([0]), KEY)
  for action in (CALL, 0, CALL, 0):
    assert SURE.legal(state).all()
    state, _ = SURE.step(state, jnp.array([action]), KEY)
  assert SURE.legal(state)[0].tolist() == [True, True, True, False]


def best(environment, state):
  """What the main agent gets at most from here, an honest reader assumed."""
  calls, word = state
  answers = 1.0 if word is not None else 1 / environment.words
  if calls == environment.calls or word is not None:
    return answers
  luck = environment.found * best(environment, (calls + 1, 'read'))
  luck += (1 - environment.found) * best(environment, (calls + 1, None))
  return max(answers, luck - environment.price)


@pytest.mark.parametrize('price', [0.0, 0.2, 0.6])
def test_the_optimum_is_that_of_the_best_decisions(price):
  environment = Research(price=price)
  np.testing.assert_allclose(
    environment.optimal_return, best(environment, (0, None)), atol=1e-12
  )
