"""Pairs out of responses that were judged."""

import json

import pytest

from experiments import pairs, samples
from experiments.command import Refused
from jaxrl_llm.tasks import preferences
from jaxrl_llm.training import writers


def line(response, score, prompt='1 + 1?', **more):
  return {
    'prompt': prompt,
    'answer': '2',
    'response': response,
    'scores': [score, 0.0],
    **more,
  }


def made(lines, most=1, **settings):
  found = pairs.paired(lines, most, **settings)
  return [(pair['chosen'], pair['rejected']) for pair in found]


def test_best_and_worst_are_paired_from_the_outside_in():
  lines = [line(f'says {x}', x) for x in (0.0, 2.0, 1.0, 3.0)]
  first, second = ('says 3.0', 'says 0.0'), ('says 2.0', 'says 1.0')
  assert made(lines) == [first]
  assert made(lines, most=9) == [first, second]


def test_equals_and_single_responses_make_no_pair():
  assert made([line('2', 1.0), line('two', 1.0)], most=9) == []
  assert made([line('2', 1.0), line('3', 0.0, prompt='1 + 2?')]) == []


def test_what_was_said_twice_counts_once():
  lines = [line('2', 1.0), line('2', 1.0), line('3', 0.0), line('3', 0.0)]
  assert made(lines, most=9) == [('2', '3')]


def test_a_reward_goes_before_scores():
  lines = [line('a', 1.0, reward=0.0), line('b', 0.0, reward=0.5)]
  assert made(lines) == [('b', 'a')]


@pytest.mark.parametrize(
  'flaw',
  [{'valid': False}, {'truncated': True}, {'reward': None}, {'scores': []}],
)
def test_what_was_not_judged_or_has_no_end_is_left_out(flaw):
  lines = [line('2', 1.0), line('3', 0.0, **flaw), line('4', 0.0)]
  assert made(lines, most=9) == [('2', '4')]


def test_what_was_cut_is_kept_where_it_is_asked_for():
  lines = [line('2', 1.0), line('3', 0.0, truncated=True)]
  assert made(lines) == []
  assert made(lines, cut=True) == [('2', '3')]


def test_what_has_no_words_is_refused():
  with pytest.raises(Refused, match='no prompt and response in words'):
    made([{'task': 3, 'content': {}, 'reward': 1.0}])


@pytest.mark.parametrize('said', [[1, 2], 'x', {'response': 3, 'prompt': ''}])
def test_what_is_no_response_is_refused(said):
  with pytest.raises(Refused, match='no prompt and response in words'):
    made([said])


def test_rewards_that_are_no_numbers_are_refused():
  with pytest.raises(Refused, match="reward 'good' is no number"):
    made([line('2', 1.0), line('3', 0.0, reward='good')])


def test_a_line_that_is_no_json_is_refused_by_its_place(tmp_path):
  path = tmp_path / 'notes.txt'
  path.write_text('{}\n\nnot JSON\n')
  with pytest.raises(Refused, match='notes.txt:3 .* is no JSON'):
    samples.of_file(path)


def test_a_last_line_needs_no_end(tmp_path):
  path = tmp_path / 'answers.jsonl'
  path.write_text('{"reward": 1}\n{"reward": 0}')
  assert samples.of_file(path) == [{'reward': 1}, {'reward': 0}]


def test_lines_of_an_evaluation_and_of_a_run_that_goes_on_are_read(tmp_path):
  path, lines = tmp_path / 'answers.jsonl', [line('2', 1.0), line('3', 0.0)]
  writers.write_lines(path, lines)
  with path.open('a') as file:
    file.write('{"prompt": "1 +')
  assert samples.of_file(path) == lines


@pytest.mark.parametrize(
  'prompt', ['1 + 1?', [{'role': 'user', 'content': '1 + 1?'}]]
)
def test_pairs_are_records_to_learn_from(tmp_path, prompt):
  lines = [line('2', 1.0, prompt), line('3', 0.0, prompt)]
  path = tmp_path / 'pairs.jsonl'
  path.write_text('\n'.join(map(json.dumps, pairs.paired(lines, 1))))
  [row] = preferences.load_records(
    str(path), samples=2, answer_field='answer'
  ).rows
  assert row['responses'] == ['2', '3'] and row['scores'] == [1.0, 0.0]
  assert row['prompt'] == prompt and row['answer'] == '2'
