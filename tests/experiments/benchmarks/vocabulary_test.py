"""No recipe keeps the log-probs of all tokens over the vocabulary."""

import pathlib

import pytest

from experiments.benchmarks import vocabulary
from jaxrl_llm import reads, recipes
from tests import thinned

RESULTS = pathlib.Path(vocabulary.__file__).parents[1] / 'results'
KEPT = vocabulary.finished(RESULTS / 'vocabulary.jsonl')
# One for each set of what is read, all of which have programs of their own.
FIRST = {tuple(line['read']): name for name, line in KEPT.items()}.values()
AGAIN = 'run python -m experiments.benchmarks.vocabulary --recipe='


def is_small(found):
  """A chunk is 1 / 32 of all, and the learner holds a few of them."""
  most = vocabulary.whole(found['rows']) / 4
  return max(found.get('passes', 0), found['learner']) < most


@pytest.mark.parametrize('name', recipes.names())
def test_no_recipe_reads_an_array_over_the_vocabulary(name):
  needs = recipes.build(name).needs
  assert not [need for need in needs if 'V' in reads.find(need).axes]


@pytest.mark.parametrize('name', recipes.names())
def test_every_recipe_was_measured_and_is_small(name):
  assert name in KEPT, AGAIN + name
  assert KEPT[name]['read'] == vocabulary.read(recipes.build(name)), AGAIN
  assert is_small(KEPT[name])


def test_the_page_is_of_the_lines():
  text = (RESULTS / 'vocabulary.md').read_text()
  assert text == vocabulary.page([*KEPT.values()])


@pytest.mark.parametrize('name', thinned.every(18, FIRST))
def test_programs_are_small_beside_all_log_probs(name):
  found = vocabulary.measured(name)
  assert found.keys() <= {'rows', 'passes', 'learner'}
  assert is_small(found), found


@pytest.mark.slow
def test_a_model_of_several_labels_is_measured():
  assert is_small(vocabulary.measured('regression_reward_model'))


@pytest.mark.slow
def test_a_program_that_keeps_them_is_noticed(monkeypatch):
  monkeypatch.setattr(vocabulary, 'CHUNK', 0)
  found = vocabulary.measured('grpo')
  assert found['learner'] > vocabulary.whole(found['rows'])
