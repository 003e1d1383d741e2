"""Templates and sources of the generated pages."""

from __future__ import annotations

import ast
import functools
import pathlib

import jinja2
import prose

ROOT = prose.ROOT


def page(template: str, **values) -> str:
  """A page by its template, whose links lead to pages of the site."""
  return prose.linked(_templates().get_template(template).render(values), '')


@functools.cache
def _templates() -> jinja2.Environment:
  found = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / 'templates'),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
  )
  found.filters |= {
    'markdown': prose.markdown,
    'line': prose.safe,
    'title': _title,
    'arxiv': _arxiv,
  }
  return found


def _title(name: str) -> str:
  return name.replace('_', ' ').capitalize()


def _arxiv(number: str) -> str:
  return f'[arXiv {number}](https://arxiv.org/abs/{number})' if number else ''


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
  """The syntax of a file."""
  return ast.parse(path.read_text(encoding='utf-8'))


def docstring(path: str) -> str:
  """That of a module, by its path in the repository; '' without one."""
  return ast.get_docstring(tree(ROOT / path)) or ''


def code(name: str) -> str:
  """That of a function or class below the package, '' of a module."""
  module, _, last = name.rpartition('.')
  path = ROOT / 'jaxrl_llm' / f'{module.replace(".", "/")}.py'
  if not path.exists():
    return ''
  nodes = {getattr(n, 'name', ''): n for n in tree(path).body}
  text = path.read_text(encoding='utf-8')
  return ast.get_source_segment(text, nodes[last]) or ''


def undocumented(code: str) -> str:
  """Code of one definition without its docstring, which a page shows before."""
  first = ast.parse(code).body[0].body[0]
  lines = code.rstrip().split('\n')
  if isinstance(first, ast.Expr):
    del lines[first.lineno - 1 : first.end_lineno]
  return '\n'.join(lines)
