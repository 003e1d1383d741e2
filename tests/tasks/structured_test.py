import itertools

import pytest

from jaxrl_llm.tasks import structured, verifiers


def scores(name, row, *responses):
  return verifiers.resolve(name)(list(responses), [row] * len(responses))


@pytest.mark.parametrize('answer', ['A,C', 'C and A', ['A', 'C'], '(A) (C)'])
def test_options_earn_their_share_while_none_is_wrong(answer):
  said = {
    'A': 0.5,
    '<answer>C, A</answer>': 1,
    'B looked right. <answer>A</answer>': 0.5,
    '#### A and C': 1,
    'I choose A': 0.5,
    'A good one is C': 0.5,
    'A, B': 0,
    'A, B, C': 0,
    'I cannot say': 0,
    '': 0,
  }
  row = {'answer': answer}
  assert scores('several', row, *said) == list(said.values())


def test_an_answer_names_options():
  with pytest.raises(ValueError, match="'none' names no option"):
    scores('several', {'answer': 'none'}, 'A')


def test_a_judge_is_paid_by_its_distance_to_the_first_error():
  for steps, right, said in itertools.product([4], range(-1, 4), range(-1, 4)):
    if (right < 0) != (said < 0):
      wanted = -1.0
    else:
      wanted = 1 - abs(right - said) / steps
    row = {'answer': str(right), 'steps': steps}
    assert scores('first_error', row, f'#### {said}') == [wanted]
  assert scores('first_error', row, '4', '-2', 'no', '') == [-1] * 4


@pytest.mark.parametrize('row', [{'answer': 4, 'steps': 4}, {'answer': 0}])
def test_an_error_in_no_step_is_a_mistake_of_the_record(row):
  with pytest.raises(ValueError, match='is no step of'):
    scores('first_error', row, '0')


@pytest.mark.parametrize(
  ('response', 'kind', 'where'),
  [
    ("<answer>[{'action': 'click', 'coordinate': [6, 40]}]</answer>", 1, 1),
    ('{"action": "Click", "coordinate": [9, 50.0]}', 1, 1),
    ("[{'coordinate': [6, 40], 'action': 'click'}]", 1, 1),
    ("{'action': 'click', 'text': 'row 5', 'coordinate': [6, 40]}", 1, 1),
    ('<answer>click 6 40</answer> <answer>scroll</answer>', 1, 1),
    ('click 6 40', 1, 1),
    ('click(10, 40)', 1, 0),
    ('click 6', 1, 0),
    ('scroll 6 40', 0, 0),
    ('<answer>scroll</answer> click 6 40', 0, 0),
    ('', 0, 0),
    ('6 40', 0, 0),
  ],
)
def test_an_action_is_judged_by_its_kind_and_place(response, kind, where):
  row = {'action': 'click', 'box': [0, 30, 9, 50]}
  assert scores('action', row, response) == [kind]
  assert scores('place', row, response) == [where]
  # Without a box the kind is all there is.
  assert scores('place', {'action': 'click'}, response) == [kind]


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    ({'box': [1, 2, 3, 4]}, "needs 'action'"),
    ({'action': 'x', 'box': 3}, '3;'),
  ],
)
def test_a_record_without_an_action_or_a_box_is_refused(row, message):
  with pytest.raises(ValueError, match=message):
    scores('place', row, 'x 1 2')


def test_roles_are_judged_one_by_one_or_by_most():
  said = ''.join(f'<answer>{x}</answer>' for x in ('a', 'b', 'b'))
  assert scores('roles', {'answers': ['a', 'b', 'c']}, said) == [2 / 3]
  assert scores('roles', {'answers': ['a', 'b', 'b', 'b']}, said) == [3 / 4]
  assert scores('roles', {'answer': 'b'}, said, 'b', '#### a') == [1, 1, 0]
  tie = '<answer>a</answer><answer>b</answer>'
  assert scores('roles', {'answer': 'a'}, tie) == [1]


@pytest.mark.parametrize(
  ('response', 'wanted'),
  [
    ('[g("a"), f(x=1, y=[2])]', 1),
    ("<think>h()</think> [f(y=[2],x=1),\n g('a')]", 1),
    ("<tool_call>[f(y=[2],x=1), g('a')]</tool_call> done", 1),
    ('[f(x=1, y=[2])]', 0),
    ('[g("a"), f(1, y=[2])]', 0),
    ('[g("a"), g("a"), f(x=1, y=[2])]', 0),
    ('[g("a"), f(x=True, y=[2])]', 0),
    ('[1]', 0),
    ('(' * 20000, 0),
    ('', 0),
  ],
)
def test_calls_are_compared_as_syntax(response, wanted):
  row = {'answer': "[f(x=1, y=[2]), g('a')]"}
  assert scores('same_call', row, response) == [wanted]


def test_an_answer_that_is_no_call_is_refused():
  with pytest.raises(ValueError, match='is no call'):
    scores('same_call', {'answer': '3'}, 'f()')


def _second_thoughts(first, last, filling=''):
  return (
    f'<think>ab{filling}</think><answer>{first}</answer>'
    '<reflection>r</reflection>'
    f'<think>c</think><answer>{last}</answer>'
  )


@pytest.mark.parametrize(
  ('first', 'last', 'gain'), [(1, 1, 0.75), (0, 1, 1), (1, 0, -0.25), (0, 0, 0)]
)
def test_a_reflection_earns_by_what_it_mends(first, last, gain):
  text = _second_thoughts(first, last, 'x' * 97)
  # 2 * 100 characters are aimed at, 50 off them are e^-1.
  length = 0.1 * 2.718281828 ** -(((len(text) - 200) / 50) ** 2)
  wanted = 0.5 * gain + 0.25 + length
  assert scores('reflected', {'answer': '1'}, text) == pytest.approx([wanted])


@pytest.mark.parametrize(
  'spoil',
  [
    lambda text: text + '.',
    lambda text: text.replace('reflection>', 'thought>'),
    lambda text: text.replace('<think>c', '<think>'),
    lambda text: text + text,
  ],
)
def test_a_reflection_of_another_form_earns_nothing_for_it(spoil):
  right = _second_thoughts(1, 1)
  assert structured._has_reflection(right)
  assert structured._has_reflection('well ' + right + '\n')
  assert not structured._has_reflection(spoil(right))


def test_a_verdict_counts_in_its_form_alone():
  row = {'answer': 'B'}
  assert scores('verdict', row, '<think>x</think>B', 'B') == [1, 0]
  assert scores('verdict:^B', row, '<think>x</think>B', 'B') == [0, 1]
