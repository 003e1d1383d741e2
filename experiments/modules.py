"""Files of Python that are the user's own, beside the package and libraries."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import site
import sys
import sysconfig

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
  as verifiers and environments. What a function imports when it is called is
  seen where something has called it before.

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
  # The package's own are those of a commit, which changes without changing a
  # run; a config file is read by this one alone.
  files[f'config {os.path.basename(path)}'] = config_file
  return {name: fingerprint(pathlib.Path(file)) for name, file in files.items()}


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
