"""Episodes with tools, whose code runs in processes of its own."""

import contextlib
import time

import pytest

from jaxrl_llm.tasks import hosted
from jaxrl_llm.tasks.speech import Call, Said
from jaxrl_llm.tasks.toolbox import Limits

ROW = {'prices': {'a': 3, 'b': 2}}
SHOP, WILD = (f'tests.tasks.boxes:{name}' for name in ('Shop', 'Wild'))


def said(*calls, text='', cut=False):
  made = [Call(f'call{i:05d}', *each) for i, each in enumerate(calls)]
  return Said(text, calls=made, start=3 if made else -1, cut=cut)


@contextlib.contextmanager
def running(spec, **limits):
  host = hosted.Hosted(spec, Limits(**{'seconds': 20.0, **limits}), workers=1)
  try:
    yield host
  finally:
    host.close()


@pytest.fixture(scope='module')
def shop():
  with running(SHOP, calls=3, errors=2) as host:
    yield host


@pytest.fixture(scope='module')
def wild():
  with running(WILD, seconds=0.5, characters=60, errors=9) as host:
    yield host


def one(host, state, turn):
  [step] = host.step([state], [turn])
  return step


def test_an_episode_is_asked_answered_and_paid(shop):
  states = shop.reset([ROW, {'prices': {'b': 1, 'a': 2}}])
  ask = said(('price', {'item': 'a'}), ('price', {'item': 'b'}))
  steps = shop.step(states, [ask, ask])
  assert [[m['content'] for m in s.observation] for s in steps] == [
    ['3', '2'],
    ['2', '1'],
  ]
  first = steps[0].observation[0]
  assert (first['role'], first['tool_call_id'], first['name']) == (
    'tool',
    'call00000',
    'price',
  )
  assert [(s.done, s.call) for s in steps] == [(False, 3)] * 2
  buy = said(('buy', {'item': 'b'}))
  last = shop.step([s.state for s in steps], [buy, said(text='bye')])
  assert [(s.stop, s.reward, s.done) for s in last] == [
    ('tool', 1.0, True),
    ('said', 10.0, True),
  ]
  # Turns ran out: what was bought so far counts, which is nothing.
  assert shop.truncated([steps[0].state]) == [0.0]


def test_turns_are_paid_by_their_tools_and_episodes_open_as_they_say():
  with running('tests.tasks.boxes:Paying') as host:
    opened, failed = host.reset([ROW, {**ROW, 'fails': True}])
    assert [m['content'] for m in opened.prompt] == [
      'You buy.',
      'Which of a or b?',
    ]
    assert failed.state == ''
    both = said(('price', {'item': 'a'}), ('price', {'item': 'b'}))
    first = one(host, opened.state, both)
    assert first.reward == -0.25 and not first.done
    # Of a turn, not of the episode; and beside what its end earned.
    again = one(host, first.state, said(('price', {'item': 'b'})))
    assert again.reward == 0.25
    last = one(host, again.state, said(('buy', {'item': 'b'})))
    assert (last.done, last.reward) == (True, 3.0)
    wrong = one(host, again.state, said(('price', {'item': '-'})))
    assert (wrong.done, wrong.reward) == (False, 0.0)
    assert one(host, first.state, said(('rob', {}))).stop == 'failed'
    assert host.truncated([first.state]) == [0.0]


def test_rows_in_another_order_have_the_same_episodes(shop):
  rows = [ROW, {'prices': {'a': 7, 'b': 1}}, {'prices': {'a': 1, 'b': 9}}]
  ask = said(('price', {'item': 'a'}))
  order = [2, 0, 1]
  plain, turned = (
    shop.step(shop.reset(each), [ask] * 3)
    for each in (rows, [rows[i] for i in order])
  )
  assert [plain[i].observation for i in order] == [
    s.observation for s in turned
  ]


def test_more_calls_than_allowed_end_an_episode_unanswered(shop):
  [state] = shop.reset([ROW])
  ask = said(('price', {'item': 'a'}), ('price', {'item': 'b'}))
  step = one(shop, state, ask)
  assert not step.done
  assert one(shop, step.state, ask).stop == 'calls'
  step = one(shop, step.state, said(('buy', {'item': 'b'})))
  assert (step.stop, step.reward) == ('tool', 1.0)


def test_errors_in_a_row_end_an_episode(shop):
  [state] = shop.reset([ROW])
  wrong, right = said(('sell', {})), said(('price', {'item': 'a'}))
  step = one(shop, state, wrong)
  assert step.observation[0]['content'].startswith('error: there is no tool')
  assert one(shop, step.state, wrong).stop == 'errors'
  # A turn that went well forgives, and so does a right call in it.
  both = said(('sell', {}), ('price', {'item': 'a'}))
  for good in (right, both):
    again = one(shop, step.state, good)
    assert not again.done
    assert not one(shop, again.state, said(('sell', {}))).done or good is both


def test_a_turn_that_was_cut_is_told_so(shop):
  [state] = shop.reset([ROW])
  step = one(shop, state, said(text='I thi', cut=True))
  assert step.observation.startswith('error: your turn was cut')
  assert (step.done, step.call) == (False, -1)
  assert one(shop, step.state, said(text='I', cut=True)).stop == 'errors'


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (('wait', {'seconds': 9.0}), 'error: no answer within 0.5 s'),
    (('leave', {}), 'error: the tool ended its process'),
    (('quit', {}), 'error: SystemExit: bye'),
    (('fork', {}), 'parent'),
    (('_told', {}), "error: there is no tool '_told"),
    (('shout', {'letters': 99}), f'a{29 * "b"}\n... 42 characters left out'),
  ],
)
def test_what_a_tool_does_to_its_process_is_a_result(wild, call, words):
  [state] = wild.reset([{}])
  step = one(wild, state, said(call))
  [message] = step.observation
  assert message['content'].startswith(words)
  assert not step.done
  # What went wrong has left no trace, and the episode goes on.
  step = one(wild, step.state, said(('count_up', {})))
  assert step.observation[0]['content'] == '1'


def test_the_time_of_an_episode_is_limited():
  with running(WILD, episode_seconds=0.05) as host:
    [state] = host.reset([{}])
    wait = said(('wait', {'seconds': 0.03}))
    step = one(host, state, wait)
    assert not step.done
    step = one(host, step.state, wait)
    assert (step.stop, step.reward) == ('seconds', 2.0)


def test_episodes_that_cannot_go_on_have_failed(wild, caplog):
  good, bad = wild.reset([{}, {'begin': 'raise'}])
  assert 'failed to begin: OSError: no room' in caplog.text
  steps = wild.step([good, bad], [said(('count_up', {}))] * 2)
  assert [(s.done, s.stop) for s in steps] == [
    (False, 'done'),
    (True, 'failed'),
  ]
  hoarded = one(wild, good, said(('hoard', {})))
  assert (hoarded.stop, hoarded.reward) == ('failed', 0.0)
  state = good
  for _ in range(7):
    state = one(wild, state, said(('count_up', {}))).state
  steps = wild.step([state] * 2, [said(text='done')] * 2)
  assert [(s.stop, s.reward) for s in steps] == [('failed', 0.0)] * 2
  # In one line, however many they are.
  assert caplog.text.count('no reward of 2 of 2 episodes') == 1
  assert wild.truncated([state, hoarded.state]) == [0.0, 0.0]
  with pytest.raises(ValueError, match='2 of 2 episodes .*no room'):
    wild.reset([{'begin': 'raise'}] * 2)


def test_rows_share_the_workers():
  host = hosted.Hosted(WILD, Limits(seconds=20.0), workers=2)
  with contextlib.closing(host):
    states = host.reset([{}] * 4)
    start = time.monotonic()
    host.step(states, [said(('wait', {'seconds': 0.3}))] * 4)
    assert time.monotonic() - start < 1.1


def test_processes_of_a_run_share_the_work_and_hear_of_all():
  told = []

  def join(mine, rows):
    # The other process has the second half, and the same answers.
    told.append(len(mine))
    return [*mine, *mine[: rows - len(mine)]]

  host = hosted.Hosted(
    WILD,
    Limits(seconds=20.0),
    workers=1,
    own=lambda rows: slice(0, -(-rows // 2)),
    join=join,
  )
  with contextlib.closing(host):
    states = host.reset([{}] * 4)
    steps = host.step(states, [said(('count_up', {}))] * 4)
    # Before a run one process tries alone.
    host.try_out([{}])
    with pytest.raises(ValueError, match='1 of 1 episodes .*no room'):
      host.try_out([{'begin': 'raise'}])
  assert told == [2, 2, 0]
  assert len(steps) == 4 and not any(s.done for s in steps)
