"""Requests and answers of chat completions, as JSON."""

import json

import pytest

from jaxrl_llm.serving import wire
from jaxrl_llm.tasks.speech import Call, Said

HI = {'role': 'user', 'content': 'hi'}
TOOL = {'type': 'function', 'function': {'name': 'add'}}


def asked(**fields):
  return wire.request({'messages': [HI], **fields})


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ({'messages': []}, 'at least one message'),
    ({'messages': 'hi'}, 'must be a list'),
    ({'messages': [{'role': 'function'}]}, "role 'function'"),
    ({'messages': ['hi']}, "role 'hi'"),
    ({'messages': [{'role': 'assistant', 'content': 'a'}]}, 'last message'),
    ({'messages': [{'role': 'tool', 'content': 'a'}]}, 'tool_call_id'),
    ({'messages': [{'role': 'user', 'content': 1}]}, 'must be text'),
    (
      {'messages': [{'role': 'user', 'content': [{'type': 'image_url'}]}]},
      "'image_url'",
    ),
    (
      {
        'messages': [
          {'role': 'assistant', 'tool_calls': [{'function': {'name': 'a'}}]},
          HI,
        ]
      },
      'cannot be read',
    ),
    ({'n': 2}, 'n=2'),
    ({'logprobs': True}, 'logprobs'),
    ({'logit_bias': {'1': 2}}, 'logit_bias is not supported'),
    ({'response_format': {'type': 'json_object'}}, 'text alone'),
    ({'max_tokens': 0}, 'max_tokens 0'),
    ({'max_tokens': True}, 'max_tokens True'),
    ({'stop': ['']}, 'stop must'),
    ({'stop': list('abcde')}, 'up to 4'),
    ({'stream': 'yes'}, 'stream must'),
    ({'stream_options': 1}, 'stream_options'),
    ({'tools': {}}, 'tools must'),
    ({'tools': [{}]}, 'a tool is'),
    ({'tool_choice': 'required'}, 'without tools'),
    ({'tool_choice': 'any', 'tools': [TOOL]}, "'any'"),
  ],
)
def test_what_cannot_be_answered_is_refused_by_name(fields, words):
  with pytest.raises(wire.Refused) as refused:
    asked(**fields)
  assert words in str(refused.value)
  assert refused.value.body['error']['message'] == str(refused.value)


@pytest.mark.parametrize('body', [None, [], 'hi', 3])
def test_a_request_is_an_object(body):
  with pytest.raises(wire.Refused, match='JSON object'):
    wire.request(body)


def test_what_means_nothing_may_be_there():
  plain = asked()
  assert plain == asked(stop=None, n=1, model='x', user='u', tool_choice='auto')
  assert asked(stop='a').stop == ('a',)
  assert asked(max_completion_tokens=3, max_tokens=4).most == 3


def test_what_the_run_decides_is_counted():
  read = asked(temperature=0, top_p=1, tools=[TOOL], tool_choice='required')
  assert read.overruled == ('temperature', 'top_p', 'tool_choice')
  assert read.tools == [TOOL]
  assert asked(tools=[TOOL], tool_choice='none').tools == []


def test_an_answer_reads_as_it_was_sent():
  made = [Call('call00000', 'add', {'a': 'é'}), Call('call00001', 'add', {})]
  said = Said('…', content='so', thought='hm', calls=made)
  message = wire.message(said, 7)
  sent = json.loads(json.dumps(wire.written(message)))
  assert sent['tool_calls'][0]['function']['arguments'] == '{"a": "é"}'
  names = [call['id'] for call in sent['tool_calls']]
  assert len({*names}) == 2 and all(len(x) == 9 for x in names)
  results = [
    {'role': 'tool', 'tool_call_id': name, 'content': '1'} for name in names
  ]
  read = wire.request({'messages': [HI, sent, *results]}).messages
  assert read[1] == message


def called(*names):
  calls = [
    {'id': name, 'function': {'name': 'add', 'arguments': '{}'}}
    for name in names
  ]
  return {'role': 'assistant', 'content': None, 'tool_calls': calls}


def told(name):
  return {'role': 'tool', 'tool_call_id': name, 'content': f'of {name}'}


def test_results_stand_in_the_order_of_their_calls():
  made = called('x', 'y', 'z')
  for order in ('xyz', 'zxy', 'yzx'):
    read = asked(messages=[HI, made, *map(told, order), HI]).messages
    assert [m['content'] for m in read[2:5]] == ['of x', 'of y', 'of z']
    assert [m['role'] for m in read[5:]] == ['user']


@pytest.mark.parametrize(
  ('messages', 'words'),
  [
    ([HI, called('x', 'y'), told('x')], "the call 'y' has no result"),
    ([HI, called('x', 'y'), told('x'), HI], "the call 'y' has no result"),
    ([HI, called('x'), HI], "the call 'x' has no result"),
    ([HI, called('x'), told('x'), told('x')], "tool_call_id 'x': a result"),
    ([HI, called('x'), told('x'), told('y')], "tool_call_id 'y': a result"),
    ([HI, told('x')], "tool_call_id 'x': a result follows"),
    ([told('x')], "tool_call_id 'x': a result follows"),
  ],
)
def test_every_call_has_one_result(messages, words):
  with pytest.raises(wire.Refused, match=words):
    asked(messages=messages)


@pytest.mark.parametrize('broken', ['{"a": ', '[1]', '', '{"a": 1} {}'])
def test_a_call_that_cannot_be_read_is_sent_as_it_was_written(broken):
  made = [
    Call('call00000', 'add', {'a': 1}),
    Call('call00001', '', {}, 'the call cannot be read', broken),
  ]
  message = wire.message(Said('<call><cal', content='', calls=made), 7)
  sent = json.loads(json.dumps(wire.written(message)))
  assert [call['function'] for call in sent['tool_calls']] == [
    {'name': 'add', 'arguments': '{"a": 1}'},
    {'name': '', 'arguments': broken},
  ]
  results = [told(call['id']) for call in sent['tool_calls']]
  assert asked(messages=[HI, sent, *results]).messages[1] == message


def test_a_payment_is_a_number_and_perhaps_an_answer():
  assert wire.reward({'reward': 1}) == (1.0, -1)
  assert wire.reward({'reward': -0.5, 'id': 'chatcmpl-00ff'}) == (-0.5, 255)
  for body, words in (
    ([], 'JSON object'),
    ({'reward': 1, 'to': 'me'}, 'JSON object'),
    ({}, 'reward None'),
    ({'reward': True}, 'reward True'),
    ({'reward': '1'}, "reward '1'"),
    ({'reward': float('nan')}, 'reward nan is beyond'),
    ({'reward': 10**400}, 'is beyond'),
    ({'reward': 1, 'id': 'me'}, "id 'me' is that of no answer"),
    ({'reward': 1, 'id': '-1'}, "id '-1' is that of no answer"),
    ({'reward': 1, 'id': 'chatcmpl--1'}, 'is that of no answer'),
    ({'reward': 1, 'id': 12}, 'id 12 is that of no answer'),
  ):
    with pytest.raises(wire.Refused, match=words):
      wire.reward(body)


def test_events_add_up_to_the_answer():
  made = [Call('call00000', 'add', {'a': 1})]
  message = wire.message(Said('', content='', calls=made), 7)
  answer = wire.Answer(message, False, 3, 2, 7, 'm', 0)
  events = list(answer.events(True))
  assert events[-1] == 'data: [DONE]\n\n'
  first, last, usage = (
    json.loads(x.removeprefix('data: ')) for x in events[:3]
  )
  [whole] = answer.body()['choices']
  delta = first['choices'][0]['delta']
  assert [call.pop('index') for call in delta['tool_calls']] == [0]
  assert delta == whole['message']
  assert last['choices'][0]['finish_reason'] == whole['finish_reason']
  assert whole['finish_reason'] == 'tool_calls'
  assert usage['usage'] == answer.body()['usage']
  assert usage['usage']['total_tokens'] == 5


def test_texts_end_before_their_first_stop():
  assert wire.before('a b c', ('c', 'b')) == 'a '
  assert wire.before('a b c', ('d',)) is None
