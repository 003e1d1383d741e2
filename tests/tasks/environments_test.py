"""Environments answer actions and are found by name."""

import random
import sys
import time

import pytest

from jaxrl_llm.tasks import environments, game_toys, toys


def play(row, actions, name='lookup'):
  world = environments.resolve(name)
  (state,), steps = world.reset([row]), []
  for action in actions:
    (step,) = world.step([state], [action])
    state = step.state
    steps.append(step)
  return steps


def test_lookup_tells_a_letter_its_digit_and_pays_for_it_once():
  row = {'digits': {'a': '7', 'b': '2'}}
  steps = play(row, ['b\n', 'b', 'a'])
  assert [step.observation for step in steps] == ['2\n', '2\n', '7\n']
  assert [step.reward for step in steps] == [0.1, 0, 0.1]
  assert [step.anchor for step in steps] == ['b', 'b', 'ab']
  assert [step.agent for step in steps] == [1, 1, 1]
  assert not any(step.done for step in steps)


@pytest.mark.parametrize('action', ['72', 'c', ''])
def test_lookup_ends_with_anything_else(action):
  (step,) = play({'digits': {'a': '7', 'b': '2'}}, [action])
  assert step.done and step.reward == 0 and step.observation == ''


def test_lookup_hears_a_letter_behind_other_words():
  row = {'digits': {'a': '7', 'b': '2'}}
  steps = play(row, ['a', 'now b\n', ' a b '])
  assert [step.observation for step in steps] == ['7\n', '2\n', '2\n']
  assert [step.call for step in steps] == [0, 4, 3]


def test_the_demonstration_of_lookup_is_what_its_environment_says():
  row = toys.lookup(random.Random(0), length=3)
  lines = row['demonstration'].splitlines()
  steps = play(row, [*lines[:-1:2], lines[-1]])
  said = ''.join(step.observation for step in steps)
  assert said == ''.join(f'{digit}\n' for digit in lines[1:-1:2])
  assert steps[-1].done and lines[-1] == row['answer']


def test_a_number_line_pays_for_its_target_and_charges_what_is_no_nearer():
  row = {'start': 1, 'target': 3, 'largest': 9}
  actions = ['-\n', '-', 'up', 'not - but +', '+', '+\n']
  steps = play(row, actions, 'number_line')
  said = [step.observation for step in steps]
  assert said == ['0\n', '0\n', '0\n', '1\n', '2\n', '']
  assert [step.reward for step in steps] == [-1, -1, -1, 0, 0, 1]
  assert [step.done for step in steps] == [False] * 5 + [True]
  assert [step.anchor for step in steps[:5]] == ['0', '0', '0', '1', '2']


def test_a_number_line_ends_at_its_largest_number():
  row = {'start': 4, 'target': 0, 'largest': 4}
  (step,) = play(row, ['+'], 'number_line')
  assert (step.observation, step.reward, step.done) == ('4\n', -1, False)


@pytest.mark.parametrize('careless', [0.0, 0.5])
def test_the_demonstration_of_a_number_line_is_what_it_says(careless):
  ends = []
  for seed in range(50):
    row = game_toys.number_line(random.Random(seed), careless=careless)
    assert 1 <= abs(row['start'] - row['target']) <= 4
    lines = row['demonstration'].splitlines()
    steps = play(row, lines[::2], 'number_line')
    said = ''.join(step.observation for step in steps)
    assert said == ''.join(f'{line}\n' for line in lines[1::2])
    assert row['prompt'] == f'{row["start"]} to {row["answer"]}='
    wrong = sum(step.reward < 0 for step in steps)
    ends.append((steps[-1].done, wrong, len(steps)))
    assert not any(step.done for step in steps[:-1])
    assert steps[-1].done or len(steps) == 8
  assert all(done for done, _, _ in ends) or careless
  assert any(wrong for _, wrong, _ in ends) == bool(careless)


def test_an_environment_may_be_anybodys():
  world = environments.resolve('jaxrl_llm.tasks.environments:Lookup')
  assert isinstance(world, environments.Lookup)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('lokup', "did you mean 'lookup'"),
    ('no_such_module:Class', 'no_such_module'),
    ('jaxrl_llm.tasks.environments:Absent', 'Absent'),
  ],
)
def test_unknown_environments_are_refused(name, message):
  with pytest.raises(ValueError, match=message):
    environments.resolve(name)


def test_a_careless_teacher_guesses_as_often_as_asked():
  rows = [toys.lookup(random.Random(i), careless=0.7) for i in range(500)]
  guessed = [row['demonstration'].count('\n') == 1 for row in rows]
  # Three standard deviations of a share of 0.7 among 500 are 0.06.
  assert 0.64 < sum(guessed) / len(rows) < 0.76


class Slow:
  """Hangs, or forgets rows."""

  def reset(self, rows):
    time.sleep(rows[0]['seconds'])
    return rows[1:]

  def step(self, states, actions):
    return []


class NoStep:
  """Half an environment."""

  def reset(self, rows):
    return rows


def watched(seconds, said):
  return environments.Watched(Slow(), 'slow', seconds, said.append)


def test_an_environment_that_hangs_ends_the_run_and_says_where():
  said = []
  with pytest.raises(ValueError, match='reset gave 0 answers to 1 rows'):
    # Time enough that it has begun to hang, on a busy machine too.
    watched(0.1, said).reset([{'seconds': 0.4}])
  [words] = said
  assert "'slow': no answer of reset to 1 rows within 0.1 s" in words
  assert 'environments_test.py' in words and 'in reset' in words


def test_an_environment_that_answers_in_time_is_left_alone():
  said = []
  for seconds in (60.0, float('inf')):
    with pytest.raises(ValueError, match='gave 1 answers to 2 rows'):
      watched(seconds, said).reset([{'seconds': 0}] * 2)
  assert not said


@pytest.mark.parametrize(
  ('name', 'words'), [('NoStep', 'no method step'), ('watched', 'missing 2')]
)
def test_what_is_no_environment_is_refused(name, words, monkeypatch):
  monkeypatch.setitem(sys.modules, 'given_environments', sys.modules[__name__])
  with pytest.raises(ValueError, match=words):
    environments.resolve(f'given_environments:{name}')


def test_an_environment_is_tried_by_its_reset_or_as_it_says():
  def told(self, rows):
    self.tried = rows

  plain = watched(60.0, [])
  with pytest.raises(ValueError, match='reset gave 0 answers'):
    plain.try_out([{'seconds': 0}])
  able = type('Able', (Slow,), {'try_out': told})()
  environments.Watched(able, 'able', 60.0, print).try_out([{}])
  assert able.tried == [{}]
