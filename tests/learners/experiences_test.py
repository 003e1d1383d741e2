import dataclasses

import jax
import numpy as np
import pytest

from jaxrl_llm.learners import experiences
from jaxrl_llm.learners.experiences import Operation, TrainingFreeGRPO, winner

KEY = jax.random.key(0)
LEARNER = TrainingFreeGRPO(
  policy=lambda prompts, key: [f'<{p}>' for p in prompts]
)


def told(learner, state, *rows):
  """The state after rows (question, answer, reward)."""
  questions, answers, rewards = zip(*rows, strict=True)
  return learner.update(state, questions, answers, np.array(rewards, float))


def test_the_prompt_is_the_experiences_and_the_question():
  said, state = LEARNER.act(('a=1', 'b=2'), ['c='], KEY)
  assert said == ['<a=1\nb=2\nc=>'] and state == ('a=1', 'b=2')
  assert LEARNER.act((), ['c='], KEY)[0] == ['<c=>']


def test_an_update_is_the_algorithm_of_the_paper():
  """Against a loop over groups and edits, on random groups and edits."""
  rng = np.random.default_rng(0)

  def advantage(question, answers, rewards, before):
    assert rewards == sorted(rewards, reverse=True) and rewards[0] > rewards[-1]
    tag = f'{question}{answers[0]}>{answers[-1]}'
    edits = [Operation('add', tag)]
    if before:
      place = len(tag) % len(before)
      kind = ('modify', 'delete')[len(question) % 2]
      edits.insert(0, Operation(kind, tag, place))
    return edits

  learner = dataclasses.replace(LEARNER, advantage=advantage, edits=2, most=4)
  state, expected = (), []
  for _ in range(30):
    groups = [
      ('q' * rng.integers(1, 9), rng.integers(0, 3, 3), rng.integers(0, 2, 3))
      for _ in range(3)
    ]
    groups = list(
      {question: each for each in groups for question in [each[0]]}.values()
    )
    rows = [
      (q, str(a), r) for q, said, paid in groups for a, r in zip(said, paid)
    ]
    state = told(learner, state, *rows)
    kept, added = dict(enumerate(expected)), []
    for question, said, paid in groups:
      if paid.min() < paid.max():
        best = said[int(np.argmax(paid))]
        worst = said[2 - int(np.argmin(paid[::-1]))]
        tag = f'{question}{best}>{worst}'
        if expected:
          place = len(tag) % len(expected)
          kept[place] = tag if len(question) % 2 == 0 else None
        added.append(tag)
    both = [e for e in kept.values() if e] + added
    expected = list(dict.fromkeys(both))[-4:]
    assert list(state) == expected


def test_groups_whose_answers_earn_alike_teach_nothing():
  known = ('a=1',)
  assert told(LEARNER, known, ('b=', '1', 0), ('b=', '2', 0)) == known
  assert told(LEARNER, known, ('b=', '1', 1), ('b=', '2', 1)) == known
  assert told(LEARNER, known, ('b=', '1', 1)) == known


def test_a_mixed_group_adds_its_best_answer():
  state = told(LEARNER, (), ('b=', '1', 0), ('b=', '2', 1), ('c=', '3', 0))
  assert state == ('b=2',)


def test_what_was_said_of_a_question_before_is_modified_or_stays():
  known = ('a=1', 'b=9')
  assert told(LEARNER, known, ('b=', '2', 1), ('b=', '9', 0)) == ('a=1', 'b=2')
  assert winner('b=', ['9', '2'], [1, 0], known) == []
  twice = ('b=9', 'a=1', 'b=2')
  edits = winner('b=', ['9', '1'], [1, 0], twice)
  assert edits == [Operation('delete', '', 2)]
  assert experiences.revised(twice, edits) == ('b=9', 'a=1')


def test_edits_of_a_group_and_the_length_of_the_list_are_bounded():
  def many(question, answers, rewards, before):
    return [Operation('add', f'{question}{i}') for i in range(5)]

  rows = ('b=', '1', 0), ('b=', '2', 1)
  two = dataclasses.replace(LEARNER, advantage=many, edits=2)
  assert told(two, (), *rows) == ('b=0', 'b=1')
  short = dataclasses.replace(LEARNER, advantage=many, edits=5, most=3)
  assert told(short, ('old',), *rows) == ('b=2', 'b=3', 'b=4')


def test_what_is_there_twice_is_merged():
  assert experiences.distinct(('a', 'b', 'a')) == ('a', 'b')
  own = dataclasses.replace(LEARNER, merge=lambda all: tuple(sorted(all)))
  assert told(own, ('z',), ('b=', '1', 1), ('b=', '2', 0)) == ('b=1', 'z')


def test_bad_edits_are_refused():
  with pytest.raises(ValueError, match="unknown operation 'keep'"):
    experiences.revised(('a',), [Operation('keep')])
  with pytest.raises(
    ValueError, match='no experience 1 to delete; there are 1'
  ):
    experiences.revised(('a',), [Operation('delete', '', 1)])
  with pytest.raises(ValueError, match='edits=0 and most=16 leave nothing'):
    TrainingFreeGRPO(policy=LEARNER.policy, edits=0)
