"""Pages of the site that the code tells: recipes, methods, modules, studies.

`write(folder)` puts Markdown beside the pages that people write, and Sphinx
reads both. Nothing is declared here a second time: sentences come from entries,
docstrings and tables of the repository, and `templates/` says in what order.
"""

from __future__ import annotations

import inspect
import itertools
import pathlib
from collections.abc import Iterator

import filling
import modules
import papers
import prose
import studies

from jaxrl_llm import reads, recipe, recipes
from jaxrl_llm.catalogue import descriptions, meanings, pieces
from jaxrl_llm.catalogue import papers as papers_lib

ROOT = filling.ROOT
# Folders of what is generated; nothing else is in them.
FOLDERS = ('api', 'families', 'methods', 'project', 'recipes', 'results')
SURE = {
  'VERIFIED': "read in the authors' published text or code",
  'VERIFIED-2': "read in a third party's text or code",
  'RECALLED': 'written from memory of the paper',
  'ABSTRACT': 'reconstructed from the abstract',
}
# Families that learn from records, or play; what the others do is sample.
CONFIGS = {
  'preference': 'preference',
  'unpaired_preference': 'preference',
  'listwise': 'preference',
  'reward_models': 'preference',
  'nash': 'nash',
  'self_play': 'nash',
}
LONGEST = 60  # lines of a function that is shown whole


def write(folder: pathlib.Path) -> int:
  """Writes every page below the folder; returns their number."""
  pages = dict(
    itertools.chain(
      _recipes(),
      _families(),
      _methods(),
      modules.pages(set(map(_family, _entries()))),
      _outside(),
    )
  )
  for room in FOLDERS:
    for path in (folder / room).glob('*.md'):
      if f'{room}/{path.stem}' not in pages:
        path.unlink()
  for name, text in pages.items():
    path = folder / f'{name}.md'
    path.parent.mkdir(exist_ok=True)
    # What is as it was is not read again.
    if not path.exists() or path.read_text(encoding='utf-8') != text:
      path.write_text(text, encoding='utf-8')
  return len(pages)


def _outside() -> Iterator[tuple[str, str]]:
  for path, page in prose.outside().items():
    if not page.endswith('index'):
      text = (ROOT / path).read_text(encoding='utf-8')
      text = studies.page(text) if path == studies.TABLE else text
      yield page, prose.linked(text, str(pathlib.Path(path).parent))


def _entries():
  return map(recipes.get, recipes.names())


def _family(entry) -> str:
  return entry.factory.__module__.rpartition('.')[2]


def _recipes() -> Iterator[tuple[str, str]]:
  inside: dict[str, list[str]] = {name: [] for name in recipes.names()}
  for entry in _entries():
    for other in {limit.other for limit in entry.limits}:
      inside[other].append(entry.name)
  for entry in _entries():
    built, paper = entry.factory(), entry.paper
    base = recipes.build(entry.base) if entry.base else built
    limits = [(x.other, papers_lib.limited(x)) for x in entry.limits]
    claims = studies.of_paper(paper.arxiv)
    about = map(pathlib.Path, papers_lib.studies().get(paper.arxiv, ()))
    figures = [claim.study for claim in claims] + [x.stem for x in about]
    yield (
      f'recipes/{entry.name}',
      filling.page(
        'recipe.jinja',
        entry=entry,
        about=descriptions.about(entry),
        family=_family(entry),
        config=config_of(entry),
        needs={name: reads.find(name).says for name in sorted(built.needs)},
        said=meanings.meanings(entry),
        slots={
          name: meanings.changed(entry, name)[0] for name in entry.defaults
        },
        source=_source(entry.factory),
        formulas=list(_formulas(entry)),
        changes=recipe.diff(base, built),
        limits=[(other, x.removeprefix(other)) for other, x in limits],
        inside=inside[entry.name],
        sure=SURE[paper.confidence],
        claims=claims,
        figures=list(dict.fromkeys(figures)),
      ),
    )


def config_of(entry) -> str:
  """The file of experiments/configs that runs it on generated data."""
  if 'environment' in entry.factory().plan.contract.asks:
    return 'agent'
  return CONFIGS.get(_family(entry), 'default')


def _formulas(entry) -> Iterator[tuple[str, str, str, str, str]]:
  """Joint, name, docstring, code and place of what its base has not."""
  own = recipe.functions(entry.factory())
  base = recipe.functions(recipes.build(entry.base)) if entry.base else {}
  for joint, name in sorted(own.keys() - base.keys()):
    function = own[joint, name]
    if function is not None:
      source = '' if isinstance(function, type) else _source(function)
      where = f'{function.__module__}.{function.__qualname__}'
      yield joint, name, inspect.getdoc(function) or '', source, where


def _source(function) -> str:
  """Its code, '' where that is too long to be read on the way."""
  code = filling.undocumented(inspect.getsource(function))
  return code if code.count('\n') < LONGEST else ''


def _families() -> Iterator[tuple[str, str]]:
  found: dict[str, list] = {}
  for entry in _entries():
    found.setdefault(_family(entry), []).append(entry)
  told = {
    f: filling.docstring(f'jaxrl_llm/recipes/{f}.py') for f in sorted(found)
  }
  for family, entries in found.items():
    yield (
      f'families/{family}',
      filling.page(
        'family.jinja', family=family, text=told[family], entries=entries
      ),
    )
  yield (
    'recipes/index',
    filling.page('recipes.jinja', families=found, told=told),
  )
  yield 'recipes/papers', papers.page()


def _methods() -> Iterator[tuple[str, str]]:
  for piece in pieces.pieces():
    page = filling.page('method.jinja', piece=piece, code=_shown(piece.name))
    yield f'methods/{piece.name}', page
  yield 'methods/index', filling.page('methods.jinja', pieces=pieces.pieces())


def _shown(name: str) -> str:
  """Code of a method that is no recipe, '' of a module."""
  code = filling.code(name)
  return filling.undocumented(code) if code else ''
