import json

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import samples, show
from experiments.command import Refused


def line(step=1, prompt='What is 1 + 1?', reward=0.0, **more):
  return {
    'step': step,
    'prompt': prompt,
    'answer': '2',
    'response': f'{reward}',
    'reward': reward,
    'length': 3,
  } | more


def run_of(folder, lines):
  text = ''.join(json.dumps(each) + '\n' for each in lines)
  (folder / 'samples.jsonl').write_text(text)
  return folder


def test_the_newest_iteration_is_chosen_and_the_nearest_named(tmp_path):
  lines = samples.read(run_of(tmp_path, [line(1), line(4), line(9)]))
  assert [each['step'] for each in samples.chosen(lines, None)] == [9]
  assert [each['step'] for each in samples.chosen(lines, 4)] == [4]
  with pytest.raises(Refused, match='the nearest is --step=4'):
    samples.chosen(lines, 5)


def test_what_is_no_run_or_empty_is_refused(tmp_path):
  with pytest.raises(Refused, match='no samples.jsonl'):
    samples.read(tmp_path)
  with pytest.raises(Refused, match='log.samples'):
    samples.read(run_of(tmp_path, []))


@pytest.mark.parametrize(
  ('order', 'first'), [('kept', 'b'), ('worst', 'c'), ('best', 'a')]
)
def test_groups_are_ordered_by_what_they_earned(order, first):
  lines = [
    line(prompt=p, reward=r) for p, r in [('b', 0.5), ('a', 1), ('c', 0)]
  ]
  groups = sorted(samples.grouped(lines), key=samples.ORDERS[order])
  assert groups[0][0]['prompt'] == first


def test_a_group_that_disagrees_is_the_most_mixed():
  lines = [line(prompt=p, reward=r) for p, r in [('a', 1), ('b', 0), ('b', 1)]]
  first = sorted(samples.grouped(lines), key=samples.ORDERS['mixed'])[0]
  assert [each['prompt'] for each in first] == ['b', 'b']


def test_every_mark_of_a_response_is_told():
  told = show.told(
    [
      line(reward=1.0, scores=[1.0, None], truncated=True),
      line(reward=0.0, valid=False, stop='turns', advantage=[-1.0, None, -2.0]),
    ],
    240,
    colour=False,
  )
  for words in (
    'mean reward 0.500, answer 2',
    'reward 1.000, scores 1 -, 3 tokens, cut at the budget',
    'advantage -1.500, 3 tokens, not judged, ended: turns',
  ):
    assert words in told
  assert '\033' not in told


def test_more_than_the_mean_is_green_and_less_is_red():
  told = show.told([line(reward=1.0), line(reward=0.0)], 80, colour=True)
  assert '\033[32mreward 1.000' in told and '\033[31mreward 0.000' in told


def test_turns_of_an_agent_are_told_in_order_and_messages_have_roles():
  turns = [{'said': 'look'}, {'told': 'a page\nof two lines'}, {'said': 'done'}]
  prompt = [{'role': 'user', 'content': 'Find it.'}]
  told = show.told([line(prompt=prompt, turns=turns)], 80, colour=False)
  assert '  user: Find it.' in told
  assert '\n    look\n    > a page\n    > of two lines\n    done' in told


def test_long_lines_are_wrapped_to_the_terminal():
  told = show.told([line(response='word ' * 100)], 40, colour=False)
  assert max(map(len, told.splitlines())) <= 40


@pytest.mark.parametrize('colour', [False, True])
def test_responses_of_a_group_stand_side_by_side_where_there_is_room(colour):
  group = [line(reward=r, response=f'say {r}\nso') for r in (1.0, 0.0, 0.5)]
  told = show.told(group, 80, colour)
  for style in ('\033[32m', '\033[31m', '\033[0m'):
    assert (style in told) == colour
    told = told.replace(style, '')
  rows = told.splitlines()
  assert (
    rows[3].startswith('reward 1.000') and rows[3].index('reward 0.0') == 40
  )
  assert rows[4].split() == ['say', '1.0', 'say', '0.0']
  assert rows[4].index('say', 8) == 44
  # The third has no room beside them.
  assert rows[6:] == ['', 'reward 0.500, 3 tokens', '    say 0.5', '    so']
  assert max(map(len, rows)) <= 80


def shown(folder, capsys, **given):
  """What the command prints of a run with two prompts in each iteration."""
  lines = [
    line(step, prompt=f'{name} of {step}', reward=reward)
    for step in (1, 2)
    for name, reward in (('low', 0.0), ('high', 1.0), ('mid', 0.5))
  ]
  # Not parsed: other commands' flags, which the process may hold, are required.
  with flagsaver.flagsaver(**{'step': None, 'task': '', 'count': 8} | given):
    flags.FLAGS.mark_as_parsed()
    try:
      assert show.main([str(run_of(folder, lines))]) == 0
    finally:
      flags.FLAGS.unparse_flags()
  printed = capsys.readouterr().out.splitlines()
  return [x.strip() for x in printed if ' of ' in x]


def test_the_command_takes_an_order_an_iteration_and_a_word(tmp_path, capsys):
  found = shown(tmp_path, capsys, worst=True)
  assert found == ['low of 2', 'mid of 2', 'high of 2']
  found = shown(tmp_path, capsys, best=True, step=1, task='i', count=1)
  assert found == ['high of 1']
  with pytest.raises(Refused, match='one order .* not --worst --best'):
    shown(tmp_path, capsys, best=True, worst=True)


def test_a_response_does_not_command_the_terminal():
  told = show.told([line(response='\x1b[2Jgone\rback\x7f')], 80, colour=False)
  assert '    ␛[2Jgone␍back�' in told.splitlines()
