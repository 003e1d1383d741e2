"""What counts as the answer of a response."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import answers

NOISE = '0123456789.,-+eE/$% {}\\ab^!:=≈½()[]#*`\n'


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('so \\boxed{\\frac{1}{2}} it is', '\\frac{1}{2}'),
    ('\\boxed{1} then \\boxed{2}', '2'),
    ('\\boxed{1}, \\boxed{2} and \\boxed{3}', '1, 2, 3'),
    ('\\boxed{1} \\boxed{1}', '1'),
    ('\\fbox{\\boxed {\\text{yes}}}', 'yes'),
    ('$\\boxed 7$', '7'),
    ('\\boxed{7} or \\boxed{8', '7'),
    ('\\{ x } \\boxed{\\{1\\}}', '\\{1\\}'),
    ('<answer> 7 </answer>.', '7'),
    ('<answer>7', '7'),
    ('<answer>The answer is 7</answer>', '7'),
    ('48/2 = 24\n#### 72', '72'),
    ('#### 72\n#### ', '72'),
    ('#### 71 #### 72', '72'),
    ('#### 72\nthen I checked it', '72'),
    ('#### Step 1\nadd\n#### Step 2\nThe answer is 72', '72'),
    ('#### 1. Add\n70 + 2 = 72', None),
    ('The answer is 12 km.\nReally.', '12 km'),
    ('The answer is 12. Is the answer clear?', '12'),
    ('The answer is 12. If the answer is unclear, ask.', '12'),
    ('The answer is 12. This answer is final.', '12'),
    ('The answer is not 11 but 12.', '12'),
    ('### Final Answer\n\n**12**', '12'),
    ('**Final answer:**\n\\[\n12\n\\]', '12'),
    ('Answer: B', 'B'),
    ('**Answer: B**', 'B'),
    ('The answer is "J. Smith".', 'J. Smith'),
    ('The answer is B. Note that A is near.', 'B'),
    ('The answer is George W. Bush. He is', 'George W. Bush'),
    ('first the answer is 1. No, the answer is: 2.', '2'),
    ('<think>The answer is 1.</think>The answer is 2.', '2'),
    ('<think>The answer is 1.</think>', '1.</think>'),
    ('Answer the question: why?', None),
    ('Answer choices: A, B', None),
    ('12', None),
    ('\\boxed{1', None),
    ('\\boxed{}', None),
    ('', None),
  ],
)
def test_marked_answer(text, expected):
  assert answers.marked(text) == expected


def test_boxed_wins_over_other_marks():
  text = 'The answer is 1, \\boxed{2} #### 3'
  assert answers.marked(text) == '2'
  assert list(answers.marks(text))[:2] == ['2', '3']


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (' **73**. ', '73'),
    ('73**', '73'),
    ('`"73"`', '73'),
    ('$\\text{yes}$', 'yes'),
    ('\\(\\mathbf{7}\\)', '7'),
    ('```\n7\n```', '7'),
    ('```python\nx = 1\n```', 'x = 1'),
    ('$a$ and $b$', '$a$ and $b$'),
    ('\\text{a} or \\text{b}', '\\text{a} or \\text{b}'),
    ('"', '"'),
    ('', ''),
  ],
)
def test_bare_answer_has_nothing_around_it(text, expected):
  assert answers.bare(text) == expected


def test_final_is_the_whole_text_without_a_mark():
  assert answers.final(' a  b\n') == 'a b'
  assert answers.final('<think>why?</think> **a**') == 'a'


def test_a_list_of_answers_is_several_right_ones():
  assert answers.accepted({'answer': 'a'}) == ['a']
  assert answers.accepted({'answer': ['a', 2]}) == ['a', '2']


@pytest.mark.parametrize('answer', [None, '', ' ', [], ['a', None], {'a': 1}])
def test_an_answer_that_nothing_can_equal_is_named(answer):
  with pytest.raises(ValueError, match='is nothing to compare with'):
    answers.accepted({'answer': answer})


@given(st.text(alphabet=NOISE, max_size=60))
@settings(max_examples=300)
def test_no_text_raises(text):
  answers.final(text)
  assert isinstance(answers.number(text), list)


def test_long_noise_is_read_in_linear_time():
  for noise in ('1,', '9', '{', '1/', '(1', '1^', '#### a\n', '\\text{', '\n'):
    answers.number('\\boxed{' + noise * (20_000 // len(noise)))
    answers.number('answer: not ' + noise * (20_000 // len(noise)))
