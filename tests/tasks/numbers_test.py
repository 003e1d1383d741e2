"""The number that a text states, and the last one of many."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl_llm.tasks import numbers


def values(readings):
  return [number.value for number in readings]


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('1,234.50 dollars', '1234.50'),
    ('$1,234', '1234'),
    ('-$5', '-5'),
    ('about −3.5 °C', '-3.5'),
    ('negative 3', '-3'),
    ('7 - 10 = -3', '-3'),
    ('x = 5', '5'),
    ('the total of the 3 rooms is 73', '73'),
    ('4, not 5', '4'),
    ('5 because 2 of 7 went', '5'),
    ('5 out of 12', '5'),
    ('5 (five)', '5'),
    ('5 km/h', '5'),
    ('5\\,\\mathrm{cm}^{3}', '5'),
    ('5 m²', '5'),
    ('3\\frac{1}{2} cups', '3.5'),
    ('1.5 million', '1500000'),
    ('3/4 of it', '0.75'),
    ('\\therefore 5', '5'),
    ('5 apples and 3 pears', None),
    ('5 or 3', None),
    ('5 feet 3 inches', None),
    ('3 * 4 = 12, 12 + 5 = 17', '17'),
    ('x = 5, y = 3', None),
    ('3, 5', None),
    ('(0, 1)', None),
    ('[0, 1)', None),
    ('x > 5', None),
    ('\\pm 5', None),
    ('3:4', None),
    ('2x', None),
    ('2x + 1', None),
    ('2/x', None),
    ('5 cm/x', None),
    ('more than 5', None),
    ('no more than 5', '5'),
    ('x - 5', None),
    ('f(5)', None),
    ('\\log 5', None),
    ('|-5|', None),
    ('not 5', None),
    ('none', None),
    ('', None),
  ],
)
def test_stated(text, expected):
  wanted = [] if expected is None else [Fraction(expected)]
  assert values(numbers.stated(text)) == wanted


def test_an_exact_number_keeps_its_rounded_one():
  both = [Fraction(22, 7), Fraction('3.14')]
  assert values(numbers.stated('\\frac{22}{7} \\approx 3.14')) == both
  assert values(numbers.last('so it is 22/7 ≈ 3.14.')) == both
  assert values(numbers.last('22/7 = 3.14')) == both[1:]


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('7-10=-3', '-3'),
    ('9\n159', '159'),
    ('2 3 100', '100'),
    ('6/2 = <<6/2=3>>3 left', '3'),
    ('=> 5', '5'),
    ('> 5', '5'),
    ('down to minus 5', '-5'),
    ('10-3', '3'),
    ('(4)-3', '3'),
    ('- 7', '-7'),
    ('- 1\n- 7', '7'),
    ('1e-3 m', '1e-3'),
    ('.5', '0.5'),
    ('5 m^2', '5'),
    ('9 kg of CO2', '9'),
    ('42.', '42'),
    ('It is 73 (7 tens and 3 ones)', '73'),
    ('five (5)', '5'),
    ('It is 5!', '5'),
    ('5!', '120'),
    ('50%', '50'),
    ('In 2020, 73 came', '73'),
    ('Thus $2^{10}$', '1024'),
    ('1, 2, 3', None),
    ('at 12:30', None),
    ('It takes 3 hours and 20 minutes.', None),
    ('It takes 3 hours, 20 minutes.', None),
    ('At 9 each day, 20 minutes.', '20'),
    ('between 3 and 5', None),
    ('the 3 cats and 5 dogs', '5'),
    ('15 left out of the 20', '15'),
    ('the ratio 2 : 3', None),
    ('the point (0, 1)', None),
    ('so we use 2x', None),
    ('so we use x + 2', None),
    ('so x > 5', None),
    ('1/0', None),
    ('none', None),
    ('', None),
    ('9' * 1000, None),
  ],
)
def test_last(text, expected):
  wanted = [] if expected is None else [Fraction(expected)]
  assert values(numbers.last(text)) == wanted


@given(st.integers(-(10**30), 10**30), st.sampled_from(['', ' apples', ' m^2']))
def test_integers_survive_commas_and_units(value, unit):
  assert values(numbers.last(f'It makes {value:,}{unit}')) == [value]
  assert values(numbers.stated(f'{value:,}{unit}')) == [value]


@given(st.decimals(-(10**9), 10**9, places=4))
def test_decimals_are_exact(value):
  assert values(numbers.last(f'x = {value:f}.')) == [Fraction(value)]


def same(one, other, tolerance=1e-6, **options):
  [one], [other] = numbers.stated(one), numbers.stated(other)
  return numbers.same(one, other, tolerance, **options)


def test_integers_are_equal_exactly_and_others_about():
  assert not same('100000000', '100000001')
  # The tolerance is relative above 1 and absolute below.
  assert same('1000000.5', '1000001.2') and not same('1000000.5', '1000001.9')
  assert same('0.0000005', '0.000001') and not same('0.5', '0.500002')
  assert not same('0.0000005', '0.000001', least=0)


def test_a_percent_sign_on_one_side_may_mean_hundredths():
  assert same('50%', '50') and same('50%', '0.5') and same('1/2', '50 percent')
  assert not same('0.5%', '50%') and not same('50', '0.5')


def test_units_that_exclude_each_other_differ():
  assert same('5 km', '5') and same('5 km', '5 kilometers')
  assert same('5 m^2', '5 square meters') and same('5 inches', '5 in')
  assert not same('5 km', '5 m') and not same('5 feet', '5 inches')
