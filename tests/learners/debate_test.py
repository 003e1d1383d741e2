import dataclasses

import jax
import pytest

from jaxrl_llm.learners.debate import Debate, Round, agreed, opposed

KEY = jax.random.key(0)


class Talking:
  """Says the number of the prompts it has heard, and keeps them."""

  def __init__(self):
    self.heard = []

  def __call__(self, prompts, key):
    self.heard += prompts
    first = len(self.heard) - len(prompts)
    return [str(first + i) for i in range(len(prompts))]


def patient(question, rounds, last):
  return rounds[0].affirmative if last else ''


def test_each_side_hears_all_that_the_other_said():
  policy = Talking()
  answers, rounds = Debate(policy, patient).act((), ['q='], KEY)
  assert policy.heard == [
    'q=',
    'q=0 wrong\nq=',
    'q=1 wrong\nq=',
    'q=0 wrong\nq=2 wrong\nq=',
    'q=1 wrong\nq=3 wrong\nq=',
    'q=0 wrong\nq=2 wrong\nq=4 wrong\nq=',
  ]
  assert rounds == ((Round('0', '1'), Round('2', '3'), Round('4', '5')),)
  assert answers == ['0']


def test_a_side_knows_what_it_said_itself():
  def reply(question, own, others):
    return f'{question}/{"".join(own)}/{"".join(others)}'

  policy = Talking()
  Debate(policy, patient, reply, rounds=2).act((), ['q'], KEY)
  assert policy.heard == ['q//', 'q//0', 'q/0/1', 'q/1/02']


def test_a_debate_breaks_off_where_the_judge_decides_and_others_go_on():
  def judge(question, rounds, last):
    enough = last or (question == 'a' and len(rounds) == 2)
    return rounds[-1].negative if enough else ''

  policy = Talking()
  answers, rounds = Debate(policy, judge).act((), ['a', 'b'], KEY)
  assert list(map(len, rounds)) == [2, 3]
  assert answers == [each[-1].negative for each in rounds]
  assert len(policy.heard) == 4 + 4 + 2


def test_the_last_word_is_asked_for_once_and_only_without_a_decision():
  asked = []

  def judge(question, rounds, last):
    asked.append((len(rounds), last))
    return 'x' if last else ''

  Debate(Talking(), judge, rounds=2).act((), ['q'], KEY)
  assert asked == [(1, False), (2, False), (2, True)]


def test_one_round_with_a_judge_of_the_first_word_is_the_policy_alone():
  def first(question, rounds, last):
    return rounds[0].affirmative

  def policy(prompts, key):
    numbers = jax.random.randint(key, len(prompts), 1, 99)
    return [prompt + str(number) for prompt, number in zip(prompts, numbers)]

  keys = jax.random.split(jax.random.fold_in(KEY, 0))
  answers, _ = Debate(policy, first).act((), ['p', 'q'], KEY)
  assert answers == policy(['p', 'q'], keys[0])


def test_the_default_judge_waits_for_agreement_and_then_counts():
  assert agreed('', [Round('1', '2'), Round('3', '3')], False) == '3'
  assert agreed('', [Round('1', '2'), Round('2', '3')], False) == ''
  assert agreed('', [Round('1', '2'), Round('2', '3')], True) == '2'
  assert agreed('', [Round('2', '1')], True) == '2'
  assert opposed('q=', ['9'], []) == 'q='


def test_a_debate_without_rounds_is_refused():
  with pytest.raises(ValueError, match='a debate of 0 rounds'):
    Debate(Talking(), rounds=0)


def test_nothing_is_learned():
  learner = dataclasses.replace(Debate(Talking()), rounds=1)
  state = ((Round('1', '2'),),)
  assert learner.update(state, ['q'], ['1'], [1.0]) is state
