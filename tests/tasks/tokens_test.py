"""Token rewards against loops, and the tokenizer as a folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import tokens

RESPONSE = jnp.array([[1, 2, 3], [1, 2, 9], [4, 9, 9], [9, 9, 9]])
MASK = jnp.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)


def test_same_compares_tokens_and_length():
  target = jnp.array([[1, 2]] * 4)
  found = jax.jit(tokens.same)(RESPONSE, MASK, target, jnp.ones((4, 2), bool))
  np.testing.assert_array_equal(found, [0, 1, 0, 0])
  empty = tokens.same(RESPONSE, MASK, target, jnp.zeros((4, 2), bool))
  np.testing.assert_array_equal(empty, [0, 0, 0, 1])
  assert found.dtype == jnp.float32


def test_share_is_a_mean_over_existing_tokens():
  found = jax.jit(tokens.share)(RESPONSE, MASK, jnp.array([1, 2, 4, 9]))
  np.testing.assert_allclose(found, [1 / 3, 1 / 2, 1, 0], rtol=1e-6)


def test_sum_modulo_agrees_with_a_loop():
  target = jnp.array([1, 8, 4, 0])
  for modulus in (1, 2, 5):
    found = tokens.sum_modulo(RESPONSE, MASK, target, modulus=modulus)
    loop = [
      float(
        sum(int(y) for y, m in zip(RESPONSE[i], MASK[i]) if m) % modulus
        == int(target[i]) % modulus
      )
      for i in range(4)
    ]
    np.testing.assert_array_equal(found, loop)


def test_padding_is_inert():
  wide = jnp.pad(RESPONSE, ((0, 0), (0, 2)), constant_values=7)
  mask = jnp.pad(MASK, ((0, 0), (0, 2)))
  target = jnp.array([1, 2, 4, 0])
  for f in (tokens.share, lambda *x: tokens.sum_modulo(*x, modulus=3)):
    np.testing.assert_array_equal(
      f(wide, mask, target), f(RESPONSE, MASK, target)
    )
  both = [
    tokens.same(*x, RESPONSE, MASK) for x in ((wide, mask), (RESPONSE, MASK))
  ]
  np.testing.assert_array_equal(*both)
  np.testing.assert_array_equal(both[0], [1, 1, 1, 1])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('tokenizer') / 'new'
  tokens.toy_tokenizer(path)
  return path


@pytest.fixture(scope='module')
def loaded(folder):
  return transformers.AutoTokenizer.from_pretrained(folder)


def test_folder_loads_with_its_settings(loaded):
  assert len(loaded) == 259
  assert loaded.padding_side == 'left'
  ids = loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id
  assert ids == (0, 1, 2)
  batch = loaded(['12+3=', '1='], padding=True)
  assert [len(row) for row in batch['input_ids']] == [6, 6]
  assert batch['input_ids'][1][:4] == [0, 0, 0, 1]


def test_one_token_per_byte_without_merges(loaded):
  ids = loaded('7-2+9=14', add_special_tokens=False)['input_ids']
  assert len(ids) == 8


@given(text=st.text(max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_text_round_trips(loaded, text):
  ids = loaded(text, add_special_tokens=False)['input_ids']
  assert loaded.decode(ids, clean_up_tokenization_spaces=False) == text


def test_texts_teach_merges_and_a_template_is_kept(tmp_path):
  template = '{% for m in messages %}{{ m.content }}{% endfor %}'
  tokens.toy_tokenizer(
    tmp_path, texts=['hello'] * 9, vocabulary=270, chat_template=template
  )
  loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert len(loaded('hello', add_special_tokens=False)['input_ids']) == 1
  chat = [{'role': 'user', 'content': 'hi'}]
  assert loaded.apply_chat_template(chat, tokenize=False) == 'hi'


@pytest.mark.parametrize('vocabulary', [100, 300])
def test_vocabulary_that_cannot_be_made_is_refused(tmp_path, vocabulary):
  with pytest.raises(ValueError, match=f'vocabulary={vocabulary} must be 259'):
    tokens.toy_tokenizer(tmp_path, vocabulary=vocabulary)
