"""No recipe keeps the log-probs of all tokens over the vocabulary."""

import pytest

from experiments.benchmarks import vocabulary
from jaxrl_llm import reads, recipes
from tests import thinned

FIRST = [names[0] for names in vocabulary.sets().values()]


@pytest.mark.parametrize('name', recipes.names())
def test_no_recipe_reads_an_array_over_the_vocabulary(name):
  needs = recipes.build(name).needs
  assert not [need for need in needs if 'V' in reads.find(need).axes]


@pytest.mark.parametrize('name', thinned.every(18, FIRST))
def test_programs_are_small_beside_all_log_probs(name):
  """A chunk is 1 / 32 of all, and the learner holds a few of them."""
  found = vocabulary.measured(name)
  rows = found.pop('rows')
  assert found.keys() <= {'passes', 'learner'} and 'learner' in found
  most = vocabulary.whole(rows) / 4
  assert all(bytes < most for bytes in found.values()), found


@pytest.mark.slow
def test_a_program_that_keeps_them_is_noticed(monkeypatch):
  monkeypatch.setattr(vocabulary, 'CHUNK', 0)
  found = vocabulary.measured('grpo')
  assert found['learner'] > vocabulary.whole(found['rows'])
