"""Messages of many makers come out in one form, or say what is wrong."""

import re

import pytest

from jaxrl_llm.tasks import conversations

CALL = [{'type': 'function', 'function': {'name': 'f', 'arguments': {}}}]


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ({'content': 'a'}, {'content': 'a'}),
    ({'content': ''}, {'content': ''}),
    ({'content': []}, {'content': ''}),
    ({'content': [{'type': 'text', 'text': 'a'}]}, {'content': 'a'}),
    (
      {'content': [{'type': 'text', 'text': t} for t in ('a ', '', 'b')]},
      {'content': 'a b'},
    ),
    # Tables have a column for whatever some part has.
    (
      {'content': [{'type': 'text', 'text': 'a', 'image_url': None}],
       'name': None},
      {'content': 'a'},
    ),
    (
      {'content': None, 'tool_calls': CALL},
      {'content': '', 'tool_calls': CALL},
    ),
    ({'tool_calls': CALL}, {'content': '', 'tool_calls': CALL}),
    ({'content': 'a', 'tool_calls': None}, {'content': 'a'}),
    # As an API answers, and as templates want it.
    (
      {'tool_calls': [{'function': {'name': 'f', 'arguments': '{"a": 1}'}}]},
      {'content': '',
       'tool_calls': [{'function': {'name': 'f', 'arguments': {'a': 1}}}]},
    ),
    (
      {'tool_calls': [{'name': 'f', 'arguments': '[]'}, {'name': 'g'}]},
      {'content': '',
       'tool_calls': [{'name': 'f', 'arguments': []}, {'name': 'g'}]},
    ),
    ({'content': 'a', 'reasoning_content': 'b'},
     {'content': 'a', 'reasoning_content': 'b'}),
  ],
)  # fmt: skip
def test_every_form_of_content_is_text(given, expected):
  [found] = conversations.conversation('f:1', [{'role': 'x'} | given])
  assert found == {'role': 'x'} | expected


@pytest.mark.parametrize(
  ('messages', 'words'),
  [
    ([], "f:3: messages must be a list of objects with role and content, not"),
    ('hi', "not 'hi'"),
    ([{'role': 'user', 'content': 'a'}, 'b'], "message 1 must be an object"),
    ([{'content': 'a'}], 'message 0 must be an object with role'),
    ([{'role': 7, 'content': 'a'}], 'message 0 must be an object with role'),
    ([{'role': 'user'}], 'message 0, of the user, must have content'),
    ([{'role': 'user', 'content': None}], 'or parts of text, not None'),
    ([{'role': 'assistant', 'content': None, 'tool_calls': []}], 'not None'),
    ([{'role': 'user', 'content': 7}], 'or parts of text, not 7'),
    ([{'role': 'x', 'tool_calls': ['f']}], 'tool_calls must be a list of obj'),
    (
      [{'role': 'x', 'tool_calls': [{'name': 'f', 'arguments': '{'}]}],
      "the arguments '{' of a tool call are no JSON",
    ),
    ([{'role': 'user', 'content': {'type': 'text', 'text': 'a'}}], 'not {'),
    (
      [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': 'x'}]}],
      "part 0 of the content is of type 'image_url', and the models read text",
    ),
    (
      [{'role': 'user', 'content': [{'type': 'text', 'text': 'a'},
                                    {'type': 'input_audio'}]}],
      "part 1 of the content is of type 'input_audio'",
    ),
    ([{'role': 'user', 'content': ['a']}], "part 0 .* type 'str'"),
    ([{'role': 'user', 'content': [{'text': 'a'}]}], 'part 0 .* type None'),
    ([{'role': 'user', 'content': [{'type': 'text'}]}], 'no text, but None'),
  ],
)  # fmt: skip
def test_what_is_no_text_is_refused_with_its_place(messages, words):
  with pytest.raises(ValueError, match=r'^f:3: ') as refused:
    conversations.conversation('f:3', messages)
  assert re.search(words, str(refused.value)), refused.value


@pytest.mark.parametrize('role', ['system', 'developer'])
def test_a_system_message_of_the_record_is_found(role):
  said = [{'role': role, 'content': 'a'}, {'role': 'user', 'content': 'b'}]
  assert conversations.own_system(said)
  assert not conversations.own_system(said[1:])


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    (None, []),
    ([], []),
    ('', []),
    ('null', []),
    ([{'name': 'f'}], [{'name': 'f'}]),
    ('[{"name": "f"}]', [{'name': 'f'}]),
  ],
)
def test_tools_are_a_list_of_schemas(given, expected):
  assert conversations.tools('f:1', given) == expected


@pytest.mark.parametrize(
  ('given', 'words'),
  [
    ('f', 'the tools are no JSON'),
    ('{"name": "f"}', 'must be a list of JSON schemas'),
    (['f'], "not \\['f'\\]"),
    (0, 'not 0'),
    ({}, 'not {}'),
  ],
)
def test_tools_of_another_form_are_refused(given, words):
  with pytest.raises(ValueError, match=f'^f:1: .*{words}'):
    conversations.tools('f:1', given)
