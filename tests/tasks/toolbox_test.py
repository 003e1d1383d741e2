"""What a class of tools shows, takes and keeps, in one process."""

import json

import pytest

from jaxrl_llm.tasks import toolbox
from jaxrl_llm.tasks.speech import Call
from tests.tasks import boxes

SHOP = 'tests.tasks.boxes:Shop'
ROW = {'prices': {'a': 3, 'b': 2}}


def begun(spec=SHOP, row=ROW):
  kind, _, detail = toolbox.outcome(spec, ('reset',), row)
  assert kind == 'ok', detail
  return json.loads(detail)['state']


def called(state, *calls, spec=SHOP, characters=200):
  made = [Call(f'call{i:05d}', *each) for i, each in enumerate(calls)]
  kind, _, detail = toolbox.outcome(spec, ('call', state, made, characters), {})
  assert kind == 'ok', detail
  found = json.loads(detail)
  return found['state'], found['results'], found['ended']


def test_methods_are_tools_and_schemas_say_what_they_take():
  assert toolbox.names(boxes.Shop) == ['price', 'buy']
  assert toolbox.names(boxes.Careful) == ['price', 'buy', 'total']
  price, buy = (x['function'] for x in toolbox.schemas(boxes.Shop))
  assert price['description'] == 'The price of an item.'
  assert price['parameters']['properties'] == {
    'item': {'type': 'string', 'description': 'its name.'}
  }
  assert buy['parameters']['required'] == ['item']


@pytest.mark.parametrize(
  ('kind', 'words'),
  [
    (boxes.Silent, r'the tool Silent.look cannot be shown .*place.*type'),
    (boxes.Empty, 'Empty has no tools; give it a method'),
    (boxes.Shadow, 'Shadow.earned is no tool: .*; give the tool another'),
  ],
)
def test_tools_that_cannot_be_shown_are_named(kind, words):
  with pytest.raises(ValueError, match=words):
    toolbox.schemas(kind)


def test_calls_are_answered_in_their_order():
  state, results, ended = called(
    begun(), ('price', {'item': 'a'}), ('price', {'item': 'b'})
  )
  assert results == [[True, '3'], [True, '2']] and not ended
  state, results, ended = called(state, ('buy', {'item': 'b'}))
  assert results == [[True, 'null']] and ended
  assert toolbox.outcome(SHOP, ('reward', state, ''), {})[:2] == ('ok', 1.0)
  assert toolbox.outcome(SHOP, ('reward', state, 'bye'), {})[1] == 11.0


def test_an_earlier_state_is_as_it_was():
  before = begun()
  called(before, ('buy', {'item': 'b'}))
  assert toolbox.outcome(SHOP, ('reward', before, ''), {})[1] == 0.0


@pytest.mark.parametrize('amount', [float('nan'), float('inf'), 1e300, -1e300])
def test_what_float32_cannot_hold_is_no_reward(amount):
  spec = 'tests.tasks.boxes:Payer'
  _, _, detail = toolbox.outcome(spec, ('reset',), {'amount': amount})
  state = json.loads(detail)['state']
  work = [Call('1', 'work', {})]
  for job in (('call', state, work, 99), ('reward', state, '')):
    kind, reward, detail = toolbox.outcome(spec, job, {})
    assert (kind, reward) == ('errors', 0.0)
    assert str(amount) in detail


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (('sell', {}), "there is no tool 'sell'; there are price, buy"),
    (('reward', {}), "there is no tool 'reward'"),
    (('__init__', {}), "there is no tool '__init__'"),
    (('price', {}), "price needs the argument 'item'"),
    (
      ('price', {'item': 'a', 'c': 1}),
      "price has no argument 'c'; it has item",
    ),
    (('price', {'self': 1}), "price has no argument 'self'"),
    (('price', {'item': 3}), "'item' of price must be of type string, not 3"),
    (
      ('buy', {'item': 'a', 'count': True}),
      "'count' of buy must be of type integer, not True",
    ),
    (('price', {'item': 'z'}), "KeyError: 'z'"),
    (('price', {}, 'it cannot be read'), 'it cannot be read'),
  ],
)
def test_what_goes_wrong_is_a_result_that_says_so(call, words):
  _, [[good, text]], ended = called(begun(), call)
  assert (good, ended) == (False, False)
  assert text.startswith('error: ') and words in text
  assert 'KeyError' in text or 'Error:' not in text


def test_types_with_parameters_are_checked_by_their_kind():
  spec = 'tests.tasks.boxes:Careful'
  _, results, _ = called(
    begun(spec),
    ('total', {'items': ['a', 'b'], 'mean': True}),
    ('total', {'items': 'ab'}),
    spec=spec,
  )
  assert results[0] == [True, '2.5']
  assert "must be of type array, not 'ab'" in results[1][1]


def test_nothing_follows_the_last_call():
  _, results, ended = called(
    begun(), ('buy', {'item': 'a'}), ('price', {'item': 'a'})
  )
  assert ended and results[1] == [False, 'error: the episode has ended']


def test_a_long_result_loses_its_middle():
  text = toolbox.shortened('a' * 50 + 'm' * 100 + 'z' * 50, 40)
  assert text == 'a' * 20 + '\n... 160 characters left out ...\n' + 'z' * 20
  assert toolbox.shortened('a\ud800', 40) == 'a?'
  assert toolbox.shortened('abc', 3) == 'abc'


@pytest.mark.parametrize(
  ('spec', 'given', 'words'),
  [
    ('tests.tasks.boxes:Talkative', ('reset',), 'what reset returned: mess'),
    ('tests.tasks.boxes:Nobody', ('reset',), 'no function or class'),
    ('json:JSONDecoder', ('reset',), 'is no Toolbox'),
    (SHOP, ('reset',), "KeyError: 'prices'"),
    (SHOP, ('call', 'no state', [], 9), 'Error'),
  ],
)
def test_what_fails_beside_the_calls_is_told(spec, given, words):
  kind, score, detail = toolbox.outcome(spec, given, {})
  assert (kind, score) == ('errors', 0.0) and words in detail


def test_an_opening_has_a_limit():
  kind, _, detail = toolbox.outcome(
    'tests.tasks.boxes:Talkative', ('reset',), {'long': True}
  )
  assert kind == 'errors' and 'more than 262,144 characters' in detail


def test_limits_are_positive():
  with pytest.raises(ValueError, match='tools.errors=0 must be positive'):
    toolbox.Limits(errors=0).checked()
