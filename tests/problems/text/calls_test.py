"""Calls are read as the template writes them, and never raise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.problems.text import calls, chat, dialogue
from jaxrl_llm.problems.text.chats import Chats, Talk
from jaxrl_llm.tasks.speech import Call
from tests.problems.text import templates

USER = {'role': 'user', 'content': 'Hi'}
NAMES = [*templates.TALKS, 'glm']
TOKENIZERS = {name: templates.tokenizer(name) for name in NAMES}
ENDS = {'gemma': '<end_of_turn>', 'gemma3': '<end_of_turn>'}
# How many calls a turn may have, in the templates that write any.
MOST = {'qwen3': 0, 'qwen2.5': 0, 'llama3.2': 1, 'glm': 0}


def tool(name, **types):
  properties = {k: {'type': t, 'description': k} for k, t in types.items()}
  parameters = {'type': 'object', 'properties': properties}
  function = {'name': name, 'description': 'd', 'parameters': parameters}
  return {'type': 'function', 'function': function}


TOOLS = [tool('add', a='integer', b='integer'), tool('say', words='string')]


def chats_of(name):
  tokenizer = TOKENIZERS[name]
  ends = [tokenizer.convert_tokens_to_ids(ENDS.get(name, tokenizer.eos_token))]
  return Chats(dialogue.Reader(tokenizer, ends), tools=TOOLS)


CHATS = {name: chats_of(name) for name in NAMES}


def read(name, text, *, cut=False):
  ids = TOKENIZERS[name](text, add_special_tokens=False)['input_ids']
  return CHATS[name].read(Talk([USER]), ids, cut=cut)


def made(*pairs):
  return [
    Call(f'call{i:05d}', name, arguments)
    for i, (name, arguments) in enumerate(pairs)
  ]


def test_forms_are_learned_from_the_template():
  for name in NAMES:
    found = CHATS[name].templated.form
    assert (found is not None) == (name in MOST), name
    if found is not None:
      assert found[1] == MOST[name]
  form, _ = CHATS['glm'].templated.form
  assert form == calls.Pairs(
    '<tool_call>',
    '<arg_key>',
    '</arg_key>\n<arg_value>',
    '</arg_value>',
    '</tool_call>',
  )


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'glm'])
def test_what_would_be_said_to_call_is_read_as_the_call(name):
  """Token by token, in templates with calls and in those without."""
  wanted = made(('add', {'a': 1, 'b': -2}), ('say', {'words': 'x "y"\n{z}'}))
  chats = CHATS[name]
  speaks = chats.of([USER])
  for asked in (wanted[:1], wanted):
    if MOST.get(name, 0) == len(asked) - 1 == 1:
      continue
    ids = speaks.sample_of([USER], calls.message('', asked), TOOLS)
    said = chats.read(Talk([USER]), ids)
    assert list(said.calls) == asked
    assert not said.content
    assert said.start == str(said).index('<' if name != 'llama3.2' else '{')


def test_arguments_one_by_one_have_the_types_of_the_schema():
  said = read(
    'glm',
    'So <tool_call>say\n<arg_key>words</arg_key>\n<arg_value>12</arg_value>\n'
    '</tool_call><tool_call>add<arg_key>a</arg_key><arg_value>12</arg_value>'
    '<arg_key>b</arg_key><arg_value>x</arg_value></tool_call>',
  )
  assert list(said.calls) == made(
    ('say', {'words': '12'}), ('add', {'a': 12, 'b': 'x'})
  )
  assert (said.content, said.start) == ('So', 3)


@pytest.mark.parametrize(
  'text',
  [
    '<tool_call>{"name":"add","arguments":{"a":1}}</tool_call>',
    '<tool_call>\n{ "name" : "add", "arguments" : {"a": 1} }\n</tool_call>',
    '<tool_call>\n{"name": "add", "arguments": {"a": 1}}',
  ],
)
def test_space_and_a_missing_end_count_for_nothing(text):
  for name in ('qwen2.5', 'gemma3'):
    said = read(name, f'Well. {text}')
    assert list(said.calls) == made(('add', {'a': 1}))
    assert said.content.startswith('Well.') and said.start == 6


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('<tool_call>\n{"name": "add", "arguments": {"a": }}', 'are no JSON'),
    ('<tool_call>\n{"name": "add", "arguments": [1]}', 'are no JSON object'),
    ('<tool_call>\n{"name": "add"}\n</tool_call>', 'is missing behind its'),
    ('<tool_call>add(1)</tool_call>', 'it names no tool'),
    ('<tool_call>', 'it names no tool'),
  ],
)
def test_a_call_that_cannot_be_read_says_why(text, words):
  said = read('qwen2.5', text)
  [call] = said.calls
  assert (
    call.error.startswith('the call cannot be read') and words in call.error
  )


def test_what_was_written_of_a_broken_call_is_no_content():
  broken = '<tool_call>\n{"name": "add", "arguments": {"a": }}\n</tool_call>'
  whole = broken.replace('"a": ', '"a": 1')
  said = read('qwen2.5', f'So {broken} and {whole} then')
  first, second = said.calls
  assert first.written == '", "arguments": {"a": }}\n</tool_call>'
  assert first.error and (second.error, second.written) == ('', '')
  assert said.content == 'So  and  then'
  [call] = read('qwen2.5', broken[:-15]).calls
  assert call.written == '", "arguments": {"a": '


def test_an_unfinished_list_of_arguments_is_no_call():
  [call] = read('glm', '<tool_call>add\n<arg_key>a</arg_key>').calls
  assert "'</tool_call>' is missing" in call.error


def test_bare_json_is_a_call_with_the_name_of_a_tool_alone():
  call = '{"name": "%s", "parameters": {"a": 1}}'
  assert list(read('llama3.2', call % 'add').calls) == made(('add', {'a': 1}))
  other = read('llama3.2', call % 'Ann')
  assert not other.calls and other.content == str(other) == call % 'Ann'


def test_of_several_calls_where_one_may_be_made_none_is():
  said = read('llama3.2', '{"name": "add", "parameters": {}};' * 2)
  [call] = said.calls
  assert call.error == '2 calls in a turn, and 1 may be made; none was'
  assert (
    call.written == '", "parameters": {}};{"name": "add", "parameters": {}}'
  )


def test_what_is_thought_or_cut_calls_nothing():
  call = '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
  said = read('qwen3', f'<think>{call}</think>No')
  assert not said.calls and (said.content, said.start) == ('No', -1)
  assert not read('qwen3', call, cut=True).calls
  said = read('qwen3', f'<think>hm</think>\n{call}')
  assert len(said.calls) == 1 and str(said)[said.start :] == call
  assert (said.thought, said.content) == ('hm', '')


def test_a_history_with_calls_is_written_anew_by_any_chat():
  prompt = [{'role': 'system', 'content': 'You add.'}, USER]
  result = {'role': 'tool', 'name': 'add', 'content': 'seven'}
  for name, chats in CHATS.items():
    said = calls.message('So', made(('add', {'a': 1})))
    talk = Talk(prompt if 'gemma' not in name else [USER], (), (said, result))
    text = TOKENIZERS[name].decode(chats.written(talk))
    said = text[text.rindex('Hi') : text.index('seven')]
    assert 'add' in said and '1' in said, name
  with pytest.raises(ValueError, match='the prompt is a text'):
    chats.written(Talk('Hi'))


def test_results_go_back_into_any_chat():
  for name, chats in CHATS.items():
    talk = Talk([USER])
    ids = chats.begin(talk.prompt)
    assert 'say' in TOKENIZERS[name].decode(ids)
    said = read(name, 'So')
    _, talk = chats.after(talk, said, 'And?')
    result = {'role': 'tool', 'name': 'add', 'content': 'seven'}
    results = [result, {**result, 'content': '8'}][: MOST.get(name, 2) or 2]
    written, talk = chats.after(talk, said, results)
    text = TOKENIZERS[name].decode(written)
    assert 'seven' in text and ('8' in text) == (len(results) == 2)
  plain = CHATS['gemma3']
  _, talk = plain.after(Talk('Hi'), said, 'And?')
  written, _ = plain.after(talk, said, [result])
  text = TOKENIZERS['gemma3'].decode(written)
  assert text == '<tool_response>\nseven\n</tool_response>\n'


@settings(max_examples=60, deadline=None)
@given(
  text=st.text('<tool_cal>{"name: dr,}[]\n/', max_size=60), which=st.data()
)
def test_no_text_raises(text, which):
  for form, _ in (CHATS[n].templated.form for n in MOST):
    calls.read(form, text, TOOLS)
    calls.read(form, form.opener + text, TOOLS)


VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(max_size=8),
  lambda inner: st.lists(inner, max_size=2),
  max_leaves=3,
)


@settings(max_examples=60, deadline=None)
@given(arguments=st.dictionaries(st.text('abc', min_size=1), VALUES))
def test_json_comes_back_as_it_was(arguments):
  for form in (calls.HERMES, CHATS['llama3.2'].templated.form[0]):
    found = calls.read(form, form.written('add', arguments), TOOLS)
    assert list(found.calls) == made(('add', arguments))
    assert json.dumps(arguments) == json.dumps(found.calls[0].arguments)


def test_a_form_that_does_not_come_back_is_none():
  tokenizer = templates.tokenizer('qwen2.5')
  source = tokenizer.chat_template
  ends = [tokenizer.eos_token]
  for old, new in (
    ('call.function.name', "'f'"),
    ('call.function.arguments', '{}'),
    ('arguments | tojson', 'arguments | list | tojson'),
  ):
    tokenizer.chat_template = source.replace(old, new)
    assert tokenizer.chat_template != source
    assert calls.learned(chat.Template(tokenizer), ends) is None
