import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.types import Rollouts, Tokens
from tests.problems.text import templates

_TEMPLATE = (
  "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
  '{% if add_generation_prompt %}<assistant>{% endif %}'
)


def _fast(backend, **options):
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend, eos_token='<eos>', **options
  )
  tokenizer.add_tokens(['<think>', 'a word'])
  return tokenizer


def _byte_level(**options):
  """Every byte is a token, and so are a few runs of them."""
  characters = sorted(pre_tokenizers.ByteLevel.alphabet())
  runs = ['ab', 'abc', 'Ġa', 'ĊĊ', 'bca', 'ba', 'Ã©', '©a', 'ĠĠ']
  vocab = {token: i for i, token in enumerate(characters + runs)}
  backend = tokenizers.Tokenizer(models.BPE(vocab, []))
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.decoder = decoders.ByteLevel()
  return _fast(backend, **options)


def _sentencepiece(decoder):
  pieces = ['<unk>', 'a', 'b', 'c', 'ab', 'bc', '▁a', '▁', '▁▁', 'é', 'ca']
  pieces += [f'<0x{byte:02X}>' for byte in (0x0A, 0x61, 0xC3, 0xA9)]
  vocab = {piece: i for i, piece in enumerate(pieces)}
  backend = tokenizers.Tokenizer(
    models.BPE(vocab, [], unk_token='<unk>', byte_fallback=True)
  )
  backend.decoder = decoder
  return _fast(backend)


_LLAMA = decoders.Sequence(
  [
    decoders.Replace('▁', ' '),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(' ', 1, 0),
  ]
)
_GEMMA = decoders.Sequence(
  [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
)
_TOKENIZERS = {
  'byte_level': _byte_level(),
  'llama': _sentencepiece(_LLAMA),
  'gemma': _sentencepiece(_GEMMA),
  'metaspace': _sentencepiece(decoders.Metaspace()),
}
_STOPS = [
  ('abca',),
  (' a', 'bb'),
  ('abc', 'bc', 'c '),
  ('é',),
  ('\n\n', 'a<think>'),
  ('  ', 'aab', 'aabaaa'),
  ('a wordb',),
]
_TABLES = {
  (name, stop): text.stop_table(tokenizer, stop)
  for name, tokenizer in _TOKENIZERS.items()
  for stop in _STOPS
}


def _specials(tokenizer):
  """A tokenizer with another special token, and its tables by `special`."""
  tokenizer.add_special_tokens({'additional_special_tokens': ['<T>']})
  tables = {
    special: {
      stop: text.stop_table(
        tokenizer,
        [stop],
        silent=text.silent_tokens(tokenizer, special=special),
      )
      for stop in ('aab', 'b<T>a', '> a', 'T>')
    }
    for special in (True, False)
  }
  return tokenizer, tables


_SPECIAL = {
  'byte_level': _specials(_byte_level()),
  'llama': _specials(_sentencepiece(_LLAMA)),
  'gemma': _specials(_sentencepiece(_GEMMA)),
  'metaspace': _specials(_sentencepiece(decoders.Metaspace())),
}


def _rollouts(rows):
  width = max(map(len, rows))
  n = len(rows)
  response = np.zeros((n, width), np.int32)
  mask = np.zeros((n, width), bool)
  for i, row in enumerate(rows):
    response[i, : len(row)], mask[i, : len(row)] = row, True
  zeros = jnp.zeros(n, jnp.int32)
  return Rollouts(
    content=Tokens(
      prompt=jnp.zeros((n, 1), jnp.int32),
      prompt_mask=jnp.ones((n, 1), bool),
      response=jnp.asarray(response),
    ),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.asarray(mask),
    logp=jnp.zeros((n, width)),
    paid=jnp.zeros((n, width)),
    group=zeros,
    task=zeros,
    domain=zeros,
    valid=jnp.ones(n, bool),
    truncated=jnp.zeros(n, bool),
  )


def _interesting(tokenizer):
  """Ids whose text shares bytes with the stop strings, and specials."""
  vocab = tokenizer.get_vocab()
  return sorted(i for t, i in vocab.items() if len(t) > 1 or t in 'abcéĠĊÃ©▁<')


@pytest.mark.parametrize('name', _TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_table_stops_exactly_where_the_text_contains_a_string(name, data):
  tokenizer = _TOKENIZERS[name]
  stop = data.draw(st.sampled_from(_STOPS))
  ids = data.draw(
    st.lists(st.sampled_from(_interesting(tokenizer)), max_size=14)
  )
  table, state, found = _TABLES[name, stop], 0, False
  for count in range(1, len(ids) + 1):
    state = table[state, ids[count - 1]]
    decoded = tokenizer.decode(ids[:count], skip_special_tokens=True)
    # A later byte that fits no character may take letters before it along.
    found = found or any(s in decoded for s in stop)
    assert (state == len(table) - 1) == found


@pytest.mark.parametrize('name', _TOKENIZERS)
def test_the_last_state_is_never_left(name):
  table = _TABLES[name, _STOPS[2]]
  assert table.dtype == np.int32
  assert table.shape[1] == max(_TOKENIZERS[name].get_vocab().values()) + 1
  np.testing.assert_array_equal(table[-1], len(table) - 1)


def test_decode_cuts_after_the_first_stop_string_and_skips_specials():
  tokenizer = _TOKENIZERS['byte_level']
  ids = tokenizer.get_vocab()
  rows = [
    [ids['abc'], ids['a'], ids['abc'], ids['<eos>']],
    [ids['Ġa'], ids['<think>'], ids['<eos>']],
    [ids['ba'], ids['bca']],
  ]
  rollouts = _rollouts(rows)
  whole = text.decode(tokenizer, rollouts)
  assert whole == ['abcaabc', ' a<think>', 'babca']
  cut = text.decode(tokenizer, rollouts, stop=('ca', 'ab'))
  assert cut == ['ab', ' a<think>', 'bab']


def test_special_tokens_have_text_but_for_those_that_end_or_pad():
  tokenizer = _byte_level(pad_token='<pad>')
  tokenizer.add_special_tokens({'additional_special_tokens': ['<T>', '<end>']})
  ids = tokenizer.get_vocab()
  row = [ids[t] for t in ('<T>', 'ab', '<T>', '<end>', 'ab', '<pad>', '<eos>')]
  rollouts = _rollouts([row])
  silent = text.silent_tokens(tokenizer, {ids['<end>']})
  assert text.decode(tokenizer, rollouts, silent=silent) == ['<T>ab<T>ab']
  bare = text.silent_tokens(tokenizer, {ids['<end>']}, special=False)
  assert text.decode(tokenizer, rollouts, silent=bare) == ['abab']
  assert text.decode(tokenizer, rollouts) == ['<T>ab<T><end>ab']
  pieces = text.pieces(tokenizer, rollouts, silent=silent)
  assert pieces == [['<T>', 'ab', '<T>', '', 'ab', '', '']]


@pytest.mark.parametrize('special', [True, False])
@pytest.mark.parametrize('name', ['byte_level', 'llama', 'gemma', 'metaspace'])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_table_and_text_agree_on_special_tokens(name, special, data):
  tokenizer, tables = _SPECIAL[name]
  stop = data.draw(st.sampled_from(sorted(tables[special])))
  words = ['<T>', 'a', 'b', 'ab', '<eos>', '<think>', ' a', '▁a', 'Ġa']
  vocab = tokenizer.get_vocab()
  known = [vocab[word] for word in words if word in vocab]
  ids = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=8))
  silent = text.silent_tokens(tokenizer, special=special)
  table, state = tables[special][stop], 0
  for count in range(1, len(ids) + 1):
    state = table[state, ids[count - 1]]
    [said] = text.decode(tokenizer, _rollouts([ids[:count]]), silent=silent)
    assert (state == len(table) - 1) == (stop in said)


def test_decode_of_an_empty_response_is_empty():
  rollouts = _rollouts([[1, 2]])
  rollouts = rollouts.replace(response_mask=rollouts.response_mask & False)
  assert text.decode(_TOKENIZERS['byte_level'], rollouts) == ['']


def test_prompts_are_padded_on_the_left():
  tokens, mask, too_long = text.padded([[7], [1, 2, 3]], 3)
  assert too_long == []
  assert tokens[0, 2] == 7 and list(mask[0]) == [False, False, True]
  assert list(tokens[1]) == [1, 2, 3] and mask[1].all()


def test_prompts_over_the_budget_are_listed_and_masked():
  tokens, mask, too_long = text.padded([[1, 2, 3, 4], [1], [1, 2, 3]], 3)
  assert too_long == [0]
  assert not mask[0].any() and mask[2].all()
  assert tokens.shape == (3, 3)


@pytest.mark.parametrize('name', _TOKENIZERS)
def test_a_special_token_is_a_stop_by_itself_and_in_letters(name):
  tokenizer = _TOKENIZERS[name]
  ids = tokenizer.get_vocab()
  table = text.stop_table(tokenizer, ['<eos>', 'bc'])
  last = len(table) - 1
  np.testing.assert_array_equal(table[:, ids['<eos>']], last)
  assert (table[:-1, ids['a']] < last).all()
  state = table[table[0, ids['b']], ids['c']]
  assert state == last
  if name == 'byte_level':
    state = 0
    for letter in '<eos>':
      assert state < last
      state = table[state, ids[letter]]
    assert state == last


def test_tokens_without_a_row_in_the_embedding_need_no_column():
  tokenizer = _TOKENIZERS['byte_level']
  whole = text.stop_table(tokenizer, ['abca'])
  cut = text.stop_table(tokenizer, ['abca'], vocab=len(tokenizer) - 2)
  np.testing.assert_array_equal(cut, whole[:, :-2])
  longer = text.stop_table(tokenizer, ['abca'], vocab=len(tokenizer) + 9)
  np.testing.assert_array_equal(longer, whole)


def test_unusable_stop_strings_are_refused():
  tokenizer = _TOKENIZERS['byte_level']
  eos = tokenizer.eos_token_id
  with pytest.raises(ValueError, match=f"'<eos>' is token {eos}, .* {eos} tok"):
    text.stop_table(tokenizer, ['<eos>'], vocab=eos)
  with pytest.raises(ValueError, match='sample.stop .* non-empty'):
    text.stop_table(tokenizer, ['a', ''])


def test_other_decoders_are_refused_by_name():
  with pytest.raises(ValueError, match='WordPiece; leave sample.stop empty'):
    text.stop_table(_sentencepiece(decoders.WordPiece()), ['a'])
  backend = tokenizers.Tokenizer(models.WordLevel({'a': 0}, unk_token='a'))
  with pytest.raises(ValueError, match='leave sample.stop empty'):
    text.stop_table(_fast(backend), ['a'])


def test_responses_end_once():
  tokenizer = templates.tokenizer('qwen3')
  end, other = '<|im_end|>', '<|endoftext|>'
  eos, second = map(tokenizer.convert_tokens_to_ids, (end, other))
  texts = ['ab', f'ab{end}', f'ab{end}\n', f'ab{other}', 'ab\n', '', end, ' ']
  a, b, line, space = tokenizer('ab\n ')['input_ids']
  assert text.encode_responses(tokenizer, texts, (eos, second)) == [
    [a, b, eos],
    [a, b, eos],
    [a, b, eos],
    [a, b, second],
    [a, b, line, eos],
    [eos],
    [eos],
    [space, eos],
  ]
  assert text.encode_responses(tokenizer, [f'ab{other}'])[0][-2:] == [
    second,
    eos,
  ]


@pytest.mark.parametrize('name', ['byte_level', 'llama', 'gemma', 'metaspace'])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_tokens_spelled_one_by_one_make_the_text(name, data):
  tokenizer, _ = _SPECIAL[name]
  words = ['<T>', 'a', 'b', 'ab', '<eos>', '<think>', '▁a', 'Ġa', '▁▁', 'é']
  vocab = tokenizer.get_vocab()
  known = [vocab[word] for word in words if word in vocab]
  ids = data.draw(st.lists(st.sampled_from(known), max_size=8))
  spelled = text.spelled(tokenizer, ids)
  assert len(spelled) == len(ids)
  assert ''.join(spelled) == tokenizer.decode(ids)


def test_a_character_of_two_tokens_has_two_pieces():
  tokenizer = _byte_level()
  first, second = (tokenizer.get_vocab()[x] for x in ('Ã', '©'))
  assert len(text.spelled(tokenizer, [first, second])) == 2
