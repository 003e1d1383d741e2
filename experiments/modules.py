"""Files of Python that are the user's own, beside the package and libraries."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import pathlib
import site
import sys
import sysconfig
from collections.abc import Iterator

import jaxrl_llm

_PACKAGES = tuple(
  os.path.realpath(os.path.dirname(path))
  for path in (__file__, jaxrl_llm.__file__)
)
# Python's own modules, and what is installed.
_LIBRARIES = tuple(
  os.path.realpath(path)
  for path in {
    *(sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')),
    *site.getsitepackages(),
    site.getusersitepackages(),
  }
)


def is_ours(path: str) -> bool:
  """Whether a file belongs to this package."""
  return _within(path, _PACKAGES)


def is_users(path: str) -> bool:
  """Whether it is code of somebody else that is not installed."""
  return os.path.isfile(path) and not _within(path, _PACKAGES + _LIBRARIES)


def _within(path: str, folders: tuple[str, ...]) -> bool:
  path = os.path.realpath(path)
  return any(path.startswith(folder + os.sep) for folder in folders)


def fingerprints(config, path: str) -> dict[str, str]:
  """A hash of the config file, and of every module of the user's, by name.

  Modules count that are imported once those are that the settings name, such
  as verifiers and environments, and those that stand in import statements of
  any of these, in functions that nobody has called too, without importing them.
  What is imported by a name that is computed is seen only where it has been.

  Args:
    config: the settings. path: of the config file.
  """
  from jaxrl_llm.problems.text.inputs import fingerprint

  for spec in _named(config):
    # Assembling the run says what is wrong with them.
    with contextlib.suppress(Exception):
      importlib.import_module(spec)
  files = {
    name: file
    for name, module in list(sys.modules.items())
    if isinstance(file := getattr(module, '__file__', None), str)
    and file.endswith('.py')
    and name != '__main__'
    and is_users(file)
  }
  config_file = os.path.realpath(path)
  files = {
    f'module {name}': file
    for name, file in files.items()
    if os.path.realpath(file) != config_file
  }
  files = _with_what_they_import(files, config_file)
  # The package's own are those of a commit, which changes without changing a
  # run; a config file is read by this one alone.
  files[f'config {os.path.basename(path)}'] = config_file
  return {name: fingerprint(pathlib.Path(file)) for name, file in files.items()}


def _with_what_they_import(files: dict[str, str], config_file: str):
  """Also what the sources of modules, and of the config file, say to import."""
  found, waiting = dict(files), [('', config_file)]
  waiting += [(name.removeprefix('module '), f) for name, f in files.items()]
  while waiting:
    name, file = waiting.pop()
    for other in _imports(name, file):
      path = _file_of(other)
      new = f'module {other}' not in found and path != config_file
      if new and path.endswith('.py') and is_users(path):
        found[f'module {other}'] = path
        waiting.append((other, path))
  return found


def _imports(name: str, file: str) -> Iterator[str]:
  """Modules that the source of a module may import, and perhaps others' names.

  Args:
    name: of the module, '' without packages.
  """
  try:
    tree = ast.parse(pathlib.Path(file).read_bytes())
  except (OSError, SyntaxError, ValueError):
    return  # Whoever imports it says what is wrong.
  package = name.split('.')
  if os.path.basename(file) != '__init__.py':
    package = package[:-1]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield from _and_parents(alias.name)
    if isinstance(node, ast.ImportFrom):
      above = package[: len(package) - node.level + 1] if node.level else []
      base = '.'.join([*above, *([node.module] if node.module else [])])
      yield from _and_parents(base)
      yield from (f'{base}.{alias.name}'.lstrip('.') for alias in node.names)


def _and_parents(name: str) -> list[str]:
  parts = name.split('.')
  return ['.'.join(parts[: i + 1]) for i in range(len(parts)) if name]


def _file_of(name: str) -> str:
  """The source of a module on the path, found without importing any; or ''."""
  folders, file = [folder or os.curdir for folder in sys.path], ''
  for part in name.split('.'):
    places = [os.path.join(folder, part) for folder in folders]
    packages = [os.path.join(place, '__init__.py') for place in places]
    found = zip(places, packages, (f'{place}.py' for place in places))
    folders, file = [place for place in places if os.path.isdir(place)], ''
    for place, package, module in found:
      if os.path.isfile(package):
        folders, file = [place], package
        break
      if os.path.isfile(module):
        folders, file = [], module
        break
  return file


def _named(config) -> list[str]:
  """The modules of `package.module:attribute` in the settings."""
  from jaxrl_llm.tasks import verifiers

  verify = config.get('verify', {})
  specs = [
    *verify.get('names', ()),
    verify.get('preference', ''),
    config.get('environment', ''),
    config.get('program', ''),
  ]
  found = []
  for spec in specs:
    module, colon, attribute = (
      verifiers.without_label(spec).partition(':')
      if isinstance(spec, str)
      else ('', '', '')
    )
    dotted = all(map(str.isidentifier, module.split('.')))
    if colon and dotted and attribute.isidentifier():
      found.append(module)
  return found
