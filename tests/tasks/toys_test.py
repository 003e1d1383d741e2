"""Toys: demonstrations are right, and wrong answers are not."""

import ast
import itertools
import random
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl_llm.tabular import games
from jaxrl_llm.tasks import (
  expressions,
  generated,
  structured_toys,
  toys,
  verifiers,
)

LEVELS = [
  (name, level)
  for name, toy in generated.TOYS.items()
  for level in range(len(toy.levels))
]


# An environment says what their episodes earned.
PLAYED = {k for k, toy in generated.TOYS.items() if toy.verifier == 'returned'}


@pytest.mark.parametrize(
  ('name', 'level'), [x for x in LEVELS if x[0] not in PLAYED]
)
def test_verifier_accepts_demonstrations_and_answers(name, level, request):
  toy = generated.TOYS[name]
  if toy.verifier == 'code':
    request.getfixturevalue('namespaces')
  careful = {k: v for k, v in toy.levels[level].items() if k != 'careless'}
  # A process each, where responses are programs.
  count = 10 if toy.verifier == 'code' else 50
  rows = [toy.row(random.Random(i), **careful) for i in range(count)]
  patient = {'code': 'code:60'}
  check = verifiers.resolve(patient.get(toy.verifier, toy.verifier))
  for field in {'demonstration', 'answer', 'solution'} & rows[0].keys():
    given = [row[field] for row in rows]
    # Of an episode, what is said at its end.
    said = [x if isinstance(x, str) else x[-1]['content'] for x in given]
    assert check(said, rows) == [1] * count
  assert check(['', 'xx'], rows[:2]) == [0, 0]


def test_a_careless_teacher_copies_as_often_as_asked():
  rows = [toys.sort(random.Random(i), careless=0.7) for i in range(500)]
  copied = [f'sort {row["demonstration"]}=' == row['prompt'] for row in rows]
  # Three standard deviations of a share of 0.7 among 500 are 0.06.
  assert 0.64 < sum(copied) / len(rows) < 0.76
  assert (
    toys.sort(random.Random(1), careless=0.0)['demonstration']
    == (toys.sort(random.Random(1))['answer'])
  )
  with pytest.raises(ValueError, match='careless=2'):
    toys.sort(random.Random(1), careless=2)


@pytest.mark.parametrize(('name', 'level'), LEVELS)
def test_row_is_a_function_of_the_generator(name, level):
  toy = generated.TOYS[name]
  make = [
    [toy.row(random.Random(seed), **toy.levels[level]) for seed in range(5)]
    for _ in range(2)
  ]
  assert make[0] == make[1] and make[0][0] != make[0][1]


def test_worked_sum_goes_one_operation_at_a_time():
  row = toys.chain_sum(random.Random(3), terms=4)
  steps = (row['prompt'] + row['demonstration']).split('=')
  assert len(steps) == 4
  assert {eval(step) for step in steps} == {int(row['answer'])}


@pytest.mark.parametrize('make', [toys.chain_sum, toys.sort])
def test_hints_tell_more_and_more_of_the_solution(make):
  row = make(random.Random(3))
  assert row['hints'][-1] == row['solution']
  lengths = [len(hint) for hint in row['hints']]
  assert lengths == sorted(set(lengths)) and len(lengths) > 2
  assert all(row['solution'].startswith(hint) for hint in row['hints'])


def test_a_blurted_sum_has_a_worked_solution_all_the_same():
  row = toys.chain_sum(random.Random(3), worked=0.0)
  assert row['demonstration'] == row['answer'] != row['solution']


def test_worked_is_the_share_of_demonstrations_with_steps():
  rows = [
    toys.chain_sum(random.Random(i), terms=4, worked=0.3) for i in range(2000)
  ]
  share = sum('=' in row['demonstration'] for row in rows) / len(rows)
  assert abs(share - 0.3) < 0.05  # five standard errors


def test_worked_changes_no_question():
  pairs = [
    [toys.chain_sum(random.Random(i), worked=w)['prompt'] for w in (0.0, 1.0)]
    for i in range(20)
  ]
  assert all(a == b for a, b in pairs)


def test_countdown_accepts_every_right_expression_and_no_other():
  row = {'numbers': [2, 5, 8], 'target': 11}
  right = set()
  for numbers in itertools.permutations(row['numbers']):
    for signs in itertools.product('+-*', repeat=2):
      text = ''.join(
        str(x) for pair in zip(numbers, [*signs, '']) for x in pair
      )
      expected = float(eval(text) == 11)
      assert expressions.countdown_score([text], [row]) == [expected]
      right |= {text} if expected else set()
  assert len(right) > 1


@pytest.mark.parametrize(
  ('response', 'expected'),
  [
    ('8+5-2', 1),
    ('8+5-2=11', 1),
    ('the answer is (8 + 5) - 2', 1),
    ('8+5-2=12', 0),  # a false claim
    ('8+5', 0),
    ('11', 0),
    ('8+5-2+0', 0),
    ('8+5-2-2', 0),
    ('8+5-2)', 0),
    ('', 0),
    ('8+5-2; import os', 0),
    ('8+5--2', 0),
  ],
)
def test_countdown_score(response, expected):
  row = {'numbers': [2, 5, 8], 'target': 11}
  assert expressions.countdown_score([response], [row]) == [expected]


@given(
  st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.one_of(
      st.builds('({}{}{})'.format, inner, st.sampled_from('+-*/'), inner),
      st.builds('{}{}{}'.format, inner, st.sampled_from('+-*'), inner),
    ),
    max_leaves=6,
  )
)
def test_evaluation_agrees_with_python(expression):
  exact = ''.join(
    f'Fraction({token})' if token.isdecimal() else token
    for token in expressions._tokens(expression)[::-1]
  )
  try:
    expected = eval(exact, {'Fraction': Fraction})
  except ZeroDivisionError:
    with pytest.raises(ValueError, match='division by 0'):
      expressions.evaluate(expression)
    return
  assert expressions.evaluate(expression)[0] == expected


@pytest.mark.parametrize(
  'text', ['', '1+', '(1', '1 2', '-1', '1//2', 'a', '²', '9**9', '((' * 90]
)
def test_evaluation_refuses_what_is_no_expression(text):
  with pytest.raises(ValueError):
    expressions.evaluate(text)


@pytest.mark.parametrize(
  ('toy', 'options', 'message'),
  [
    (toys.chain_sum, {'terms': 1}, 'terms=1 must be at least 2'),
    (toys.chain_sum, {'largest': 0}, 'largest=0'),
    (toys.chain_sum, {'worked': 2.0}, r'worked=2.0 must be in \[0, 1\]'),
    (toys.countdown, {'signs': '/'}, "signs='/' must be of"),
    (toys.countdown, {'numbers': 1}, 'numbers=1'),
    (toys.sort, {'length': 0}, 'length=0'),
    (toys.reverse, {'symbols': ''}, "symbols='' must be not empty"),
  ],
)
def test_bad_options_name_their_bound(toy, options, message):
  with pytest.raises(ValueError, match=message):
    toy(random.Random(0), **options)


def test_a_line_is_tested_beside_the_points_of_its_question():
  for seed in range(50):
    row = toys.line(random.Random(seed))
    asked = {int(x) for x in re.findall(r'f\((\d+)\)=', row['prompt'])}
    [test] = row['tests']
    tested = ast.literal_eval(re.search(r'in (\[.*?\])', test)[1])
    assert len(asked) == 2 and len(tested) == 3 and not asked & set(tested)
  with pytest.raises(ValueError, match='largest=3 must be more than 3'):
    toys.line(random.Random(0), largest=3)


def test_a_table_of_the_question_is_no_line(namespaces):
  row = {
    'prompt': 'f(1)=2,f(3)=4 ',
    'tests': ['assert [f(x) for x in [2]] == [3]'],
  }
  check = verifiers.resolve('code:60')
  assert check(
    ['def f(x): return {1: 2, 3: 4}[x]', 'def f(x): return x+1'], [row] * 2
  ) == [0, 1]


def test_each_choice_of_a_cycle_beats_the_next_and_nonsense_loses():
  said = ['3', 'so #### 1', '7', '317', '']
  table = [
    toys.cycle_duel([a] * 5, said, [{'choices': ['3', '1', '7']}] * 5)
    for a in said
  ]
  assert table == [
    [0.5, 1, 0, 1, 1],
    [0, 0.5, 1, 1, 1],
    [1, 0, 0.5, 1, 1],
    [0, 0, 0, 0.5, 0.5],
    [0, 0, 0, 0.5, 0.5],
  ]
  best = games.equilibrium(np.array(table))
  np.testing.assert_allclose(best, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=1e-8)


def test_a_teacher_of_the_cycle_copies_or_favours_the_first_as_often_as_asked():
  rows = [
    toys.cycle(random.Random(i), careless=0.4, favourite=0.8)
    for i in range(1000)
  ]
  said = [row['demonstration'] for row in rows]
  copied = [f'throw {d}=' == row['prompt'] for d, row in zip(said, rows)]
  first = [d == 'r' for d in said]
  # Three standard deviations of a share among 1,000 are at most 0.05.
  assert 0.35 < sum(copied) / 1000 < 0.45
  assert 0.43 < sum(first) / 1000 < 0.53
  with pytest.raises(ValueError, match="symbols='rs' must be at least 3"):
    toys.cycle(random.Random(0), symbols='rs')


def test_a_judged_pair_has_two_orders_with_two_answers():
  for i in range(50):
    row = structured_toys.judge(random.Random(i), length=3)
    for asked, answer in zip(
      [row['prompt'], *row['wordings']], row['answers'], strict=True
    ):
      words = dict(zip('AB', re.findall(r'\d+', asked)))
      ordered = {key: [*word] == sorted(word) for key, word in words.items()}
      assert ordered == {'A': answer == 'A', 'B': answer == 'B'}


def test_a_judge_who_doubts_a_thought_reads_before_the_second():
  said = []
  for i in range(200):
    row = structured_toys.judge(
      random.Random(i), careless=1.0, thought=True, doubts=0.5
    )
    said.append(row['demonstration'] == 'A</think>A')
    right = row['answer']
    assert said[-1] or row['demonstration'] == f'A?{right}</think>{right}'
  assert 0.35 < sum(said) / 200 < 0.65


def test_the_first_wrong_step_of_a_proof_is_the_answer():
  found = set()
  for i in range(100):
    row = structured_toys.proof(random.Random(i))
    first, *steps = map(eval, row['prompt'].removesuffix(':').split('='))
    values = [first, *steps]
    wrong = [k for k in range(len(steps)) if values[k] != values[k + 1]]
    assert int(row['answer']) == (wrong[0] if wrong else -1)
    assert len(wrong) < 2 and row['steps'] == len(steps)
    found.add(row['answer'])
  assert found == {'-1', '0', '1', '2'}
