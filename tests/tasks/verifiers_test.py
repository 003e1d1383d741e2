"""The built-in verifiers and their names."""

import collections
import json
import math
import pathlib
import string
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import gym, symbolic, verifiers

# Responses with the score that a careful reader gives them. The first part of
# an id is where the kind was reported: Math-Verify's issue 76, verl's 7274,
# open-instruct's 1530, lm-evaluation-harness' 4039; or what it is about.
CASES = collections.defaultdict(list)
for _line in (
  (pathlib.Path(__file__).parent / 'verifier_cases.jsonl')
  .read_text(encoding='utf-8')
  .splitlines()
):
  _case = json.loads(_line)
  CASES[_case['id'].split('.')[0]].append(_case)
# Ordinary ways to end a response.
ENDINGS = (
  '{}',
  '**{}**',
  '\\boxed{{{}}}',
  'so $\\boxed{{{}}}$.',
  '\\fbox{{\\text{{{}}}}}',
  'We add 12 and 30.\n#### {}',
  '#### Step 1\nWe add 12.\n\n#### Final answer\n{}',
  'The answer is {}.',
  'the answer is: **{}**',
  'The answer is {}. Is the answer clear?',
  'The answer is `{}`.',
  'Answer: {}',
  '**Final Answer:** {}',
  '### Answer\n\n{}\n',
  'The answer is\n\\[\n{}\n\\]',
  '<think>12? 30?</think>\n<answer>{}</answer>',
  '<answer>\nThe answer is "{}".\n</answer>',
)
NO_ANSWERS = ('', ' \n', 'I do not know.', 'The answer is', '\\boxed{}', '####')


def scores(spec, answer, *responses, **row):
  rows = [{'answer': answer, **row}] * len(responses)
  return verifiers.resolve(spec)(list(responses), rows)


def test_exact_compares_final_answers():
  given = ('so #### a  b', 'a b', 'A b', 'a')
  assert scores('exact', ' a b', *given) == [1, 1, 0, 0]


@pytest.mark.parametrize('kind', CASES)
def test_reported_responses_get_the_score_they_deserve(kind):
  found = {
    case['id']: verifiers.score(
      case['verifier'], case['response'], case['row']
    )[:2]
    for case in CASES[kind]
  }
  wanted = {case['id']: ('ok', case['expected']) for case in CASES[kind]}
  assert found == wanted


NUMBERS = st.one_of(
  st.integers(-(10**12), 10**12),
  st.fractions(max_denominator=999).filter(lambda x: abs(x) < 10**6),
)


@pytest.mark.parametrize('spec', ['numeric', 'math', 'exact'])
@given(number=NUMBERS, other=NUMBERS, ending=st.sampled_from(ENDINGS))
def test_a_number_is_found_at_every_ending(spec, number, other, ending):
  response = ending.format(number)
  assert scores(spec, str(number), response) == [1]
  wrong = ending.format(other)
  assert scores(spec, str(number), wrong) == [float(number == other)]


@given(st.fractions(0, 1).filter(lambda x: 0 < x < 1), st.sampled_from(ENDINGS))
def test_a_fraction_is_itself_in_latex_as_in_text(fraction, ending):
  part = fraction.limit_denominator(99)
  if not 0 < part < 1:
    return
  over, under = part.numerator, part.denominator
  latex = ending.format(f'\\frac{{{over}}}{{{under}}}')
  mixed = ending.format(f'3\\tfrac{{{over}}}{{{under}}}')
  assert scores('numeric', f'{over}/{under}', latex) == [1]
  assert scores('numeric', str(part + 3), mixed) == [1]
  for wrong in {over, under} - {Fraction(over, under)}:
    assert scores('numeric', str(wrong), latex, mixed) == [0, 0]


@given(
  st.integers(10**3, 10**12),
  st.sampled_from([',', '\u00a0', '\u2009', '\u202f', ' ', '{,}', '\\,']),
  st.sampled_from(ENDINGS),
)
def test_separators_of_thousands_change_no_number(value, separator, ending):
  written = f'{value:,}'.replace(',', separator)
  response = ending.format(written)
  assert scores('numeric', str(value), response) == [1]
  assert scores('numeric', str(value + 1), response) == [0]
  assert scores('numeric', str(value % 1000), response) == [0]


@given(
  st.sampled_from('ABCD'),
  st.sampled_from('ABCD'),
  st.sampled_from(['{}', '({})', '{}.', 'option {}', '{}, of course']),
  st.sampled_from(ENDINGS),
)
def test_a_letter_is_found_at_every_ending(letter, other, form, ending):
  row = {'choices': ['red', 'green', 'blue', 'black']}
  for said in (form.format(letter), form.format(letter.lower())):
    if said[0].islower() and ',' in said:
      continue
    response = ending.format(said)
    found = scores('multiple_choice', other, response, **row)
    assert found == [float(letter == other)]
    place = string.ascii_uppercase.index(other)
    assert scores('multiple_choice', place, response, **row) == found


@pytest.mark.parametrize(
  ('spec', 'answer'),
  [('exact', 'I'), ('numeric', '1'), ('math', '0'), ('multiple_choice', 'A')],
)
def test_no_answer_is_never_right(spec, answer):
  assert scores(spec, answer, *NO_ANSWERS) == [0] * len(NO_ANSWERS)


@given(st.text(alphabet='0123456789.,-+/$% {}\\ab[]()=*\n', max_size=30))
@settings(max_examples=100)
def test_no_response_makes_a_verifier_raise(response):
  for spec in ('exact', 'numeric', 'math', 'multiple_choice', 'listed'):
    row = {'answer': '1', 'choices': ['1', '2']}
    assert verifiers.score(spec, response, row)[0] == 'ok'


def test_any_of_several_answers_is_right():
  given = ('1', '2', '3')
  assert scores('exact', ['1', '2'], *given) == [1, 1, 0]
  assert scores('numeric', [1, '2.0'], *given) == [1, 1, 0]
  assert scores('math', ['1', '\\frac{4}{2}'], *given) == [1, 1, 0]
  row = {'choices': ['x', 'y', 'z']}
  assert scores('multiple_choice', ['A', 1], 'A', 'B', 'C', **row) == [1, 1, 0]


@pytest.mark.parametrize('spec', ['exact', 'numeric', 'math'])
@pytest.mark.parametrize('answer', [None, '', [], {'a': 1}])
def test_an_answer_that_nothing_can_equal_is_an_error(spec, answer):
  with pytest.raises(ValueError, match='is nothing to compare with'):
    scores(spec, answer, '')


def test_numeric_compares_values_not_spelling():
  given = ('1,234 apples', '1234.0', '1234.5', 'none')
  assert scores('numeric', '... #### 1234', *given) == [1, 1, 0, 0]


def test_numeric_is_exact_on_integers_and_tolerant_elsewhere():
  assert scores('numeric', '100000000', '100000001') == [0]
  assert scores('numeric', '0.333333333', '1/3', '0.3334') == [1, 0]
  assert scores('numeric:0.01', '3.14159', '3.14', '3.2') == [1, 0]


def test_numeric_tolerance_is_relative_above_one_and_absolute_below():
  assert scores('numeric', '1000000.5', '1000000.9', '1000002.5') == [1, 0]
  assert scores('numeric:0.01', '1234.5', '1240.5', '1250.5') == [1, 0]
  assert scores('numeric:0.01', '0.001', '0.009', '0.0111') == [1, 0]
  assert scores('numeric:0.01', '-1234.5', '-1240.5', '1234.5') == [1, 0]


def test_numeric_names_an_answer_without_a_number():
  with pytest.raises(ValueError, match="'many' holds no number"):
    scores('numeric', 'many', '3')


def test_listed_wants_one_of_the_choices():
  given = ('so #### b', 'a', 'ab', '')
  assert scores('listed', '', *given, choices=['a', 'b']) == [1, 1, 0, 0]


def test_multiple_choice_reads_letters_and_texts():
  choices = ['red', 'green', 'blue']
  given = ('(B)', 'The answer is green.', 'I say\nB.', 'C', 'no idea')
  for answer in ('B', '(B)', 'green'):
    found = scores('multiple_choice', answer, *given, choices=choices)
    assert found == [1, 1, 1, 0, 0]


def test_multiple_choice_names_an_answer_that_is_no_option():
  with pytest.raises(ValueError, match="'teal' names no option"):
    scores('multiple_choice', 'teal', 'B', choices=['red'])


def test_format_finds_its_pattern_over_lines():
  given = ('<t>a\nb</t>c', '<t>')
  assert scores('format:<t>.*</t>', '', *given) == [1, 0]


@pytest.mark.parametrize(
  ('answer', 'right', 'wrong'),
  [
    ('\\frac{1}{2}', 'It is $0.5$', '\\boxed{2}'),
    ('$x^2+1$', 'we get $1+x^2$', '$x^2$'),
    ('42', '... #### 42', '41'),
    ('\\boxed{(1,2)}', '\\boxed{(1, 2)}', '\\boxed{(2,1)}'),
  ],
)
def test_math_compares_expressions(answer, right, wrong):
  rows = [{'answer': answer}] * 2
  assert symbolic.equal([right, wrong], rows) == [1, 0]


def test_math_names_an_answer_that_is_no_expression():
  with pytest.raises(ValueError, match='is no expression'):
    symbolic.equal(['1'], [{'answer': '\\frac{'}])


def test_reasoning_gym_scores_with_the_task_itself():
  rows = list(gym.questions('chain_sum', seed=1, limit=3))
  right = [f'The answer is {row["answer"]}' for row in rows]
  assert gym.score(right, rows) == [1, 1, 1]
  bold = [f'The answer is **{row["answer"]}**.' for row in rows]
  assert gym.score(bold, rows) == [1, 1, 1]
  assert max(gym.score(['x'] * 3, rows)) < 1


@pytest.mark.parametrize(
  ('spec', 'message'),
  [
    ('numerics', "did you mean 'numeric'"),
    ('zzz', 'known: action, code, countdown, exact'),
    ('format', 'needs its pattern'),
    ('format:(', 'bad pattern'),
    ('numeric:much', 'bad tolerance'),
    ('exact:1', 'takes no parameter'),
    ('no_such_module_here:f', "no module 'no_such_module_here'"),
    ('math:f', 'takes no parameter'),
    ('json:no_such', "json has no function or class 'no_such'"),
    ('__main__:f', 'cannot import __main__'),
  ],
)
def test_names_that_do_not_resolve_say_why(spec, message):
  with pytest.raises(ValueError, match=message):
    verifiers.resolve(spec)


def test_import_path_resolves_and_labels():
  assert verifiers.resolve('math_verify:parse').__name__ == 'parse'
  assert verifiers.name_of('package.module:mine') == 'mine'
  assert verifiers.name_of('format:a:b') == 'format'


def test_score_tells_kinds_of_failure_apart(tmp_path, monkeypatch):
  (tmp_path / 'odd_scores.py').write_text(
    'import sys\n'
    'def two(responses, rows): return [1, 2]\n'
    'def leave(responses, rows): sys.exit(3)\n'
    'def nothing(responses, rows): return None\n'
    'def nan(responses, rows): return [float("nan")]\n'
    'def infinite(responses, rows): return [float("inf")]\n'
    'def fine(responses, rows): return (True,)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  kinds = {
    name: verifiers.score(f'odd_scores:{name}', '', {})
    for name in ('two', 'leave', 'nothing', 'nan', 'infinite', 'fine')
  }
  assert [kind for kind, _, _ in kinds.values()] == [
    *['errors'] * 3,
    *['nan'] * 2,
    'ok',
  ]
  assert kinds['two'][2] == '2 scores for 1 response'
  assert all(math.isfinite(value) for _, value, _ in kinds.values())
  assert kinds['fine'][1] == 1.0


def test_a_label_names_the_scores_and_changes_nothing_else():
  assert verifiers.name_of('quality=numeric:0.1') == 'quality'
  assert verifiers.resolve('quality=numeric:0.1')(['1.05'], [{'answer': '1'}])
  labelled = verifiers.resolve('quality=exact')
  assert labelled is verifiers.resolve('exact')
  # A pattern may hold the sign of a label; its verifier comes first.
  assert verifiers.name_of('format:a=b') == 'format'
  assert verifiers.resolve('format:a=b')(['xa=b'], [{}]) == [1]


def test_a_label_does_not_decide_where_a_verifier_runs():
  assert verifiers.is_inline('quality=exact')
  assert not verifiers.is_inline('exact=format:a')


def test_returned_passes_on_what_an_environment_gave():
  assert verifiers.resolve('returned')(['x'], [{'return': 0.3}]) == [0.3]
  kind, _, detail = verifiers.score('returned', 'x', {})
  assert kind == 'errors' and 'return' in detail
