"""Evaluation sets by name, and an evaluation that is not the training's."""

import dataclasses

import numpy as np
import pytest

from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text import examinations, questions
from jaxrl_llm.tasks import data, tokens
from jaxrl_llm.training.session import spread
from tests.end_to_end import tiny


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return tokens.toy_tokenizer(tmp_path_factory.mktemp('tokenizer'))


@pytest.fixture
def loaded(tokenizer):
  """Loads sets beside training questions about words of two symbols."""
  config = tiny.get_config()
  config.data.path = 'sort:length=2:rows=30'
  train, _ = data.load(config.data, seed=0)
  asked = questions.encode(train, config, tokenizer)

  def load(*sets):
    return asked, examinations.load(sets, config, tokenizer, asked)

  return load


@pytest.mark.parametrize(
  ('text', 'name'),
  [
    ('math=a.jsonl:prompt=q', ('math', 'a.jsonl:prompt=q')),
    ('data/test.jsonl:prompt=q', ('test', 'data/test.jsonl:prompt=q')),
    ('o/gsm8k:split=test', ('gsm8k', 'o/gsm8k:split=test')),
    ('reasoning_gym:x:a=1', ('reasoning_gym_x', 'reasoning_gym:x:a=1')),
    ('one=a.csv,b.csv', ('one', 'a.csv,b.csv')),
  ],
)
def test_a_set_has_a_name_or_that_of_its_source(text, name):
  assert examinations.named(text) == name


def test_a_set_asks_all_of_its_questions_and_says_which_are_trained_on(
  loaded, tmp_path, caplog
):
  train, _ = loaded()
  file = tmp_path / 'own.csv'
  file.write_text(f'prompt,answer\n{train.rows[0]["prompt"]},a\nsort z=,z\n')
  with caplog.at_level('WARNING', logger='absl'):
    _, sets = loaded(f'{file}', 'far=sort:length=4:rows=3')
  sizes = {name: len(part) for name, part in sets.items()}
  assert sizes == {'own': 2, 'far': 3}
  assert caplog.messages == [
    '1 of 2 questions of the evaluation set own are trained on, too'
  ]


@pytest.mark.parametrize(
  ('sets', 'words'),
  [
    (('a=sort', 'a=line'), 'a is given twice; rename it'),
    (('rating=sort',), 'rating is the name of a metric'),
    (('a=none.jsonl',), 'there is no file none.jsonl'),
    (('a=srot',), "did you mean 'sort'"),
    (('a=sort:level=9',), 'sort has no level 9'),
    (('a=sort:weight=2',), 'sort:weight=2 would do nothing'),
  ],
)
def test_a_set_that_cannot_be_asked_is_refused(loaded, sets, words):
  with pytest.raises(ValueError, match=words):
    loaded(*sets)


@dataclasses.dataclass(frozen=True)
class Sampler:
  max_tokens: int


@dataclasses.dataclass(frozen=True)
class Answering:
  sampler: Sampler
  sampling: Sampling
  batch: int


def test_evaluation_samples_as_it_is_told_to():
  sampling = Sampling(temperature=1.0, top_k=3, top_p=0.9, min_p=0.0)
  usual = Answering(Sampler(6), sampling.checked(), 4)
  settings = tiny.get_config().eval
  same = examinations.answering(usual, settings)
  assert (same.batch, same.sampler) == (4, Sampler(6))
  assert float(same.sampling.temperature) == 1
  settings.prompts, settings.max_response = 32, 9
  settings.temperature, settings.top_p = 0.5, 1.0
  other = examinations.answering(usual, settings)
  assert (other.batch, other.sampler) == (32, Sampler(9))
  assert float(other.sampling.temperature) == 0.5
  assert (int(other.sampling.top_k), float(other.sampling.top_p)) == (3, 1)


@pytest.mark.parametrize(
  ('group', 'count', 'rows'),
  [
    ([0, 0, 1, 1, 2, 2], 2, [0, 1]),
    ([0, 0, 0, 1, 1, 1], 4, [0, 1, 3, 4]),
    ([0, 0, 1, 1, 2, 2], 4, [0, 1, 2, 3]),
    ([0, 0, 0], 9, [0, 1, 2]),
    ([5, 3, 5, 3], 2, [1, 3]),
    ([0, 1], 0, []),
  ],
)
def test_rows_that_are_shown_are_pairs_of_several_groups(group, count, rows):
  assert spread(np.array(group), count).tolist() == rows
