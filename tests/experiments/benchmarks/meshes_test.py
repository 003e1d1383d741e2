import json

import pytest

from experiments import collectives
from experiments.benchmarks import equality, meshes


def _line(kind, mesh, **apart):
  zeros = dict.fromkeys(('tokens', 'logp', 'loss', 'gradient', 'step'), 0)
  return {
    'kind': kind,
    'mesh': mesh,
    'recipe': equality.KINDS[kind].name,
    'git_commit': 'abc',
    'apart': zeros | {'memory': 0} | apart,
    'parameters': 1000,
    'sample': {},
    'learn': {'all-gather': 1010, 'all-reduce': 1100, 'all-to-all': 7},
  }


@pytest.fixture
def page(tmp_path):
  lines = [
    _line('pair, no reference', [8, 1], loss=2e-7, step=3e-6, tokens=2),
    _line('pair, no reference', [4, 2], gradient=4e-5, logp=9.0),
  ]
  text = '\n'.join(map(json.dumps, lines))
  (tmp_path / 'meshes.jsonl').write_text(text)
  return meshes.draw(tmp_path).read_text()


def test_a_cell_shows_its_largest_relative_difference(page):
  assert '| pair, no reference | `simpo` | 3e-06 | 4e-05 |' in page
  assert '2 sampled tokens differ' in page
  assert 'by at most 9e+00 nats' in page.replace('\n', ' ')
  assert 'loss 2e-07, gradient 4e-05, step 3e-06, memory 0e+00' in page


def test_bytes_are_shown_by_collective_and_beside_their_count(page):
  row = '| 0 | 0 | 0 | 0 | 1,010 | 1,100 | 0 | 7 |'
  assert f'| pair, no reference | 4 x 2 {row}' in page
  assert '| pair, no reference | 1,000 | 1.010 | 1.100 |' in page


def test_collectives_in_loops_are_counted_apart():
  found = [
    collectives.Collective('all-reduce', ((2,),), 8, looped)
    for looped in (True, False, False)
  ]
  counted = meshes._sent(found)
  assert counted == {'a turn of loops': 8, 'all-reduce': 16}


def test_every_kind_is_a_recipe_of_its_own_or_a_model_of_its_own():
  kinds = equality.KINDS.values()
  assert len({(kind.name, kind.config, kind.rank) for kind in kinds}) == len(
    kinds
  )
