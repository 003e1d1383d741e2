import json
import random

import pytest

from jaxrl_llm.tasks import data, inverted, verifiers

ROW = {
  'question': 'What did the person do with the clothes?',
  'options': ['Lied on', 'Took', 'Put down', 'Washed'],
  'answer': 'C',
  'video': 'a.mp4',
}


@pytest.mark.parametrize(
  'question, denied',
  [
    ('What did he do?', "What didn't he do?"),
    ('What Is it?', "What Isn't it?"),
    ('Did he go?', "Didn't he go?"),
    ('What happened then?', "What didn't happen then?"),
    ('why are they here', "why aren't they here"),
    ('Name a colour.', ''),
    ('', ''),
  ],
)
def test_a_question_is_denied_at_its_verb_or_not_at_all(question, denied):
  assert inverted.negated(question) == denied


def test_what_was_wrong_is_right_in_all_draws():
  sizes = set()
  for seed in range(60):
    made = inverted.inverted(random.Random(seed), ROW, share=1.0)
    right = made['answer'].split(',')
    named = dict(zip('ABCD', made['choices']))
    # The one answer stays among the options and is the only wrong one.
    assert [k for k in named if k not in right] == [
      k for k, text in named.items() if text == 'Put down'
    ]
    assert set(named.values()) <= set(ROW['options'])
    listed = [f'{k} {text}' for k, text in named.items()]
    asked = "What didn't the person do with the clothes?"
    assert made['prompt'].split('\n') == [asked, *listed]
    assert made['inverted'] and made['video'] == 'a.mp4'
    sizes.add(len(right))
  assert sizes == {1, 2, 3}


@pytest.mark.parametrize(
  'row, share', [(ROW, 0.0), (ROW | {'question': 'Which of these?'}, 1.0)]
)
def test_others_keep_their_options_and_their_answer(row, share):
  made = inverted.inverted(random.Random(0), row, share=share)
  assert made['choices'] == row['options'] and made['answer'] == 'C'
  assert not made['inverted']
  assert made['prompt'].startswith(row['question'] + '\nA Lied on\nB Took')


@pytest.mark.parametrize(
  'change, says',
  [
    ({'options': []}, 'needs two or more'),
    ({'options': ['Took', 'Took', 'Ran']}, 'no two alike'),
    ({'question': 'A or B?', 'options': ['A', 'B']}, 'lists its options'),
    ({'answer': 'E'}, 'names no option'),
    ({'options': [*map(str, range(30))], 'answer': 28}, 'more than letters'),
    ({'question': [{'role': 'user', 'content': 'What?'}]}, 'is no text'),
  ],
)
def test_records_that_are_no_single_choice_are_refused(change, says):
  with pytest.raises(ValueError, match=says):
    inverted.inverted(random.Random(0), ROW | change)


def test_what_answers_the_question_as_it_was_is_left_out():
  shown = {'demonstration': 'C', 'solution': 'It is C.'}
  made = inverted.inverted(random.Random(0), ROW | shown, share=1.0)
  assert not made.keys() & shown.keys()


def test_a_file_becomes_questions_that_the_soft_reward_judges(tmp_path, capsys):
  source, target = tmp_path / 'one.jsonl', tmp_path / 'several.jsonl'
  source.write_text(f'{json.dumps(ROW)}\n' * 40)
  inverted.main([str(source), str(target), '--share=0.5', '--seed=1'])
  found = data.load_records(target)
  denied = [row for row in found.rows if row['inverted']]
  assert 10 < len(denied) < 30
  assert (
    f'40 questions, {len(denied)} of them denied' in capsys.readouterr().out
  )
  answers = [row['answer'] for row in denied]
  scores = verifiers.resolve('several')(answers, denied)
  assert list(scores) == [1.0] * len(denied)
  first = [answer[0] for answer in answers]
  soft = verifiers.resolve('several')(first, denied)
  assert list(soft) == [1 / len(answer.split(',')) for answer in answers]


def test_the_command_says_what_is_wrong(tmp_path, capsys):
  source = tmp_path / 'one.jsonl'
  source.write_text(json.dumps({'question': 'What is it?', 'answer': 'A'}))
  whole, lacking = tmp_path / 'whole.jsonl', tmp_path / 'lacking.jsonl'
  whole.write_text(json.dumps(ROW))
  lacking.write_text(json.dumps({k: ROW[k] for k in ('question', 'options')}))
  for words, says in [
    ([str(lacking), 'x'], "has no 'answer'"),
    ([str(whole), str(tmp_path / 'none' / 'x')], 'No such file'),
    ([str(source), 'x'], 'needs two or more'),
    ([str(source), 'x', '--share=2'], 'use one in'),
  ]:
    with pytest.raises(SystemExit):
      inverted.main(words)
    assert says in capsys.readouterr().err
