import jax
import numpy as np
import pytest

from jaxrl_llm.learners import texts
from tests.plans import scripted

KEY = jax.random.key(0)


class Echo:
  """Says how often it was asked, and remembers what it heard."""

  def init(self):
    return ()

  def act(self, state, questions, key):
    return [f'{q}{len(state)}' for q in questions], state

  def update(self, state, questions, answers, rewards):
    return (*state, (tuple(questions), tuple(answers), tuple(rewards)))


def lengths(questions, answers):
  return np.array([float(len(answer)) for answer in answers])


def heard(**how):
  steps = texts.practise(Echo(), lengths, list('abcd'), KEY, **how)
  return [(state[-1], rewards) for state, rewards in steps]


def test_every_question_is_asked_once_before_any_is_asked_again():
  found = heard(steps=4, batch=2)
  first, second, third, fourth = [set(asked) for (asked, _, _), _ in found]
  assert first | second == third | fourth == set('abcd')


def test_samples_of_a_question_are_adjacent_and_rewards_are_theirs():
  (asked, said, earned), rewards = heard(steps=1, batch=2, samples=3)[0]
  assert asked[0] == asked[1] == asked[2] != asked[3] == asked[4] == asked[5]
  assert said == tuple(q + '0' for q in asked)
  assert earned == tuple(rewards) == (2.0,) * 6


def test_a_batch_that_does_not_fit_is_refused():
  for batch in (0, 5):
    with pytest.raises(ValueError, match=f'a batch of {batch} does not fit 4'):
      next(
        texts.practise(Echo(), lengths, list('abcd'), KEY, steps=1, batch=batch)
      )


def test_a_key_is_one_stream_of_numbers():
  numbers = [texts.rng_of(jax.random.key(i)).random() for i in (3, 3, 4)]
  assert numbers[0] == numbers[1] != numbers[2]


def test_the_policy_of_a_plan_answers_the_prompts_it_is_given():
  tools = scripted.Scripted(reply=lambda text, i: text[::-1])
  assert texts.speaking(tools)(['ab', 'cd'], KEY) == ['ba', 'dc']
  assert tools.asked == [['ab', 'cd']]
