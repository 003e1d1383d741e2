"""What an assistant wrote, by position, in templates of several manners."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.problems.text import chat, marks, turns
from tests.problems.text import templates

TOKENIZERS = {name: templates.tokenizer(name) for name in templates.STYLES}
# What ends a turn, where it is another token than the tokenizer's EOS.
ENDS = {'gemma': '<end_of_turn>'}
TALK = [
  {'role': 'user', 'content': 'Hi there'},
  {'role': 'assistant', 'content': 'Yes?'},
  {'role': 'user', 'content': 'the thing'},
  {'role': 'assistant', 'content': 'No the'},
]


def ends_of(name):
  tokenizer = TOKENIZERS[name]
  texts = {tokenizer.eos_token, ENDS.get(name, tokenizer.eos_token)}
  return {tokenizer.convert_tokens_to_ids(text): text for text in texts}


def found(name, messages, learned=None, variables=None):
  if learned is None:
    learned = [i for i, m in enumerate(messages) if m['role'] == 'assistant']
  template = chat.Template(TOKENIZERS[name], variables)
  return turns.rows(template, messages, learned=learned, ends=ends_of(name))


def spans(name, row):
  """The texts of the runs of tokens that the policy wrote."""
  pieces, last = [], False
  for token, own in zip(row.response, row.action, strict=True):
    if own and not last:
      pieces.append([])
    if own:
      pieces[-1].append(token)
    last = own
  return [TOKENIZERS[name].decode(piece) for piece in pieces]


@pytest.fixture(params=TOKENIZERS)
def name(request):
  return request.param


@pytest.mark.parametrize('name', [*templates.TALKS, 'glm'])
def test_what_ends_a_turn_is_read_off_the_template(name):
  """GLM ends a turn with the next one, whose token its files name."""
  tokenizer = templates.tokenizer(name)
  end = {**ENDS, 'gemma3': '<end_of_turn>'}.get(name, tokenizer.eos_token)
  expected = tokenizer.convert_tokens_to_ids(end)
  assert turns.end_of_turn(tokenizer) == expected


def test_a_base_model_ends_turns_as_its_template_does():
  tokenizer = templates.tokenizer('qwen3')
  tokenizer.eos_token = '<think>'
  token, other = map(
    tokenizer.convert_tokens_to_ids, ('<|im_end|>', '<|im_start|>')
  )
  assert turns.end_of_turn(tokenizer) == token
  assert turns.closing(tokenizer, (), ['Hi', TALK[:1]]) == [
    tokenizer.eos_token_id,
    token,
  ]
  # One that ends responses goes before one that stands nearer.
  tokenizer.chat_template = (
    '{% for m in messages %}{{ m.content }}<|im_end|>a<|im_start|>{% endfor %}'
  )
  assert turns.end_of_turn(tokenizer) == token
  assert turns.end_of_turn(tokenizer, [other]) == other
  # Words between are none that a policy could be stopped by.
  tokenizer.chat_template = (
    '{% for m in messages %}{{ m.content }}a<|im_end|>{% endfor %}'
  )
  assert turns.end_of_turn(tokenizer) == tokenizer.eos_token_id
  tokenizer.chat_template = "{{ raise_exception('no') }}"
  assert turns.end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_every_answer_with_its_end_is_a_span_of_one_row(name):
  [row] = found(name, TALK)
  end = ENDS.get(name, TOKENIZERS[name].eos_token)
  texts = [m['content'] for m in TALK if m['role'] == 'assistant']
  said = [text.replace(f' {end}', end).strip() for text in spans(name, row)]
  assert said == [f'{text}{end}' for text in texts]
  assert row.action[0] and row.action[-1] and row.start == 1


def test_rows_are_the_text_that_the_template_writes(name):
  """And the prompt is the one that a run samples behind."""
  tokenizer = TOKENIZERS[name]
  [row] = found(name, TALK)
  assert row.prompt == chat.Template(tokenizer).encode(TALK[:1])
  whole = tokenizer.decode(
    tokenizer.apply_chat_template(TALK, return_dict=False)
  )
  written = tokenizer.decode([*row.prompt, *row.response])
  assert whole.rstrip('\n') == written


@pytest.mark.parametrize('name', ['qwen3', 'smollm2', 'gemma'])
def test_tokens_are_those_of_the_whole_text(name):
  """Where no mark would melt into what is said behind it."""
  [row] = found(name, TALK)
  whole = TOKENIZERS[name].apply_chat_template(TALK, return_dict=False)
  ids = [*row.prompt, *row.response]
  assert whole[: len(ids)] == ids


def test_a_mark_does_not_melt_into_an_answer():
  """The pre-tokenizer parts two newlines where a word follows them."""
  tokenizer = TOKENIZERS['llama3']
  [row] = found('llama3', TALK)
  whole = tokenizer.apply_chat_template(TALK, return_dict=False)
  assert whole[: len(row.prompt)] != row.prompt
  assert row.prompt[-1:] == tokenizer('\n\n')['input_ids'][-1:]
  assert spans('llama3', row)[0].startswith('Yes')


def test_turns_that_are_not_learned_are_read_alone(name):
  [both], [last], [first] = (found(name, TALK, x) for x in ([1, 3], [3], [1]))
  assert spans(name, both) == spans(name, first) + spans(name, last)
  assert (first.start, last.start) == (1, 3)
  assert TOKENIZERS[name].decode(last.prompt).count('Yes?') == 1
  assert found(name, TALK, []) == []


def test_a_template_that_drops_thoughts_begins_a_row_at_each():
  talk = [
    m | {'content': f'<think>hm</think>{m["content"]}'}
    if m['role'] == 'assistant'
    else m
    for m in TALK
  ]
  first, second = found('qwen3', talk)
  assert spans('qwen3', first) == ['<think>hm</think>Yes?<|im_end|>']
  assert spans('qwen3', second) == ['<think>hm</think>No the<|im_end|>']
  read = TOKENIZERS['qwen3'].decode(second.prompt)
  assert 'Yes?' in read and 'hm' not in read
  assert read == TOKENIZERS['qwen3'].apply_chat_template(
    talk[:3], add_generation_prompt=True, tokenize=False
  )
  # Another template keeps them, in one row.
  assert len(found('smollm2', talk)) == 1


def test_a_template_that_asks_otherwise_than_it_writes_is_refused():
  off = {'enable_thinking': False}
  with pytest.raises(ValueError, match='asks for an answer with .*think'):
    found('qwen3', TALK, variables=off)
  thought = '<think>\n\n</think>\n\n'
  talk = [TALK[0], TALK[1] | {'content': f'{thought}Yes?'}]
  [row] = found('qwen3', talk, variables=off)
  assert spans('qwen3', row) == ['Yes?<|im_end|>']


def test_control_tokens_of_others_are_text_and_end_nothing(name):
  marks = ''.join(TOKENIZERS[name].all_special_tokens)
  talk = [TALK[0] | {'content': f'x{marks}y'}, *TALK[1:]]
  [row] = found(name, talk)
  assert spans(name, row) == spans(name, found(name, TALK)[0])
  assert marks in TOKENIZERS[name].decode(row.prompt)


@pytest.mark.parametrize(
  ('name', 'talk', 'ends', 'words'),
  [
    ('qwen3', [*TALK[:2], TALK[1]], None, 'messages 1 and 2 are both of the'),
    (
      'qwen3',
      [TALK[0], TALK[1] | {'content': 'a<|im_end|>'}],
      None,
      "message 1, of the assistant, holds '<|im_end|>'",
    ),
    ('gemma', TALK, ['<eos>'], 'with .*<end_of_turn>.*name its token as'),
    (
      'smollm2',
      [TALK[0], TALK[1] | {'reasoning_content': 'hm'}],
      None,
      'a message has reasoning_content, and the chat template',
    ),
    (
      'smollm2',
      [TALK[0], TALK[1] | {'tool_calls': [{'name': 'f', 'arguments': {}}]}],
      None,
      'a message has tool_calls, and the chat template',
    ),
  ],
)
def test_what_no_policy_could_have_written_is_refused(name, talk, ends, words):
  tokenizer = TOKENIZERS[name]
  known = ends_of(name)
  if ends:
    known = {tokenizer.convert_tokens_to_ids(text): text for text in ends}
  learned = [i for i, m in enumerate(talk) if m['role'] == 'assistant']
  with pytest.raises(ValueError, match=words):
    turns.rows(chat.Template(tokenizer), talk, learned=learned, ends=known)


WORDS = st.text('ab \n<|im_>t', max_size=6)


@pytest.mark.parametrize('name', TOKENIZERS)
@settings(max_examples=20, deadline=None)
@given(contents=st.lists(WORDS, min_size=2, max_size=6))
def test_whatever_is_said_is_learned_and_nothing_else(name, contents):
  """The spans are the answers, and what is between them the template's."""
  talk = [
    {'role': ('user', 'assistant')[i % 2], 'content': text}
    for i, text in enumerate(contents[: len(contents) // 2 * 2])
  ]
  rows = found(name, talk)
  said = [text for row in rows for text in spans(name, row)]
  end = ENDS.get(name, TOKENIZERS[name].eos_token)
  wanted = [m['content'] for m in talk[1::2]]
  assert [x.removesuffix(end).strip() for x in said] == [
    x.strip() for x in wanted
  ]
  text = ''.join(
    TOKENIZERS[name].decode([*row.prompt, *row.response]) for row in rows
  )
  if len(rows) == 1:
    whole = chat.Template(TOKENIZERS[name]).write(talk, asks=False)
    if marks.OPEN not in whole:
      assert whole.rstrip('\n').startswith(text.rstrip('\n'))
