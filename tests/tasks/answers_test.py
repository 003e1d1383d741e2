"""What counts as the answer of a response."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import answers


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('so \\boxed{\\frac{1}{2}} it is', '\\frac{1}{2}'),
    ('\\boxed{1} then \\boxed{2}', '2'),
    ('<answer> 7 </answer>.', '7'),
    ('<answer>7', '7'),
    ('48/2 = 24\n#### 72', '72'),
    ('The answer is 12 km.\nReally.', '12 km'),
    ('Answer: B', 'B'),
    ('first the answer is 1. No, the answer is: 2.', '2'),
    ('12', None),
    ('\\boxed{1', None),
    ('', None),
  ],
)
def test_marked_answer(text, expected):
  assert answers.marked(text) == expected


def test_boxed_wins_over_other_marks():
  assert answers.marked('The answer is 1, \\boxed{2} #### 3') == '2'


def test_final_is_the_whole_text_without_a_mark():
  assert answers.final(' a  b\n') == 'a b'


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('1,234.50 dollars', '1234.50'),
    ('$1,234', '1234'),
    ('-$5', '-5'),
    ('1{,}234', '1234'),
    ('about −3.5 °C', '-3.5'),
    ('7-10=-3', '-3'),
    ('10-3', '3'),
    ('(4)-3', '3'),
    ('1e-3 m', '1e-3'),
    ('.5', '0.5'),
    ('3/4 of it', '0.75'),
    ('5 m^2', '5'),
    ('9 kg of CO2', '9'),
    ('42.', '42'),
    ('50%', '50'),
    ('1, 2, 3', '3'),
    ('The answer is 4, not 5', '5'),
    ('#### 4\n5', '4'),
    ('1/0', None),
    ('none', None),
    ('', None),
    ('9' * 1000, None),
  ],
)
def test_number(text, expected):
  found = answers.number(text)
  assert found == (None if expected is None else Decimal(expected))


@given(st.integers(-(10**30), 10**30), st.sampled_from(['', ' apples', ' m^2']))
def test_integers_survive_commas_and_units(value, unit):
  assert answers.number(f'It makes {value:,}{unit}') == value


@given(st.decimals(-(10**9), 10**9, places=4))
def test_decimals_are_exact(value):
  assert answers.number(f'x = {value:f}.') == value


@given(st.text(alphabet='0123456789.,-+eE/$% {}\\ab^', max_size=60))
@settings(max_examples=300)
def test_no_text_raises(text):
  found = answers.number(text)
  assert found is None or found.is_finite()


def test_long_noise_is_read_in_linear_time():
  for noise in ('1,' * 50_000, '9' * 100_000, '{' * 100_000, '1/' * 50_000):
    answers.number('\\boxed{' + noise)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('B', 'B'),
    ('**C**', 'C'),
    ('I think\n(D) because', 'D'),
    ('The answer is (A).', 'A'),
    ('\\boxed{E}', 'E'),
    ('It is (B), not C', 'B'),
    ('Because', None),
    ('', None),
  ],
)
def test_letter(text, expected):
  assert answers.letter(text) == expected
