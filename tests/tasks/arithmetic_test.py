"""Arithmetic in plain text and in LaTeX."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl_llm.tasks import arithmetic


def value(text):
  reader = arithmetic.Reader(arithmetic.tokens(arithmetic.plainer(text)))
  found = reader.tried(reader.sum)
  return found if reader.peek() is arithmetic.END else None


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('1 + 2 * 3', '7'),
    ('(1 + 2) \\times 3', '9'),
    ('7 - 10', '-3'),
    ('-2^2', '-4'),
    ('2^{3^2}', '512'),
    ('2**-1', '1/2'),
    ('1,234.5', '2469/2'),
    ('1 234\u00a0567', '1234567'),
    ('1{,}234', '1234'),
    ("1'234'567", '1234567'),
    ('1_000', '1000'),
    ('1\\,234', '1234'),
    ('1e-3', '1/1000'),
    ('3.2 × 10⁵', '320000'),
    ('3.2 x 10^5', '320000'),
    ('\\dfrac{1}{2}', '1/2'),
    ('\\frac12', '1/2'),
    ('\\frac{-1}{2}', '-1/2'),
    ('3\\tfrac{1}{2}', '7/2'),
    ('3 1/2', '7/2'),
    ('3½', '7/2'),
    ('-½', '-1/2'),
    ('1 / 2', '1/2'),
    ('\\sqrt{16}', '4'),
    ('\\sqrt[3]{27}', '3'),
    ('2\\sqrt{9}', '6'),
    ('√49', '7'),
    ('5!', '120'),
    ('0.1\\overline{6}', '1/6'),
    ('\\left(\\frac{1}{2}\\right)', '1/2'),
    ('\\(\\$5\\)', '5'),
    ('１２', '12'),
    ('1/0', None),
    ('0^0', None),
    ('171!', None),
    ('2^{99999}', None),
    ('9' * 500, None),
    ('12,34', None),
    ('12:30', None),
    ('1.2.3', None),
    ('(1', None),
    ('(0, 1)', None),
    ('((((((((((1))))))))))', None),
    ('x', None),
    ('', None),
  ],
)
def test_value(text, expected):
  found = value(text)
  assert (found is None) == (expected is None)
  # Roots have 30 digits.
  assert not found or abs(found - Fraction(expected)) < Fraction(1, 10**20)


@given(st.fractions(), st.fractions())
def test_reads_what_python_writes(a, b):
  assert value(f'({a}) + ({b})') == a + b
  assert value(f'({a}) * ({b})') == a * b
  latex = f'\\frac{{{a.numerator}}}{{{a.denominator}}}'
  assert value(f'{latex} - ({b})') == a - b
