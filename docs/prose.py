"""Docstrings and pages of the repository as Markdown of the site.

Docstrings of the house are paragraphs, formulas indented by four or more, and
sections such as `Args:`. Links of pages lead to files of the repository, and
are led to the pages of the site that those have; a name in `code` that has a
page becomes a link.
"""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import re
from collections.abc import Iterator

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import meanings, pieces

ROOT = pathlib.Path(__file__).parents[1]
STUDIES = 'recipes/studies'
# Fenced code, links and pictures, code in a line; the rest is left alone.
_SPANS = re.compile(
  r'(?P<fence>^(?P<mark>`{3,})[^\n]*\n.*?^(?P=mark)`*$)'
  r'|(?P<heading>^#[^\n]*$)'
  r'|(?P<link>(?P<picture>!?)\[(?P<text>(?:[^\]\[]|\[[^\]]*\])*)\]'
  r'\((?P<target>[^)\s]+)\))'
  r'|(?P<code>(?<![`}])`(?P<name>[^`\n]+)`(?!`))',
  re.MULTILINE | re.DOTALL,
)
_SECTION = re.compile(r'(Args|Attributes|Returns|Raises|Yields|Example):\s*$')
_ARXIV = re.compile(r'\barXiv (\d{4}\.\d{4,5})')


@functools.cache
def outside() -> dict[str, str]:
  """Pages of the repository that are not in docs/ -> their names on the site.

  Links to README.md and PAPERS.md lead to what the site has in their place.
  """
  results = ROOT / 'experiments' / 'results'
  return {
    **{
      f'experiments/results/{path.name}': f'results/{path.stem}'
      for path in sorted(results.glob('*.md'))
    },
    'experiments/results/README.md': STUDIES,
    'CHANGELOG.md': 'project/changelog',
    'CONTRIBUTING.md': 'project/contributing',
    'README.md': 'index',
    'PAPERS.md': 'recipes/index',
  }


@functools.cache
def _pages() -> dict[str, str]:
  """What stands in code, and where it leads."""
  found = {piece.name: f'/methods/{piece.name}.md' for piece in pieces.pieces()}
  found |= {name: f'/recipes/{name}.md' for name in recipes.names()}
  for path in (ROOT / 'experiments' / 'ablations').glob('*.py'):
    if (ROOT / 'experiments' / 'results' / f'{path.stem}.jsonl').exists():
      found[path.name] = f'/{STUDIES}.md#{path.stem}'
  return found


def linked(text: str, folder: str) -> str:
  """A page with its links led to pages of the site.

  Args:
    folder: where the page is in the repository, from which its links start.
  """

  def replaced(span: re.Match) -> str:
    if span['code']:
      page = _pages().get(span['name'])
      return f'[{span["code"]}]({page})' if page else span['code']
    if span['link'] and not re.match(r'https?:|/|#|mailto:', span['target']):
      return _led(span, folder)
    return span[0]

  return _SPANS.sub(replaced, text)


def _led(span: re.Match, folder: str) -> str:
  path, _, place = span['target'].partition('#')
  inside = os.path.normpath(os.path.join(folder, path))
  if span['picture']:
    return f'![{span["text"]}](/{os.path.relpath(inside, "docs")})'
  page = outside().get(inside)
  if not page and re.fullmatch(r'docs/[\w/]+\.md', inside):
    page = inside.removeprefix('docs/').removesuffix('.md')
  if page:
    return f'[{span["text"]}](/{page}.md{f"#{place}" if place else ""})'
  # Files that are no pages are named, and found in the repository.
  return f'{span["text"]} (`{inside}`)'


def safe(text: str) -> str:
  """A line as it is in Markdown, but for `code` and numbers of papers."""
  pieces_of = re.split(r'(`[^`]+`)', text)
  for i in range(0, len(pieces_of), 2):
    plain = re.sub(r'([\\*_<>\[\]|#$~])', r'\\\1', pieces_of[i])
    pieces_of[i] = _ARXIV.sub(r'[arXiv \1](https://arxiv.org/abs/\1)', plain)
  return re.sub(r'^(\d*)([-+=.)] )', r'\1\\\2', ''.join(pieces_of))


def markdown(docstring: str) -> str:
  """A docstring as Markdown: formulas and examples in fences."""
  blocks = re.split(r'\n[ ]*\n', inspect.cleandoc(docstring))
  return '\n\n'.join(text for block in blocks for text in _block(block))


def _block(block: str) -> Iterator[str]:
  head, _, body = block.partition('\n')
  section = _SECTION.match(head)
  if section and section[1] == 'Example':
    yield _fence('pycon', inspect.cleandoc(f'\n{body}'))
  elif section:
    yield f'**{section[1]}**'
    found = meanings.items(body) if section[1] != 'Returns' else []
    lines = (f'- **{safe(name)}**: {safe(text)}' for name, text in found)
    yield '\n'.join(lines) if found else safe(' '.join(body.split()))
  elif block.lstrip().startswith('>>>'):
    yield _fence('pycon', inspect.cleandoc(f'\n{block}'))
  else:
    for formula, lines in _runs(block):
      text = '\n'.join(lines)
      if formula:
        yield _fence('text', inspect.cleandoc(f'\n{text}'))
      else:
        line = safe(' '.join(text.split()))
        yield re.sub('^(Deviates|Source):', r'**\1**:', line)


def _runs(block: str) -> Iterator[tuple[bool, list[str]]]:
  """Lines of one kind: indented by four or more, or not."""
  kind, lines = False, []
  for line in block.split('\n'):
    formula = line.startswith('    ')
    if lines and formula != kind:
      yield kind, lines
      lines = []
    kind = formula
    lines.append(line)
  yield kind, lines


def _fence(language: str, text: str) -> str:
  return f'```{language}\n{text}\n```'
