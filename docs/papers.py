"""Every paper on one line: what it takes, what proves it, and what came out."""

from __future__ import annotations

import ast
import inspect
import re
import statistics
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import filling
import studies

from jaxrl_llm import recipe, recipes, registry
from jaxrl_llm.catalogue import pieces

_SOURCE = re.compile(r'(.*?),? ?arXiv (\d{4}\.\d{4,5})')


class Line(NamedTuple):
  """A paper.

  Attributes:
    names: of its recipes, and of its methods that are none.
    lines: of code, of all of them.
    limits: special cases, or why there are none.
    claims: those of its studies.
  """

  title: str
  arxiv: str
  names: list[str]
  lines: int
  limits: list[str]
  claims: list[studies.Claim]

  @property
  def told(self) -> list[tuple[str, str]]:
    """(badge, study), each once."""
    return list(dict.fromkeys((c.badge, c.study) for c in self.claims))


def page() -> str:
  """The page of all papers."""
  found = lines()
  return filling.page(
    'papers.jinja',
    lines=found,
    median=statistics.median_low(line.lines for line in found),
    tried=sum(bool(line.claims) for line in found),
  )


def lines() -> list[Line]:
  """Those of all papers that have a number, by their titles."""
  papers: dict[str, tuple[str, list[str], list[str], dict[str, str]]] = {}
  for arxiv, title, name, limits, codes in (*_entries(), *_pieces()):
    paper = papers.setdefault(arxiv, (title, [], [], {}))
    paper[1].append(name)
    paper[2].extend(limits)
    paper[3].update(codes)
  found = [
    Line(
      title,
      arxiv,
      names,
      sum(map(size, codes.values())),
      list(dict.fromkeys(limits)),
      studies.of_paper(arxiv),
    )
    for arxiv, (title, names, limits, codes) in papers.items()
  ]
  return sorted(found, key=lambda line: line.title.casefold())


def _entries() -> Iterator[tuple[str, str, str, list[str], dict[str, str]]]:
  for entry in map(recipes.get, recipes.names()):
    if entry.paper.arxiv:
      limits = [f'`{limit.other}`' for limit in entry.limits]
      yield (
        entry.paper.arxiv,
        entry.paper.titles[0],
        entry.name,
        limits or [entry.unlimited],
        dict(_codes(entry)),
      )


def _codes(entry: registry.Entry) -> Iterator[tuple[str, str]]:
  """Code by its place: the entry, and what the one it is most like has not."""
  own = recipe.functions(entry.factory())
  base = recipe.functions(recipes.build(entry.base)) if entry.base else {}
  fresh = [own[key] for key in own.keys() - base.keys()]
  for each in (entry.factory, *fresh):
    if each is not None:
      code = textwrap.dedent(inspect.getsource(each))
      yield f'{each.__module__}.{each.__qualname__}', code


def _pieces() -> Iterator[tuple[str, str, str, list[str], dict[str, str]]]:
  for piece in pieces.pieces():
    if found := _SOURCE.match(piece.source):
      title = found[1] or piece.name
      yield found[2], title, piece.name, [], {piece.name: _text(piece.name)}


def _text(name: str) -> str:
  """Code of a function, a class or a whole module below the package."""
  path = filling.ROOT / 'jaxrl_llm' / f'{name.replace(".", "/")}.py'
  return filling.code(name) or path.read_text(encoding='utf-8')


def size(code: str) -> int:
  """Lines of code, without docstrings, comments and what is empty."""
  told = set()
  for node in ast.walk(ast.parse(code)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      first = node.body[0] if node.body else None
      if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        told |= {*range(first.lineno, (first.end_lineno or 0) + 1)}
  return sum(
    bool(line.strip()) and not line.lstrip().startswith('#') and at not in told
    for at, line in enumerate(code.split('\n'), 1)
  )
