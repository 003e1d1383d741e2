"""The toy tokenizer as a folder."""

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.tasks import tokens


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
