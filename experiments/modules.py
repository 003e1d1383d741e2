"""Files of Python that are the user's own, beside the package and libraries."""

from __future__ import annotations

import os
import site
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
