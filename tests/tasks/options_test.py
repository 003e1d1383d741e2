"""Which option a text picks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import options

COLOURS = dict(zip('ABCD', ['red', 'green', 'blue', 'black']))


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('B', 'B'),
    ('b', 'B'),
    ('**C**', 'C'),
    ('I think\n(D) because', 'D'),
    ('The answer is (A).', 'A'),
    ('\\boxed{D}', 'D'),
    ('\\boxed{\\textbf{(B)}\\ 12}', 'B'),
    ('\\boxed{x}\nAnswer: D', 'D'),
    ('It is (B), not C', 'B'),
    ('I would pick B', 'B'),
    ('B because C is wrong', 'B'),
    ('B.\nC is too large.', 'B'),
    ('A is wrong. So it is C.', 'C'),
    ('Answer: option b', 'B'),
    ('The answer is green.', 'B'),
    ('I think it is green', 'B'),
    ('A) red\nB) green\nC) blue\n\nI choose B.', 'B'),
    ('A) red\nB) green\nC) blue\nD) black', None),
    ('(A) red (B) green (C) blue', None),
    ('A good guess', None),
    ('Answer: B or C', None),
    ('B and C', None),
    ('A to D', None),
    ('all but D', None),
    ('A, B, and C', None),
    ('F', None),
    ('Maybe A. Answer: F', None),
    ('AB', None),
    ('Because', None),
    ('None of the above', None),
    ('', None),
  ],
)
def test_chosen(text, expected):
  assert options.chosen(text, COLOURS) == expected


def test_letters_past_the_options_are_words():
  ten = dict(zip('ABCDEFGHIJ', 'qrstuvwxyz'))
  assert options.chosen('The answer is I.', ten) == 'I'
  assert options.chosen('The answer is I.', COLOURS) is None
  assert options.chosen('The answer is C as I said', ten) == 'C'
  assert options.chosen('E', {}) == 'E'


def test_a_letter_in_the_text_of_an_option_is_not_its_name():
  vitamins = {'A': 'vitamin C', 'B': 'vitamin B', 'C': 'iron'}
  assert options.chosen('It is vitamin C.', vitamins) == 'A'


@pytest.mark.parametrize(
  ('row', 'answer', 'expected'),
  [
    ({'choices': ['x', 'y']}, 'B', 'B'),
    ({'choices': ['x', 'y']}, '(b)', 'B'),
    ({'choices': ['x', 'y']}, 'y', 'B'),
    ({'choices': ['x', 'y']}, 1, 'B'),
    ({'options': ['1', '0']}, 1, 'B'),
    ({'options': ['1', '0']}, '1', 'A'),
    ({'options': {'A': 'x', 'B': 'y'}}, 'y', 'B'),
    ({'choices': {'text': ['x', 'y'], 'label': ['A', 'B']}}, 'B', 'B'),
    ({'choices': {'text': ['x', 'y'], 'label': ['1', '2']}}, '2', 'B'),
    ({}, 'C', 'C'),
  ],
)
def test_reference_reads_the_fields_of_data_sets(row, answer, expected):
  assert options.reference(row, answer) == expected


@pytest.mark.parametrize(
  ('row', 'answer'),
  [
    ({'choices': ['x', 'y']}, 2),
    ({'choices': ['x', 'y']}, -1),
    ({'choices': ['x', 'y']}, True),
    ({'choices': ['x', 'y']}, '1'),
    ({'choices': ['x', 'y']}, 'z'),
    ({'choices': ['x', 'y']}, 'C'),
    ({}, 1),
  ],
)
def test_an_answer_that_names_no_option_says_what_would(row, answer):
  with pytest.raises(ValueError, match='names no option; write a letter'):
    options.reference(row, answer)


@given(st.text(alphabet='ABCabcI (.)*$,\n\\{}orntis', max_size=50))
@settings(max_examples=300)
def test_no_text_raises(text):
  assert options.chosen(text, COLOURS) in (None, *'ABCD')
  assert options.chosen(text, {}) in (None, *'ABCI', *'ORNTIS')
