"""The commands by name: `jaxrl-llm NAME`, or `python -m jaxrl_llm NAME`.

They are a package of their own, `experiments`, which a clone has beside this
one. In a wheel it is below, in `commands`, since its name is one that others
use; it is a package on the path in these processes alone, and in those that
they start.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import sys

from jaxrl_llm import pipes

# What a user types, see [project.scripts] of pyproject.toml.
NAME = 'jaxrl-llm'


def main() -> int:
  """Runs a command by its name; without one lists them."""
  place = str(folder())
  # First, whatever is called so where it is run; its commands look there, too.
  sys.path.insert(0, place)
  inherited = os.environ.get('PYTHONPATH')
  os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, (place, inherited)))
  vars(importlib.import_module('experiments'))['CALL'] = f'{NAME} '
  with pipes.unread():
    return importlib.import_module('experiments.__main__').main()


def folder() -> pathlib.Path:
  """Where the package `experiments` is."""
  package = pathlib.Path(__file__).resolve().parent
  installed = package / 'commands'
  return installed if installed.is_dir() else package.parent


if __name__ == '__main__':
  sys.exit(main())
