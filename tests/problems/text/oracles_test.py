"""Preference oracles: groups from pairs, and what is refused."""

import numpy as np
import pytest

from jaxrl_llm.problems.text import oracles

ROWS = [{'prompt': f'q{i // 3}'} for i in range(6)]
TEXTS = ['a', 'bb', '', 'dddd', 'e', 'ff']


def longer(first, second, rows):
  """The longer text wins by its share of letters; two empty ones draw."""
  del rows
  return [
    len(a) / (len(a) + len(b)) if a + b else 0.5 for a, b in zip(first, second)
  ]


def test_every_two_rows_of_a_group_are_judged_once_and_sum_to_one():
  asked = []

  def oracle(first, second, rows):
    asked.extend(zip(first, second, [row['prompt'] for row in rows]))
    return longer(first, second, rows)

  game, failed = oracles.of_groups(oracle, TEXTS, ROWS, 3)
  assert failed == 0 and game.dtype == np.float32
  assert len(asked) == len(set(asked)) == 6
  assert {prompt for _, _, prompt in asked} == {'q0', 'q1'}
  for i, mine in enumerate(TEXTS):
    for j in range(3):
      other = TEXTS[i // 3 * 3 + j]
      expected = 0.5 if mine is other else longer([mine], [other], ())[0]
      np.testing.assert_allclose(game[i, j], expected, rtol=1e-6)


def test_a_group_of_one_row_is_a_draw_with_itself():
  game, failed = oracles.of_groups(longer, TEXTS, ROWS, 1)
  np.testing.assert_array_equal(game, np.full((6, 1), 0.5))
  assert failed == 0


def test_what_is_no_chance_is_a_draw_and_counted():
  found, failed = oracles.chances(
    lambda *_: [0.25, np.nan, 1.5, -1e-9], TEXTS[:4], TEXTS[:4], ROWS[:4]
  )
  np.testing.assert_array_equal(found, np.float32([0.25, 0.5, 0.5, 0.5]))
  assert failed == 3
  with pytest.raises(ValueError, match=r'gave \(1,\) chances for 4 pairs'):
    oracles.chances(lambda *_: [1.0], TEXTS[:4], TEXTS[:4], ROWS[:4])


def test_oracles_go_by_name_or_import_path():
  assert oracles.load('') is None
  rows = [{'choices': ['1', '2', '3']}]
  for spec in ('cycle', 'jaxrl_llm.tasks.toys:cycle_duel'):
    assert oracles.load(spec)(['1'], ['2'], rows) == [1.0]


@pytest.mark.parametrize(
  ('spec', 'message'),
  [
    ('cyle', "did you mean 'cycle'"),
    ('reward_model', 'reward_model:FOLDER'),
    ('nowhere:f', "no module 'nowhere'"),
    ('jaxrl_llm.tasks.toys:duel', "no function or class 'duel'"),
  ],
)
def test_an_oracle_that_is_not_there_is_named(spec, message):
  with pytest.raises(ValueError, match=message) as error:
    oracles.load(spec)
  assert f"verify.preference='{spec}'" in str(error.value)
