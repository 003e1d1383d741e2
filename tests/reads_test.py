"""The table of what can be read against what the repository reads."""

import ast
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import objectives, reads, recipes, selection
from jaxrl_llm.types import Batch, Stats

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def table(monkeypatch):
  """A table that a test may add to."""
  monkeypatch.setattr(reads, '_TABLE', dict(reads._TABLE))


def test_page_is_the_table():
  remedy = 'run `python -m jaxrl_llm.reads`, commit docs/reads.md'
  assert (ROOT / reads.PAGE).read_text() == reads.page(), remedy


def test_the_command_writes_the_page_here(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  reads.main()
  assert (tmp_path / reads.PAGE).read_text() == reads.page()
  assert 'reads.md' in capsys.readouterr().out


@pytest.mark.parametrize('name', reads.names())
def test_every_row_is_one_sentence_and_an_example_has_its_shape(name):
  read = reads.find(name)
  assert read.says.endswith('.') and '\n' not in read.says
  if read.by != 'plan':
    return
  content = types.SimpleNamespace(
    response=np.zeros((8, 5)), prompt=np.zeros((8, 3))
  )
  group = np.repeat(np.arange(2), 4)
  rollouts = types.SimpleNamespace(content=content, group=group)
  found = read.example(np.random.default_rng(0), rollouts)
  sizes = {'N': 8, 'T': 5, 'P': 3}
  for size, axis in zip(found.shape, read.axes, strict=True):
    assert size == sizes.get(axis, size)
  kind = {'f32': 'float32', 'i32': 'int32', 'bool': 'bool'}
  assert found.dtype == kind[read.shape.partition('[')[0]]


def test_what_stands_in_an_array_is_found_by_its_name():
  statistics = {field.name for field in dataclasses.fields(Stats)}
  of_batch = {field.name for field in dataclasses.fields(Batch)}
  for name in reads.names():
    read = reads.find(name)
    if read.by == 'policy':
      assert name in statistics
    if read.by == 'batch':
      assert name in of_batch
    if read.when == 'old':
      assert name.removeprefix('old_') in statistics


def test_every_plan_of_a_recipe_declares_what_it_provides():
  provided = set()
  for name in recipes.names():
    provided |= recipes.build(name).plan.contract.provides
  assert len(provided) > 20
  for name in provided:
    reads.find(name)


def test_an_unknown_name_is_refused_with_how_to_declare_it():
  with pytest.raises(ValueError, match="did you mean 'entropy'"):
    reads.reads('entropies')
  with pytest.raises(ValueError, match=r"reads.declare\('hint'"):
    reads.reads('hint')


def test_what_a_plan_provides_is_declared_once(table):
  reads.declare('hint', 'bool[N, T]', 'Tokens of a hint.')
  reads.declare('hint', 'bool[N, T]', 'Tokens of a hint.')
  assert reads.find('hint').axes == ('N', 'T')
  with pytest.raises(ValueError, match='declared already, as bool'):
    reads.declare('hint', 'f32[N]', 'How good a hint is.')
  with pytest.raises(ValueError, match='declared already, as f32'):
    reads.declare('rewards', 'f32[N]', 'What a row earns.')


@pytest.mark.parametrize('shape', ['f32', 'f32[T]', 'N'])
def test_a_shape_that_does_not_begin_with_rows_is_refused(table, shape):
  with pytest.raises(ValueError, match='does not begin with the rows'):
    reads.declare('hint', shape, 'What it is.')


def test_statistics_are_told_apart_by_when_they_are_read():
  wanted = {'values', 'old_entropy', 'old_logp', 'ref_logp', 'answer'}
  assert reads.statistics(wanted) == {'values', 'entropy'}
  assert reads.statistics(wanted, 'now') == {'values'}
  assert reads.statistics(wanted, 'old') == {'entropy'}


def test_a_demand_on_the_rows_comes_with_no_array():
  @reads.reads('own_samples', 'keep')
  def part(**arrays):
    return arrays

  arrays = {'keep': jnp.ones(2), 'valid': jnp.ones(2, bool)}
  assert reads.chosen(part, arrays).keys() == {'keep'}


@pytest.mark.parametrize('package', [objectives, selection])
def test_what_a_part_of_an_objective_reads_are_its_keywords(package):
  found = 0
  for module in pkgutil.iter_modules(package.__path__):
    module = importlib.import_module(f'{package.__name__}.{module.name}')
    for part in filter(inspect.isfunction, vars(module).values()):
      taken = inspect.signature(part).parameters
      # A stage finds it in the rollouts; keywords that are handed on are free.
      free = any(p.kind is p.VAR_KEYWORD for p in taken.values())
      if free or 'rollouts' in taken:
        continue
      read = {n for n in reads.reads_of(part) if reads.find(n).shape}
      assert read <= taken.keys(), part
      found += bool(read)
  assert found > 2


def key_of(node):
  """A name that is written out, or the constant that holds a digest."""
  if isinstance(node, ast.Constant):
    return node.value
  return node.id if isinstance(node, ast.Name) and node.id.isupper() else ''


def extras_of(node):
  """The keys by which some code reads `extras`, where it writes them out."""
  for each in ast.walk(node):
    if isinstance(each, ast.Subscript) and key_of(each.slice):
      if ast.unparse(each.value).split('.')[-1] == 'extras':
        yield key_of(each.slice)


def marks_of(node):
  for mark in getattr(node, 'decorator_list', ()):
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == 'reads':
      yield from map(key_of, mark.args)


@pytest.mark.parametrize('folder', ['advantages', 'rewards', 'selection'])
def test_what_a_stage_finds_in_the_extras_it_says(folder):
  found = set()
  for path in (ROOT / 'jaxrl_llm' / folder).glob('*.py'):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for name in extras_of(tree):
      assert name.isupper() or reads.find(name)
    for node in tree.body:
      if marks := set(marks_of(node)):
        assert set(extras_of(node)) <= marks, (path.name, node.name)
        found |= marks
  assert len(found) > 3
