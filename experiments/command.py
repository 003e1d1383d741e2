"""What every command shares: flags that explain, errors in one line.

A mistake of the user's ends in one line that names the value and the remedy,
and a non-zero exit; `--debug` shows the traceback as well.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from flax import traverse_util
from ml_collections import config_flags

from experiments.configs import base

_DEBUG = flags.DEFINE_bool('debug', False, 'Show tracebacks of errors.')

# What a wrong setting, file or folder raises; anything else is a bug and
# keeps its traceback.
USER_ERRORS = (ValueError, KeyError, OSError, ImportError)


class Refused(ValueError):
  """A setting that cannot be used, with the remedy in the message."""


def run(main: Callable[[], int | None]) -> None:
  """Parses flags, runs `main`, and turns a user's mistake into one line."""
  # The verdict of flags comes before the imports of `main`, most of a second.
  app.run(lambda argv: _guarded(main), flags_parser=_parse)


def _guarded(main) -> int:
  try:
    return main() or 0
  except USER_ERRORS as error:
    if _DEBUG.value:
      raise
    _say(error)
    return 1


def tell(error: Exception) -> None:
  """A mistake of the user's in one line, a bug with its traceback."""
  if isinstance(error, USER_ERRORS) and not _DEBUG.value:
    _say(error)
  else:
    traceback.print_exception(error)


def config_flag(default: str) -> flags.FlagHolder:
  """The flag `--config=FILE.py[:ARGUMENT]`, with typed fields below it.

  The default is put on the command line, not in the flag: a default is
  applied, overrides and all, when the flag is defined, and a mistake in them
  would end in a traceback before `run` is called.
  """
  global _default_config
  _default_config = default
  return config_flags.DEFINE_config_file(
    'config',
    help_string=(
      f'FILE.py[:RECIPE], by default {os.path.relpath(default)}; every field '
      'is a flag, as in --config.optimizer.learning_rate=1e-4'
    ),
    allow_override=True,
  )


_default_config = ''


def results_flag() -> flags.FlagHolder[str]:
  """The flag `--results=FOLDER`, for modules that are imported side by side."""
  return flags.DEFINE_string(
    'results',
    here('results'),
    'Folder of what was measured, and of its pages.',
    allow_override=True,
  )


def _parse(argv: Sequence[str]) -> list[str]:
  argv = list(argv)
  given = any(re.match(r'--?config(=|$)', word) for word in argv)
  if _default_config and not given:
    argv.insert(1, f'--config={_default_config}')
  asked = {'-h', '-help', '--help', '--helpshort', '--helpfull'}
  if asked & set(argv):
    print(_help([word for word in argv if word not in asked]))
    sys.exit(0)
  try:
    _check_files(argv)
    rest = flags.FLAGS(argv)
  except (flags.Error, *USER_ERRORS, AttributeError, TypeError) as error:
    if '--debug' in argv:
      raise
    _say(_message(error))
    sys.exit(2)
  if len(rest) > 1:
    _say(f'unexpected argument {rest[1]!r}; settings are flags, see --help')
    sys.exit(2)
  logging.set_verbosity(logging.INFO if _DEBUG.value else logging.WARNING)
  return rest


def _check_files(argv) -> None:
  """A config file that is not there, said plainly."""
  for word in argv:
    match = re.match(r'--?config=([^:]*)', word)
    if match and not os.path.isfile(match.group(1)):
      raise Refused(f'no config file at {match.group(1)!r}')


def _help(argv: Sequence[str]) -> str:
  """The command's docstring, its flags, and every setting of the config."""
  main = sys.modules['__main__']
  lines = [main.__doc__.strip(), '', 'Flags:']
  own = flags.FLAGS.flags_by_module_dict()
  shown = [*own.get(main.__name__, ()), *own.get(sys.argv[0], ())]
  for flag in {f.name: f for f in [*shown, *own.get(__name__, ())]}.values():
    default = f' (default: {flag.default})' if flag.default else ''
    lines.append(f'  --{flag.name}: {flag.help}{default}')
  if _default_config:
    values, source = _in_force(argv)
    lines += ['', f'Settings, as --config.NAME=VALUE (values of {source}):']
    width, meanings = max(map(len, values)), base.meanings(values['problem'])
    for name, value in values.items():
      lines.append(f'  {name:{width}}  {meanings.get(name, "")} [{value!r}]')
    lines.append(
      'python -m jaxrl_llm.recipes RECIPE says what a recipe does, and --help '
      'there what fits its slots'
    )
  return '\n'.join(lines)


def _in_force(argv: Sequence[str]) -> tuple[dict[str, object], str]:
  """The settings that a command line asks for by name, and where they are."""
  try:
    flags.FLAGS(argv, known_only=True)
    config = flags.FLAGS['config']
    values = traverse_util.flatten_dict(config.value.to_dict(), sep='.')
    return dict(sorted(values.items())), os.path.relpath(config.config_filename)
  except (flags.Error, *USER_ERRORS, AttributeError, TypeError):
    # Help is asked for where something is wrong, too.
    return {k: v for k, (v, _) in base.SETTINGS.items()}, 'base.py'


def _message(error: BaseException) -> str:
  # What we say of a file ourselves needs no error number before it.
  ours = isinstance(error, OSError) and error.filename is None
  # The str of a KeyError is its repr; the config library nests several.
  text = (ours and error.strerror) or str(error)
  while re.fullmatch(r'(["\']).*[^\w].*\1', text, re.DOTALL):
    text = ast.literal_eval(text)
  unknown = re.fullmatch(r"'(\w+)'(?:\s+Did you mean \"(\w+)\".*)?", text)
  if unknown:
    name, near = unknown.groups()
    hint = f'Did you mean {near!r}?' if near else '--help lists them'
    return f'unknown setting {name!r}. {hint}'
  lines = [line.strip() for line in text.splitlines()]
  return ' '.join(line for line in lines if line) or type(error).__name__


def _say(error: BaseException | str) -> None:
  text = error if isinstance(error, str) else _message(error)
  print(f'error: {text}', file=sys.stderr)


def overridden(flag: str = 'config') -> dict[str, object]:
  """The settings that the command line gave, by dotted name."""
  return config_flags.get_override_values(flags.FLAGS[flag])


def here(*parts: str) -> str:
  """A path beside this package, wherever the command is run from."""
  return os.path.join(os.path.dirname(os.path.abspath(__file__)), *parts)


def commit() -> str:
  """The checked-out commit, '+' behind it if the tree differs, or ''."""
  words = 'git describe --always --dirty=+ --abbrev=40 --exclude=*'.split()
  try:
    return subprocess.check_output(
      words, cwd=here(), stderr=subprocess.DEVNULL, text=True
    ).strip()
  except (OSError, subprocess.CalledProcessError):
    return ''


def use_compilation_cache(folder) -> None:
  """Keeps compiled programs in `folder`/.compiled, for the next start.

  Unless JAX_COMPILATION_CACHE_DIR names another place.
  """
  import jax

  if jax.config.jax_compilation_cache_dir:
    return
  jax.config.update('jax_compilation_cache_dir', str(folder / '.compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
