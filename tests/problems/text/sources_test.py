"""The tokenizer of a model folder, and what ends a response there."""

import json

import pytest

from jaxrl_llm.problems.text import sources
from tests.training import folders


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return folders.tokenizer_in(tmp_path_factory.mktemp('tokenizer'))


def ends(tokenizer, folder, vocab=300, **files):
  for name, content in files.items():
    (folder / f'{name}.json').write_text(json.dumps(content))
  return sources.end_tokens(tokenizer, folder, vocab)


# Of some families transformers makes an empty tokenizer where there is none.
@pytest.mark.parametrize('family', ['llama', 'qwen3', 'gemma3_text'])
def test_a_folder_without_a_tokenizer_says_what_to_copy(tmp_path, family):
  (tmp_path / 'config.json').write_text(json.dumps({'model_type': family}))
  with pytest.raises(ValueError) as refused:
    sources.tokenizer_of(tmp_path)
  assert str(tmp_path) in str(refused.value)
  assert 'copy tokenizer.json' in str(refused.value).lower()


@pytest.mark.parametrize('content', ['{"a":', '{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_named(tmp_path, content):
  folders.tokenizer_in(tmp_path)
  (tmp_path / 'tokenizer.json').write_text(content)
  with pytest.raises(ValueError, match=f'the tokenizer of {tmp_path}: '):
    sources.tokenizer_of(tmp_path)


@pytest.mark.parametrize(
  ('files', 'more'),
  [
    ({}, ()),
    ({'generation_config': {'eos_token_id': [2, 7]}}, (7,)),
    ({'generation_config': {'eos_token_id': 0}}, (0,)),
    ({'config': {'eos_token_id': 9}}, (9,)),
    ({'config': {'eos_token_id': [9, 0]}}, (0, 9)),
    ({'config': {'eos_token_id': None}}, ()),
    ({'generation_config': {'temperature': 1}, 'config': {'eos_token_id': 9}},
     (9,)),
    ({'generation_config': {'eos_token_id': 2}, 'config': {'eos_token_id': 9}},
     (9,)),
  ],
)  # fmt: skip
def test_every_end_that_a_file_names_counts(tokenizer, tmp_path, files, more):
  expected = tuple(sorted({tokenizer.eos_token_id, *more}))
  assert ends(tokenizer, tmp_path, **files) == expected


@pytest.mark.parametrize('name', ['config', 'generation_config'])
@pytest.mark.parametrize('value', [300, -1, 'eos', [7, True], 1.5])
def test_an_end_that_cannot_be_is_refused(tokenizer, tmp_path, name, value):
  with pytest.raises(ValueError, match=rf'{name}\.json .*eos_token_id'):
    ends(tokenizer, tmp_path, **{name: {'eos_token_id': value}})


def test_the_tokenizers_own_end_past_the_vocabulary_is_refused(
  tokenizer, tmp_path
):
  with pytest.raises(ValueError, match='eos_token .*2.* vocabulary of 2'):
    ends(tokenizer, tmp_path, vocab=2)


def test_a_file_that_is_no_object_is_named(tokenizer, tmp_path):
  (tmp_path / 'generation_config.json').write_text('[')
  with pytest.raises(ValueError, match='generation_config.json .*no JSON'):
    sources.end_tokens(tokenizer, tmp_path, 300)
