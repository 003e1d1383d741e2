"""The table of metrics against what the repository logs and says of it."""

import ast
import fnmatch
import pathlib
import re

import pytest

from jaxrl_llm.training import metrics

ROOT = pathlib.Path(__file__).parents[2]
# The first words of names: what looks like a metric in texts and strings.
WORDS = sorted({name.split('/')[0] for name in metrics.TABLE if '/' in name})
NAME = re.compile(rf'(?:{"|".join(WORDS)})/[a-z_@0-9*/]+')


def known(name):
  """Whether a name, or a pattern such as `eval/*`, is in the table."""
  if '*' in name:
    return bool(fnmatch.filter(metrics.TABLE, name))
  try:
    metrics.find(name)
  except KeyError:
    return False
  return True


def strings(path):
  """The constant strings of a module that are metrics' names."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      # A rate that the bar shows is none.
      if NAME.fullmatch(node.value) and node.value != 'tokens/s':
        yield node.value


def test_page_is_the_table():
  remedy = 'run `python -m jaxrl_llm.training.metrics`, commit docs/metrics.md'
  assert (ROOT / metrics.PAGE).read_text() == metrics.page(), remedy


def test_the_command_writes_the_page_here(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  metrics.main()
  assert (tmp_path / metrics.PAGE).read_text() == metrics.page()
  assert 'metrics.md' in capsys.readouterr().out


@pytest.mark.parametrize('folder', ['jaxrl_llm', 'experiments', 'tests'])
def test_every_metric_that_code_names_is_in_the_table(folder):
  here = pathlib.Path(__file__)
  paths = [p for p in (ROOT / folder).rglob('*.py') if p != here]
  found = {(p.name, name) for p in paths for name in strings(p)}
  assert found
  assert not {(where, name) for where, name in found if not known(name)}


def test_every_metric_that_texts_name_is_in_the_table():
  texts = [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')]
  quoted = re.findall(r'`([^`\s]+)`', '\n'.join(p.read_text() for p in texts))
  found = [name for name in quoted if NAME.fullmatch(name)]
  assert len(found) > 5
  assert [name for name in found if not known(name)] == []


def test_names_are_found_exactly_before_by_pattern():
  assert metrics.find('loss/policy') is metrics.TABLE['loss/policy']
  assert metrics.find('loss/kl') is metrics.TABLE['loss/COST']
  assert metrics.find('eval/pass@8/low') is metrics.TABLE['eval/pass@K/low']


def test_an_unknown_metric_is_refused_with_the_remedy():
  for name in ('losses', 'policy/loss', 'loss/kl/more', 'eval/pass'):
    with pytest.raises(KeyError, match='give it a row in'):
      metrics.find(name)


@pytest.mark.parametrize('name', metrics.TABLE)
def test_every_row_is_one_sentence_with_an_equation_and_a_unit(name):
  metric = metrics.TABLE[name]
  assert metric.equation and metric.unit and metric.low < metric.high
  assert metric.says.endswith('.') and '\n' not in metric.says
