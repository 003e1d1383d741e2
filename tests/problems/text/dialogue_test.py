"""What stands between turns is what the template writes, to the token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.problems.text import chats as chats_lib
from jaxrl_llm.problems.text import dialogue, encoding
from jaxrl_llm.tasks.speech import Said
from tests.problems.text import templates

TOKENIZERS = {name: templates.tokenizer(name) for name in templates.TALKS}
# What ends a turn, where it is another token than the tokenizer's EOS.
ENDS = {'gemma': '<end_of_turn>', 'gemma3': '<end_of_turn>'}
# Templates that write calls, and how many in a turn.
CALLS = {'qwen3': 2, 'qwen2.5': 2, 'llama3.2': 1}
# Those that write what was said before as it was said.
KEEPS = [name for name in TOKENIZERS if name != 'llama2']
TOOLS = [{'type': 'function', 'function': {'name': 'add', 'description': 'd'}}]


def end_of(name):
  return ENDS.get(name, TOKENIZERS[name].eos_token)


def chat_of(name, **more):
  tokenizer = TOKENIZERS[name]
  end = tokenizer.convert_tokens_to_ids(end_of(name))
  return dialogue.Templated(dialogue.Reader(tokenizer, [end], **more), {})


CHATS = {name: chat_of(name) for name in TOKENIZERS}


def user(text):
  return {'role': 'user', 'content': text}


def said(text, calls=0):
  message = {'role': 'assistant', 'content': text}
  made = [
    {
      'id': f'call{i:05d}',
      'type': 'function',
      'function': {'name': 'add', 'arguments': {'a': i, 'b': 'x'}},
    }
    for i in range(calls)
  ]
  return {**message, 'tool_calls': made} if made else message


def result(text, number=0):
  name = {'name': 'add', 'tool_call_id': f'call{number:05d}'}
  return {'role': 'tool', 'content': text, **name}


SYSTEM = {'role': 'system', 'content': 'Be brief.'}
TALKS = {
  'chat': [user('Hi'), said('Yes?'), user('Two\n\nlines'), said('7'), user('')],
  'system': [SYSTEM, user('Hi'), said('Yes?'), user('the thing')],
  'thought': [
    user('Hi'),
    said('<think>\nhm\n</think>\n\nYes'),
    user('And'),
    said('<think>so</think>No'),
    user('the'),
  ],
  'call': [user('1+2'), said('', 1), result('3'), said('3'), user('the')],
  'talk and call': [user('1+2'), said('I add.', 1), result('3'), said('3')],
  'two calls': [user('both'), said('', 2), result('3'), result('4', 1)],
  'two results': [user('Hi'), said('Yes'), user('one'), user('two')],
}


def boundaries():
  """(template, talk, the answer's place, that of the next or the end)."""
  for name, style in templates.TALKS.items():
    for title, talk in TALKS.items():
      calls = max(len(m.get('tool_calls', ())) for m in talk)
      cannot = calls > CALLS.get(name, 0)
      cannot |= SYSTEM in talk and 'system' not in style.roles
      cannot |= title == 'two results' and name == 'gemma3'
      if cannot:
        continue
      places = [i for i, m in enumerate(talk) if m['role'] == 'assistant']
      for place, end in zip(places, [*places[1:], len(talk)]):
        if end > place + 1:
          yield name, title, place, end


@pytest.mark.parametrize('cut', [False, True], ids=['ended', 'cut'])
@pytest.mark.parametrize(('name', 'title', 'place', 'end'), [*boundaries()])
def test_it_is_the_end_of_what_the_template_writes(
  name, title, place, end, cut
):
  tokenizer, talk = TOKENIZERS[name], TALKS[title]
  tools = TOOLS if any(m.get('tool_calls') for m in talk) else []
  written = tokenizer.apply_chat_template(
    talk[:end], tools=tools or None, add_generation_prompt=True, tokenize=False
  )
  whole = tokenizer(written, add_special_tokens=False)['input_ids']
  token = tokenizer.convert_tokens_to_ids(end_of(name))
  ids = CHATS[name].after(
    talk[:place],
    Said('', ended=None if cut else token, cut=cut),
    talk[place + 1 : end],
    tools,
  )
  # The end token of the answer is the last of a text that ends with it.
  until = tokenizer.apply_chat_template(
    talk[: place + 1], tools=tools or None, return_dict=False
  )
  ends = [i for i, t in enumerate(whole) if t == token]
  end = ends[until.count(token) - 1]
  if cut:
    assert ids[-len(whole) + end :] == whole[end:]
    assert not tokenizer.decode(ids[: -len(whole) + end]).strip()
  else:
    assert ids == whole[end + 1 :]


def episode(name, talk, *, cut=()):
  """Tokens of a talk by turns, as a plan makes them, and which are sampled."""
  chat, tokenizer = CHATS[name], TOKENIZERS[name]
  places = [i for i, m in enumerate(talk) if m['role'] == 'assistant']
  ids = chat.begin(talk[: places[0]])
  own = [False] * len(ids)
  for place, end in zip(places, [*places[1:], len(talk)]):
    words = talk[place]['content']
    drawn = tokenizer(words, add_special_tokens=False)['input_ids']
    if place not in cut:
      drawn = [*drawn, tokenizer.convert_tokens_to_ids(end_of(name))]
    turn = chat.read(drawn, cut=place in cut)
    between = chat.after(talk[:place], turn, talk[place + 1 : end])
    ids = [*ids, *drawn, *between]
    own += [True] * len(drawn) + [False] * len(between)
  return ids, own


WORDS = st.text('ab \n<|im_>é', max_size=6)


@pytest.mark.parametrize('name', KEEPS)
@settings(max_examples=20, deadline=None)
@given(contents=st.lists(WORDS, min_size=3, max_size=7), data=st.data())
def test_rows_read_as_the_text_of_the_template(name, contents, data):
  """Whatever is said, also where turns are cut; the text alone is compared."""
  contents = contents[: len(contents) // 2 * 2 - 1]
  talk = [
    (user, said)[i % 2](text.strip() if templates.TALKS[name].trims else text)
    for i, text in enumerate(contents)
  ]
  cut = data.draw(st.sets(st.sampled_from(range(1, len(talk), 2) or [0])))
  if len(talk) < 3:
    return
  ids, own = episode(name, talk, cut=cut)
  tokenizer = TOKENIZERS[name]
  chat = CHATS[name]
  written = chat.template.write(talk, asks=True)
  assert tokenizer.decode(ids) == tokenizer.decode(
    chat.template.tokens(written)
  )
  assert sum(own) == sum(
    len(tokenizer(m['content'], add_special_tokens=False)['input_ids'])
    + (place not in cut)
    for place, m in enumerate(talk)
    if m['role'] == 'assistant'
  )


@pytest.mark.parametrize('name', TOKENIZERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_others_say_never_becomes_a_control_token(name, data):
  tokenizer, style = TOKENIZERS[name], templates.TALKS[name]
  pieces = st.sampled_from([*tokenizer.all_special_tokens, '\ufdd1', 'a', ' '])
  text = 'x' + ''.join(data.draw(st.lists(pieces, max_size=6))) + 'y'
  tool = 'tool' in style.roles and CALLS.get(name)
  say = result if tool and data.draw(st.booleans()) else user
  tools = TOOLS if say is result else []
  end = tokenizer.convert_tokens_to_ids(end_of(name))
  for ended in (None, end):
    turn = Said('', ended=ended, cut=ended is None)
    ids, harmless = (
      CHATS[name].after([user('Hi')], turn, [say(words)], tools)
      for words in (text, 'xy')
    )
    special = set(tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [
      i for i in harmless if i in special
    ]
    assert text.replace('\ufdd1', '') in tokenizer.decode(ids)


@pytest.mark.parametrize('name', TOKENIZERS)
def test_plain_texts_stand_as_they_are_and_forge_nothing(name):
  tokenizer = TOKENIZERS[name]
  chat = dialogue.Plain(dialogue.Reader(tokenizer))
  for text in ('7\n', ' the\n\nthing', ''):
    plain = tokenizer(text, add_special_tokens=False)['input_ids']
    assert chat.after([], Said('a'), [user(text)]) == plain
  assert chat.begin('x') == encoding.encode_prompt(tokenizer, 'x')
  forged = chat.after([], Said('a'), [user(f'a{tokenizer.eos_token}b')])
  assert not set(forged) & set(tokenizer.all_special_ids)
  assert tokenizer.decode(forged) == f'a{tokenizer.eos_token}b'
  end = tokenizer.eos_token_id
  assert chat.sample_of([], said('a'))[-1] == end
  assert chat.message(Said('a')) == said('a')


def test_a_turn_that_ends_otherwise_is_closed_as_the_template_does():
  """A text may end where a turn should have."""
  chat, tokenizer = CHATS['gemma'], TOKENIZERS['gemma']
  turn = chat.read([5, tokenizer.eos_token_id])
  assert turn.ended == tokenizer.eos_token_id
  ids = chat.after([user('Hi')], turn, [user('a')])
  assert tokenizer.decode(ids).startswith('<end_of_turn>\n<start_of_turn>user')


def test_a_call_that_a_string_ended_is_not_written_twice():
  chat = chat_of('qwen2.5', stop=('</tool_call>',))
  tokenizer = TOKENIZERS['qwen2.5']
  drawn = tokenizer('{}</tool_call>', add_special_tokens=False)['input_ids']
  turn = chat.read(drawn)
  assert (turn.ended, turn.cut) == (None, False)
  ids = chat.after([user('Hi')], turn, [result('3')], TOOLS)
  assert tokenizer.decode(ids).startswith('<|im_end|>\n<|im_start|>user\n')


def test_a_special_token_that_is_a_stop_string_ends_a_turn():
  chat = chat_of('gemma', stop=('<end_of_turn>',))
  token = TOKENIZERS['gemma'].convert_tokens_to_ids('<end_of_turn>')
  assert chat.read([5, token]).ended == token


def test_a_beginning_that_was_given_is_part_of_the_answer():
  chat = CHATS['gemma3']
  given = [user('Hi'), said('Yes, ')]
  turn = chat.read([5], cut=True)
  assert chat.after(given, turn, [user('a')]) == chat.after(
    given[:1], turn, [user('a')]
  )


@pytest.mark.parametrize(
  ('text', 'thought', 'content'),
  [
    ('a', '', 'a'),
    ('<think>\nhm\n</think>\n\nYes', 'hm', 'Yes'),
    ('hm</think>Yes', 'hm', 'Yes'),
    ('<think>hm', 'hm', ''),
    ('Well<think>hm</think>, yes', 'hm', 'Well, yes'),
  ],
)
def test_thoughts_are_told_from_what_is_said(text, thought, content):
  chat, tokenizer = CHATS['qwen3'], TOKENIZERS['qwen3']
  drawn = tokenizer(text, add_special_tokens=False)['input_ids']
  turn = chat.read([*drawn, tokenizer.eos_token_id])
  assert (turn, turn.thought, turn.content) == (text, thought, content)
  assert turn.ids == (*drawn, tokenizer.eos_token_id) and not turn.cut


@pytest.mark.parametrize('name', KEEPS)
def test_a_demonstration_is_what_would_have_been_drawn(name):
  chat, tokenizer = CHATS[name], TOKENIZERS[name]
  ids = chat.sample_of([user('Hi')], said('the'))
  assert tokenizer.decode(ids) == 'the' + end_of(name)
  assert chat.message(chat.read(ids)) == said('the')


@pytest.mark.parametrize(
  ('new', 'words'),
  [
    ([], 'must say something'),
    ([said('a')], 'not of the assistant, who is the policy'),
    ([{'role': 'nobody', 'content': 'a'}], 'cannot write the messages'),
  ],
)
def test_what_nobody_could_say_is_refused(new, words):
  with pytest.raises(ValueError, match=words):
    CHATS['gemma'].after([user('Hi')], Said('a'), new)


def test_a_template_that_leaves_answers_out_is_refused():
  tokenizer = templates.tokenizer('smollm2')
  tokenizer.chat_template = '{{ messages[-1].content }}'
  chat = dialogue.Templated(dialogue.Reader(tokenizer), {})
  with pytest.raises(ValueError, match='does not write what the assistant'):
    chat.after([user('Hi')], Said('a'), [user('b')])


def test_talks_grow_by_turns():
  chats = chats_lib.Chats(dialogue.Reader(TOKENIZERS['gemma3']))
  talk = chats_lib.Talk([SYSTEM, user('Hi')])
  for _ in range(2):
    ids, talk = chats.after(talk, Said('a'), 'b')
  assert ids == CHATS['gemma3'].after(
    [*talk.prompt, *talk.turns[:2]], Said('a'), [user('b')]
  )
  assert talk.turns == (said('a'), user('b')) * 2
  assert chats.of('text') is chats.plain is not chats.of(talk.prompt)
