"""Chat templates: who wrote a control token decides what it is."""

import copy

import pytest

from jaxrl_llm.problems.text import chat, marks
from jaxrl_llm.problems.text import encoding as text
from tests.problems.text import templates

USER = {'role': 'user', 'content': 'Hi there'}
TOOLS = [{'type': 'function', 'function': {'name': 'f', 'description': 'd'}}]


TOKENIZERS = {name: templates.tokenizer(name) for name in templates.STYLES}
TOOLED = [name for name, style in templates.STYLES.items() if style.tools]


@pytest.fixture(params=TOKENIZERS)
def style(request):
  return TOKENIZERS[request.param]


def written(tokenizer, messages, tools=(), variables=None, **options):
  ids = chat.Template(tokenizer, variables).encode(messages, tools, **options)
  return ids, tokenizer.decode(ids)


def control(tokenizer, ids):
  """The special tokens among ids, in their order."""
  special = set(tokenizer.all_special_ids)
  return [i for i in ids if i in special]


def test_a_question_is_encoded_as_transformers_does(style):
  messages = [USER, {'role': 'assistant', 'content': 'Yes?'}, USER]
  ids, _ = written(style, messages)
  assert ids == style.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=False
  )


ROLES = [
  (name, role)
  for name, style in templates.STYLES.items()
  for role in ('user', *style.roles)
]


@pytest.mark.parametrize(('name', 'role'), ROLES)
def test_control_tokens_that_others_write_are_text(name, role):
  style = TOKENIZERS[name]
  attack = ''.join(f'x{mark} y' for mark in style.all_special_tokens)
  attack += '<think>' * ('<think>' in style.chat_template)
  harmless = [{'role': role, 'content': 'z'}, USER]
  forged = [{'role': role, 'content': attack}, USER]
  ids, said = written(style, forged)
  assert attack in said
  assert control(style, ids) == control(style, written(style, harmless)[0])
  assert style.convert_tokens_to_ids('<think>') not in ids


def test_texts_around_a_spelled_token_keep_their_tokens(style):
  mark = style.eos_token
  ids, _ = written(style, [{'role': 'user', 'content': f'one {mark} two'}])
  plain, _ = written(style, [{'role': 'user', 'content': 'one  two'}])
  start = next(i for i, (a, b) in enumerate(zip(ids, plain)) if a != b)
  end = next(
    i for i, (a, b) in enumerate(zip(ids[::-1], plain[::-1])) if a != b
  )
  spelled = style.decode(ids[start : len(ids) - end])
  assert mark.strip() in spelled and len(spelled) < len(mark) + 4


def test_a_policys_own_control_tokens_are_tokens(style):
  said = {'role': 'assistant', 'content': '<think>so'}
  thought = style.convert_tokens_to_ids('<think>')
  assert thought in written(style, [USER, said, USER])[0]
  assert written(style, [USER, said])[0][-3] == thought


@pytest.mark.parametrize('name', TOOLED)
def test_tools_cannot_forge_a_turn(name):
  style, forged = TOKENIZERS[name], copy.deepcopy(TOOLS)
  for mark in style.all_special_tokens:
    forged[0]['function']['description'] += mark
  ids, said = written(style, [USER], forged)
  assert forged[0]['function']['description'] in said
  assert control(style, ids) == control(style, written(style, [USER], TOOLS)[0])


def test_marks_of_ours_in_a_text_forge_nothing(style):
  mark = style.eos_token
  content = f'{marks.OPEN}{marks.CLOSE}a{mark}{marks.OPEN}b{mark}{marks.CLOSE}'
  ids, said = written(style, [{'role': 'user', 'content': content}])
  assert f'a{mark}b{mark}' in said
  plain, _ = written(style, [USER])
  assert control(style, ids) == control(style, plain)


@pytest.mark.parametrize('beginning', ['Yes, ', 'Yes', '', ' a\n'])
@pytest.mark.parametrize('name', TOKENIZERS)
def test_a_last_message_of_the_assistant_is_gone_on_with(name, beginning):
  style = TOKENIZERS[name]
  asked, question = written(style, [USER])
  ids, said = written(
    style, [USER, {'role': 'assistant', 'content': beginning}]
  )
  assert said.startswith(question)
  assert said[len(question) :].strip() == beginning.strip()
  if beginning and not templates.STYLES[name].trims:
    assert said == question + beginning
  assert control(style, ids) == control(style, asked)


def test_a_whole_conversation_ends_its_last_turn(style):
  messages = [USER, {'role': 'assistant', 'content': 'Yes'}]
  ids, _ = written(style, messages, whole=True)
  assert ids == style.apply_chat_template(messages, return_dict=False)
  assert len(ids) > len(written(style, messages)[0])


def test_who_is_judged_cannot_spell_the_end_of_a_turn(style):
  honest, forged = (
    [USER, {'role': 'assistant', 'content': f'a{"".join(marks)}<think>b'}]
    for marks in ((), style.all_special_tokens)
  )
  ids, said = written(style, forged, whole=True)
  assert ''.join(style.all_special_tokens) in said
  plain, _ = written(style, honest, whole=True)
  assert control(style, ids) == control(style, plain)
  assert style.convert_tokens_to_ids('<think>') in ids


@pytest.mark.parametrize('name', TOKENIZERS)
def test_tools_reach_the_template_or_are_refused(name):
  style = TOKENIZERS[name]
  if name in TOOLED:
    assert '"name": "f"' in written(style, [USER], TOOLS)[1]
    assert written(style, [USER], []) == written(style, [USER])
  else:
    with pytest.raises(ValueError, match='has tools, and the chat template'):
      written(style, [USER], TOOLS)


def test_calls_of_tools_that_nobody_answered_are_refused(style):
  calls = {'role': 'assistant', 'content': '', 'tool_calls': TOOLS}
  with pytest.raises(ValueError, match='calls tools, and no answer'):
    written(style, [USER, calls])


@pytest.mark.parametrize('name', TOKENIZERS)
def test_variables_reach_the_template_or_are_refused(name):
  style, off = TOKENIZERS[name], {'enable_thinking': False}
  if templates.STYLES[name].thinks:
    thought = '<think>\n\n</think>\n\n'
    assert written(style, [USER], variables=off)[1].endswith(thought)
    assert not written(style, [USER])[1].endswith(thought)
  else:
    with pytest.raises(ValueError, match="'enable_thinking' would do nothing"):
      written(style, [USER], variables=off)


@pytest.mark.parametrize('name', ['tokenize', 'add_generation_prompt', 'tools'])
def test_what_the_run_gives_is_no_variable(style, name):
  with pytest.raises(ValueError, match=f'{name}.* is what the run itself'):
    chat.Template(style, {name: 1})


def test_who_spells_control_tokens_is_known(style):
  template = chat.Template(style)
  mark = style.eos_token
  assert template.spells([{'role': 'user', 'content': f'a{mark}'}])
  assert not template.spells([USER, {'role': 'assistant', 'content': mark}])


def test_a_text_written_by_a_template_begins_once(style):
  messages = [{'role': 'user', 'content': 'x'}]
  rendered = style.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=False
  )
  ids = text.encode_prompt(style, rendered)
  assert ids == written(style, messages)[0]
  assert ids.count(style.bos_token_id) <= 1
  assert text.encode_prompt(style, 'x') == style('x')['input_ids']


def test_an_end_that_the_tokenizer_always_puts_is_left_out():
  tokenizer = templates.ending()
  assert tokenizer('ab')['input_ids'][-1] == tokenizer.eos_token_id
  found = text.encode_prompt(tokenizer, 'ab')
  assert found == tokenizer('ab')['input_ids'][:-1]


def test_a_token_that_cannot_be_spelled_is_refused():
  tokenizer = templates.words()
  with pytest.raises(ValueError, match="'<end>' in the text of a message"):
    written(tokenizer, [{'role': 'user', 'content': 'a <end>'}])


def test_a_tokenizer_may_have_a_template_for_tools():
  style = templates.tokenizer('qwen3')
  plain = templates.STYLES['smollm2'].template
  style.chat_template = {'default': plain, 'tool_use': style.chat_template}
  assert '"name": "f"' in written(style, [USER], TOOLS)[1]
  assert 'You help.' in written(style, [USER])[1]
