"""Tutorials as notebooks, of the pages that people write.

Words and commands become cells of text, Python becomes cells of code. A snippet
whose first line names a file is written there and run, as the page means it.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
FOLDER = 'notebooks'
# Pages that are read from top to bottom, with code that goes on.
PAGES = ('agents', *sorted(path.stem for path in HERE.glob('adding_*.md')))
_PYTHON = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_FILE = re.compile(r'# (\w+\.py)\n')
_FIRST = (
  'This is a page of the documentation. It runs in a clone of the repository, '
  'or where `pip install` has put the package.'
)


def cells(page: str) -> Iterator[tuple[str, str]]:
  """'markdown' or 'code', and what stands in the cell."""
  yield 'markdown', _FIRST
  for place, part in enumerate(_PYTHON.split(page)):
    text = part.strip('\n')
    if place % 2 == 0:
      if text:
        yield 'markdown', text
    elif file := _FILE.match(part):
      yield 'code', f'%%writefile {file[1]}\n{text}'
      yield 'code', f'%run {file[1]}'
    else:
      yield 'code', text


def notebook(page: str) -> dict[str, Any]:
  """The page in Jupyter's format, version 4.5."""
  found = []
  for number, (kind, text) in enumerate(cells(page)):
    cell = {
      'id': f'cell-{number}',
      'cell_type': kind,
      'metadata': {},
      'source': text.splitlines(keepends=True),
    }
    code = {'execution_count': None, 'outputs': []} if kind == 'code' else {}
    found.append(cell | code)
  python = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
  return {
    'nbformat': 4,
    'nbformat_minor': 5,
    'metadata': {'kernelspec': python},
    'cells': found,
  }


def write(folder: pathlib.Path) -> None:
  """Writes all of them below the folder of the site's sources."""
  (folder / FOLDER).mkdir(exist_ok=True)
  for name in PAGES:
    text = (HERE / f'{name}.md').read_text(encoding='utf-8')
    path = folder / FOLDER / f'{name}.ipynb'
    path.write_text(json.dumps(notebook(text), indent=1), encoding='utf-8')


def offered(page: str, name: str) -> str:
  """A page with the link to its notebook below its title."""
  if name not in PAGES:
    return page
  title, _, rest = page.partition('\n')
  link = f'{{download}}`As a notebook </{FOLDER}/{name}.ipynb>`'
  return f'{title}\n\n{link}\n{rest}'
