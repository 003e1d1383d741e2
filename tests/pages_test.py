"""Pages of the site, as the generator in docs/ writes them."""

import fnmatch
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import settings
from jaxrl_llm import recipes
from jaxrl_llm.catalogue import pieces

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / 'docs'


@pytest.fixture(scope='module')
def pages():
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(DOCS)
    yield importlib.import_module('pages')


@pytest.fixture(scope='module')
def site(pages, tmp_path_factory):
  """Name -> text of every page, with those that people write."""
  folder = tmp_path_factory.mktemp('site')
  old = folder / 'recipes' / 'of_an_earlier_commit.md'
  old.parent.mkdir()
  old.write_text('# No longer registered')
  count = pages.write(folder)
  found = {
    str(path.relative_to(folder).with_suffix('')): path.read_text()
    for path in folder.rglob('*.md')
  }
  assert len(found) == count
  written = {
    path.stem: pages.prose.linked(path.read_text(), 'docs')
    for path in DOCS.glob('*.md')
  }
  return found | written


def test_every_recipe_and_method_has_a_page(site):
  for name in recipes.names():
    assert '/families/' in site[f'recipes/{name}'], name
  for piece in pieces.pieces():
    head = f'A {piece.kind}, {{py:obj}}`jaxrl_llm.{piece.name}`.'
    assert head in site[f'methods/{piece.name}']


def test_every_paper_has_a_line_with_its_size_and_outcome(site, pages):
  lines = re.findall(r'^\|.*$', site['recipes/papers'], re.MULTILINE)
  for entry in map(recipes.get, recipes.names()):
    own = [x for x in lines if entry.paper.arxiv and entry.paper.arxiv in x]
    assert len(own) == bool(entry.paper.arxiv), entry.name
    assert not own or f'[`{entry.name}`]' in own[0]
  [line] = (x for x in lines if 'Thinkless' in x)
  assert '[held in part]{.verdict .partly} [thinkless\\_modes]' in line
  assert 'same, whatever they earned' in line
  code = '"""Told."""\n\n@register\ndef f(x):\n  """Of\n\n  x."""\n  # why\n'
  assert pages.papers.size(f'{code}  return """x"""\n') == 3
  assert pages.papers.size('class A:\n  """B."""\n  b: int = 1\n') == 2


def _without_code(text):
  text = re.sub(r'^(`{3,})[^{].*?^\1`*$', '', text, flags=re.M | re.S)
  return re.sub(r'(?<!`)`[^`\n]+`(?!`)', '', text)


def test_every_link_leads_to_a_page_and_a_place_of_it(site):
  count = 0
  for name, text in site.items():
    for mark, target in re.findall(
      r'(!?)\[[^\]]*\]\(([^)\s]+)\)', _without_code(text)
    ):
      if re.match('https?:', target):
        continue
      count += 1
      path, _, place = target.partition('#')
      if mark:
        assert (DOCS / path.lstrip('/')).resolve().exists(), (name, target)
        continue
      page = site[path.lstrip('/').removesuffix('.md') or name]
      assert not place or f'({place})=' in page or _headed(page, place), target
  assert count > 1000


def _headed(page, place):
  heads = re.findall(r'^#+ (.*)$', page, re.M)
  return place in [
    re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in heads
  ]


_OBJECT = re.compile(r'(`{3,})\{py:(module|function|class)\} ([\w.]+)')


def _objects(page):
  """Names of modules, functions, classes and methods that a page has."""
  module, within = '', []
  for ticks, kind, name in _OBJECT.findall(page):
    if kind == 'module':
      module, within = name, []
      yield module
      continue
    # What is inside has fewer ticks than what it is in.
    within = [(x, outer) for x, outer in within if len(x) > len(ticks)]
    within.append((ticks, name))
    yield '.'.join([module, *(outer for _, outer in within)])


def test_every_name_of_code_leads_to_where_it_is_described(site):
  known = {
    found
    for name, text in site.items()
    if name.startswith('api/')
    for found in _objects(text)
  }
  named = {
    (name, target)
    for name, text in site.items()
    for target in re.findall(r'\{py:obj\}`([\w.]+)`', text)
  }
  assert len(named) > 500
  assert not {(name, target) for name, target in named if target not in known}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
  pytest.importorskip('sphinx', reason='pip install -e .[docs]')
  words = ['-m', 'sphinx', '-W', '--keep-going', '-q', DOCS, tmp_path]
  done = subprocess.run(
    [sys.executable, *words], cwd=ROOT, capture_output=True, text=True
  )
  assert not done.returncode, done.stderr
  assert (tmp_path / 'recipes' / 'dapo.html').exists()


def test_every_page_is_in_one_list_of_contents_or_says_it_is_in_none(site):
  listed = []
  for name, text in site.items():
    folder = name.rpartition('/')[0]
    for block in re.findall(r'```\{toctree\}\n(.*?)```', text, re.DOTALL):
      for path in re.findall(r'^/?([\w./*]+)$', block, re.MULTILINE):
        within = fnmatch.filter(site, f'{folder}/{path}'.lstrip('/'))
        listed += within or fnmatch.filter(site, path)
  orphans = [n for n, text in site.items() if text.startswith('---\norphan')]
  assert sorted([*listed, *orphans, 'index']) == sorted(site)


def test_the_page_of_a_recipe_says_what_the_registry_does(site):
  text = site['recipes/dapo']
  assert '| clip\\_high | 0.28 | half-widths of the trust region' in text
  assert 'plan=refill.Refill(filters.mixed_groups' in text
  assert '{py:obj}`jaxrl_llm.objectives.aggregate.token_mean`' in text
  assert '| minibatches | 1 | 16 |' in text
  assert 'dapo_clip_higher.png' in text
  assert '[not shown]{.verdict .not-shown}' in text
  limits = site['recipes/gspo']
  assert '[`grpo`](/recipes/grpo.md)(kl\\_weight=0.0), on-policy' in limits


def test_docstrings_become_paragraphs_formulas_and_lists(pages):
  text = pages.prose.markdown("""The sum.

  Write r for the ratio:
      max(-r A, 0)

  Args:
    low, high: half-widths, >= 0. keep: weights_of
      *rows*, see `x_y`.

  Example:
    >>> 1 + 1
    2

  Source: arXiv 2402.03300, section 4.
  """)
  assert (
    text
    == r"""The sum.

Write r for the ratio:

```text
max(-r A, 0)
```

**Args**

- **low, high**: half-widths, \>= 0.
- **keep**: weights\_of \*rows\*, see `x_y`.

```pycon
>>> 1 + 1
2
```

**Source**: [arXiv 2402.03300](https://arxiv.org/abs/2402.03300), section 4."""
  )


@pytest.mark.parametrize(
  ('text', 'led'),
  [
    ('[a](design.md#b)', '[a](/design.md#b)'),
    ('[a](../PAPERS.md)', '[a](/recipes/index.md)'),
    (
      '![a](../experiments/results/x.png)',
      '![a](/../experiments/results/x.png)',
    ),
    ('[a](../jaxrl_llm/recipe.py)', 'a (`jaxrl_llm/recipe.py`)'),
    ('[a](https://b.c)', '[a](https://b.c)'),
    ('as `dapo` does', 'as [`dapo`](/recipes/dapo.md) does'),
    ('as `gdpo_groups.py` says', None),
    ('```\n`dapo` [a](b.md)\n```', '```\n`dapo` [a](b.md)\n```'),
    ('# Of `dapo`', '# Of `dapo`'),
  ],
)
def test_links_are_led_to_pages_of_the_site(pages, text, led):
  study = 'as [`gdpo_groups.py`](/recipes/studies.md#gdpo_groups) says'
  assert pages.prose.linked(text, 'docs') == (led or study)


def test_a_verdict_that_begins_with_no_verdict_is_refused(pages, monkeypatch):
  studies = pages.studies
  assert len(studies.claims()) > 50
  assert {c.verdict for c in studies.claims()} == set(studies.VERDICTS)
  monkeypatch.setattr(
    pathlib.Path, 'read_text', lambda *_, **__: '| a | b | maybe | `c.py` |'
  )
  with pytest.raises(ValueError, match="'maybe' .* yes, partly, not shown, no"):
    studies.claims.__wrapped__()


def test_the_config_that_a_page_names_takes_its_recipe(pages):
  for name in recipes.names():
    file = pages.config_of(recipes.get(name))
    config = importlib.import_module(f'experiments.configs.{file}')
    settings.check_values(config.get_config(name))


def test_recipes_that_the_guide_names_exist():
  table = re.findall(r'^\|.*$', (DOCS / 'choosing.md').read_text(), re.M)
  named = re.findall(r'`(\w+)`', '\n'.join(table))
  assert len(named) > 30
  assert set(named) <= set(recipes.names())
