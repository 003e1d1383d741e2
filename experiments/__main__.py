"""Reinforcement learning for language models, command by command.

python -m experiments                    lists them
python -m experiments train --dry_run    python -m experiments.train --dry_run
jaxrl-llm train --dry_run                the same, where this is installed
"""

from __future__ import annotations

import ast
import os
import pathlib
import re
import runpy
import sys
from collections.abc import Mapping, Sequence

import experiments
from jaxrl_llm import pipes, spelling

_FOLDER = pathlib.Path(__file__).parent
# A script of this package has its last lines so.
_SCRIPT = re.compile(r"^if __name__ == '__main__':", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command by its name; 2 with one line where there is none."""
  words = list(sys.argv[1:] if arguments is None else arguments)
  known = commands()
  if not words or words[0] in ('-h', '--help', 'help'):
    width = max(map(len, known))
    print(f'{__doc__}')
    for name, (_, says) in known.items():
      print(f'  {name:{width}}  {says}')
    print('\nNAME --help explains one; README.md begins with `train`.')
    return 0
  name = words[0].replace('-', '_')
  if name not in known:
    hint = spelling.suggestion(name, known)
    print(f'error: no command {words[0]!r}. {hint}', file=sys.stderr)
    return 2
  if sys.path[0] != os.getcwd():  # As `python -m` has it: for files of yours.
    sys.path.insert(0, os.getcwd())
  sys.argv = [f'{experiments.CALL}{name}', *words[1:]]
  runpy.run_module(known[name][0], run_name='__main__', alter_sys=True)
  return 0


def commands() -> Mapping[str, tuple[str, str]]:
  """Module and first sentence of each command, by its name."""
  found = {}
  for path in sorted(_FOLDER.glob('*.py')):
    text = path.read_text(encoding='utf-8')
    if path.stem != '__main__' and _SCRIPT.search(text):
      says = ast.get_docstring(ast.parse(text)) or ''
      found[path.stem] = f'experiments.{path.stem}', says.splitlines()[0]
  papers = 'The papers: list, search, describe, compare and compose recipes.'
  return found | {'recipes': ('jaxrl_llm.recipes', papers)}


if __name__ == '__main__':
  with pipes.unread():
    sys.exit(main())
