"""What a run is about: who asks, answers and judges.

`config.problem` names one of them. Each is a module with

    check(config), which refuses settings that mean nothing
    assemble(config, workdir, abstract=False) -> session, parameters
    recipe_of(config) -> the recipe with its hyper-parameters
    fingerprints(config) -> {path: hash} of the files that the run reads
"""

from __future__ import annotations

import importlib
import pathlib
from types import ModuleType

from ml_collections import ConfigDict

from jaxrl_llm.recipe import Recipe
from jaxrl_llm.spelling import suggestion

NAMES = {
  'text': 'jaxrl_llm.problems.text.assembly',
  'control': 'jaxrl_llm.problems.control',
  'flow': 'jaxrl_llm.problems.flow',
  'masked': 'jaxrl_llm.problems.masked',
}


def module_of(config: ConfigDict) -> ModuleType:
  """The module of the problem that the settings name.

  Raises:
    ValueError: an unknown one.
  """
  name = config.problem
  if name not in NAMES:
    raise ValueError(f'unknown problem {name!r}. {suggestion(name, NAMES)}')
  return importlib.import_module(NAMES[name])


def check(config: ConfigDict) -> None:
  """Refuses settings of the problem that mean nothing whatever the others are.

  Raises:
    ValueError: naming the setting, its value and what it may be.
  """
  module_of(config).check(config)


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """Builds and checks everything a run needs.

  Args:
    config: as `experiments.configs.base` makes it.
    workdir: where what is made on the way is kept.
    abstract: parameters are shapes only.

  Returns:
    The session and its trainable parameters.

  Raises:
    ValueError, KeyError, FileNotFoundError: a setting that cannot be used;
      the message names it, its value and the remedy.
  """
  return module_of(config).assemble(config, workdir, abstract=abstract)


def recipe_of(config: ConfigDict) -> Recipe:
  """The recipe that the settings name, with its hyper-parameters."""
  return module_of(config).recipe_of(config)


def fingerprints(config: ConfigDict) -> dict[str, str]:
  """The fingerprint of every file that the run reads, by its path."""
  return module_of(config).fingerprints(config)
