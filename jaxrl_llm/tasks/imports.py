"""What a user names by its import path, `package.module:name`."""

from __future__ import annotations

import importlib
from typing import Any

from jaxrl_llm import spelling


def imported(whose: str, path: str) -> Any:
  """The function or class at `package.module:name`.

  Args:
    whose: who asks, for messages.

  Raises:
    ValueError: it is no such path, or there is nothing at it, with the remedy.
  """
  module_name, _, name = path.partition(':')
  if not (module_name and name):
    raise ValueError(f'{whose}: give an import path, as in package.module:name')
  if module_name == '__main__':
    raise ValueError(
      f'{whose}: other processes cannot import __main__; move {name} into a '
      'module of its own'
    )
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    # Only the module that was asked for is the caller's mistake to explain;
    # a missing import inside it is told by its own words.
    if not f'{module_name}.'.startswith(f'{error.name}.'):
      raise
    raise ValueError(
      f'{whose}: there is no module {error.name!r} on the path; run from the '
      f'folder that holds {error.name}.py, or install it'
    ) from error
  found = getattr(module, name, None)
  if not callable(found):
    known = [n for n, x in vars(module).items() if callable(x) and n[:1] != '_']
    near = spelling.nearest(name, known)
    raise ValueError(
      f'{whose}: {module_name} has no function or class {name!r}'
      + (f'. Did you mean {near!r}?' if near else '')
    )
  return found
