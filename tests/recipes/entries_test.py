"""Every entry does what its paper says, as a whole.

An oracle (tests/oracles/entries) reads the paper once more, in plain loops:
from rollouts, scores and log-probs to advantages, token weights, loss and
slopes. The entry must agree, with its own hyper-parameters and with others,
and the oracle must notice when a part of the entry is taken out or replaced by
a neighbour.
"""

import ast
import pathlib

import numpy as np
import pytest

from jaxrl_llm import reads, recipes
from tests import thinned
from tests.oracles import parts
from tests.recipes import cases, comparison, neighbours
from tests.recipes.comparison import NAMES, numbers

each_entry = pytest.mark.parametrize('name', NAMES)


@pytest.mark.parametrize(
  ('name', 'number'), [(name, i) for name in NAMES for i in numbers(name)]
)
def test_entry_is_its_oracle(name, number):
  recipe, case = (
    comparison.recipe_of(name, number),
    comparison.case_of(name, number),
  )
  found = comparison.Found(recipe, case)
  wanted = comparison.expected(name, number)
  assert list(comparison.differences(wanted, found)) == []


@each_entry
def test_oracle_reads_every_number_of_the_entry(name):
  """In one of the cases, another value changes what the oracle says."""
  shown = comparison.shown
  keys = {key for key in recipes.get(name).defaults if shown(name, key)}
  read = {
    key
    for number in numbers(name)
    for key in keys
    if comparison.reads(name, number, key)
  }
  # What stands behind a stopped gradient may change no number but a slope.
  read |= {
    key
    for number in numbers(name)
    for key in keys - read
    if comparison.reads(name, number, key, by_slope=True)
  }
  assert keys - read == set()


@pytest.mark.parametrize('name', thinned.every(24, NAMES))
def test_oracle_notices_a_part_that_is_gone_or_another(name):
  """In one of the cases, but for neighbours that mean the same there."""
  noticed, unnoticed = set(), set()
  # The entry's own numbers come last: with others more parts differ.
  for number in sorted(numbers(name), key=lambda number: number == 0):
    recipe, case = (
      comparison.recipe_of(name, number),
      comparison.case_of(name, number),
    )
    wanted = comparison.expected(name, number)
    unchanged = comparison.Found(recipe, case)
    for variant in neighbours.variants(recipe):
      pair = variant.slot, variant.other
      if pair in noticed or not _can_run(variant.recipe, recipe, case):
        continue
      found = comparison.Found(variant.recipe, case, like=unchanged)
      kind = noticed if comparison.notices(wanted, found) else unnoticed
      kind.add(pair)
  assert unnoticed - noticed == parts.ENTRIES[name].same.keys()


def _can_run(variant, recipe, case):
  """Whether the case holds what the neighbour reads."""
  extras = reads.provided(variant.needs, 'plan')
  judged = case.preference is not None or _reads_preference(recipe)
  return extras <= recipe.needs and (judged or not _reads_preference(variant))


def _reads_preference(recipe):
  losses = getattr(recipe.objective, 'losses', None)
  return 'preference' in reads.reads_of(losses)


# What a hyper-parameter is called where it is handed on, if not by its name.
SLOTS = {
  'kl_weight': 'coefficient',
  'mixture': 'before',
  'questions': 'size',
  'remembered': 'most',
  'replayed': 'share',
  'sampler_minibatches': 'minibatches',
  'samples': 'episodes',
  'tempered': 'share',
  'wordings': 'groups',
}


@pytest.mark.parametrize('name', recipes.names())
def test_numbers_that_no_array_shows_are_handed_on_by_name(name):
  """Those of the plan, the curriculum and the update rule."""
  for key, value in recipes.get(name).defaults.items():
    if isinstance(value, str | tuple):
      continue
    other, slots = comparison.changed(name, key)
    assert slots, f'{key} changes nothing'
    if comparison.unseen(slots):
      found = {slot.split('.')[-1]: new for slot, (_, new) in slots.items()}
      assert repr(other) in (found.get(key), found.get(SLOTS.get(key))), key


def test_every_entry_has_an_oracle():
  assert recipes.names() == NAMES


@each_entry
def test_oracle_stands_in_the_file_of_its_entry(name):
  own = recipes.get(name).factory.__module__.rsplit('.', 1)[-1]
  assert parts.ENTRIES[name].fn.__module__ == f'tests.oracles.entries.{own}'


def test_oracles_import_nothing_of_the_package():
  folder = pathlib.Path(parts.__file__).parent
  for path in folder.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      names = [alias.name for alias in getattr(node, 'names', ())]
      names.append(getattr(node, 'module', None) or '')
      assert not any(name.startswith('jaxrl_llm') for name in names), path


@pytest.mark.parametrize('samples', [1, 2, 4, 5, 8])
def test_cases_hold_what_may_go_wrong(samples):
  case = cases.case_of(samples)
  everyone = [i for rows in case.groups for i in rows]
  level = parts.mean(case.rewards[i] for i in everyone)
  a = case.rewards - level
  if samples > 1:
    a = parts.centred(case, case.rewards)
    sizes = {len(rows) for rows in case.groups}
    assert len(sizes) > 1, 'a row of some group does not count'
    equal = [len({case.rewards[i] for i in rows}) for rows in case.groups]
    assert equal.count(1) > 1, 'some groups are uniform'
    if samples > 2:
      assert any(1 < n < samples for n in equal), 'rows of other groups tie'
  assert len(case.rows) < len(everyone), 'some rows have no token'
  assert np.any(case.mask != case.response_mask), 'a tool wrote some tokens'
  assert len({len(case.columns(i)) for i in case.rows}) > 2
  assert set(case.truncated[case.rows]) == {True, False}
  for sign in (1, -1):
    ratios = [
      parts.ratio(case, case.now, (i, t))
      for i, t in case.tokens
      if sign * a[i] > 1e-6
    ]
    for low, high in ((0, 0.2), (0.5, 0.8), (0.8, 1.2), (1.2, 2), (5, 99)):
      assert any(low < r < high for r in ratios), (sign, low, high)
