"""What every command shares: flags that explain, errors in one line.

A mistake of the user's ends in one line that names the value and the remedy,
and a non-zero exit; `--debug` shows the traceback as well.
"""

from __future__ import annotations

import ast
import os
import pathlib
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from flax import traverse_util
from ml_collections import config_flags

import experiments
from experiments import modules
from experiments.configs import base
from jaxrl_llm import pipes
from jaxrl_llm.catalogue import columns
from jaxrl_llm.spelling import nearest, suggestion

_DEBUG = flags.DEFINE_bool('debug', False, 'Show tracebacks of errors.')

# What a wrong setting, file or folder raises; anything else is a bug and
# keeps its traceback.
USER_ERRORS = (ValueError, KeyError, OSError, ImportError)


# Ours, by name.
_CONFIGS = {
  path.stem
  for path in pathlib.Path(base.__file__).parent.glob('[a-z]*.py')
  if path.stem != 'base'
}

# A word that names a config file.
_FILE = re.compile(r'--?config=')
# Characters of an error in one line.
_LONGEST = 800


class Refused(ValueError):
  """A setting that cannot be used, with the remedy in the message."""


def run(main: Callable[..., int | None], words: str = '') -> None:
  """Parses flags, runs `main`, and turns a user's mistake into one line.

  Args:
    main: given the arguments that are no flags, where `words` says what they
      are; without, there may be none.
  """

  def parse(argv):
    rest = _parse(argv)
    if len(rest) > 1 and not words:
      _say(f'unexpected argument {rest[1]!r}; settings are flags, see --help')
      sys.exit(2)
    return rest

  def guarded(argv):
    return _guarded((lambda: main(argv[1:])) if words else main)

  # The config library reads it there, and wants its file before settings.
  sys.argv[:] = _file_first(sys.argv)
  # The verdict of flags comes before the imports of `main`, most of a second.
  with pipes.unread():
    app.run(guarded, flags_parser=parse)


def _guarded(main) -> int:
  try:
    return main() or 0
  except BrokenPipeError:
    raise
  except Exception as error:
    if _DEBUG.value or not (_is_mistake(error) or _place(error)):
      raise
    _say(error)
    return 1


def short(text: str, most: int = 600) -> str:
  """A text on one line, its middle left out where it is long."""
  shown = repr(text)
  half = most // 2
  return shown if len(shown) <= most else f'{shown[:half]} ... {shown[-half:]}'


def tell(error: Exception) -> None:
  """A mistake of the user's in one line, a bug with its traceback."""
  if not _DEBUG.value and (_is_mistake(error) or _place(error)):
    _say(error)
  else:
    traceback.print_exception(error)


def _is_mistake(error: BaseException) -> bool:
  # A key that is not in a dictionary is no sentence, and a bug of ours.
  bare = isinstance(error, KeyError) and ' ' not in str(error)
  return isinstance(error, USER_ERRORS) and not bare


def _place(error: BaseException) -> str:
  """Where in a file of the user's an error arose; '' where it did elsewhere.

  That is in the innermost frame that is neither of Python nor of a library, if
  it is not ours: what we refuse ourselves is told in our own words.
  """
  for frame in reversed(traceback.extract_tb(error.__traceback__)):
    if modules.is_ours(frame.filename):
      return ''
    if modules.is_users(frame.filename):
      path = os.path.relpath(frame.filename)
      return f'{path}, line {frame.lineno}, in {frame.name}'
  return ''


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
      'FILE.py[:RECIPE], or one of ours by its name, as in --config=sft; by '
      f'default {os.path.relpath(default)}. Every field is a flag, as in '
      '--config.optimizer.learning_rate=1e-4'
    ),
    allow_override=True,
  )


_default_config = ''


def config_file() -> str:
  """The path of the config file that was given."""
  name = config_flags.get_config_filename(flags.FLAGS['config'])
  return name.split(':')[0]


def as_named(text: str) -> str:
  """A text that names commands, by what they are called here."""
  return text.replace('python -m experiments.', experiments.CALL)


def folders(values: Sequence[str]) -> list[str]:
  """Folders of a flag that may be repeated, or that holds several.

  A value is split at its commas unless it is a folder as it stands.
  """
  found = []
  for value in values:
    found += [value] if os.path.isdir(value) else value.split(',')
  return [each for each in found if each]


def results_flag() -> flags.FlagHolder[str]:
  """The flag `--results=FOLDER`, for modules that are imported side by side."""
  return flags.DEFINE_string(
    'results',
    here('results'),
    'Folder of what was measured, and of its pages.',
    allow_override=True,
  )


def _parse(argv: Sequence[str]) -> list[str]:
  argv = list(map(_found, argv))
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
  except Exception as error:
    known = (flags.Error, *USER_ERRORS, AttributeError, TypeError, SyntaxError)
    if '--debug' in argv or not (isinstance(error, known) or _place(error)):
      raise
    _say(_unknown(error, argv) or _message(error))
    sys.exit(2)
  logging.set_verbosity(logging.INFO if _DEBUG.value else logging.WARNING)
  return rest


def _file_first(argv: Sequence[str]) -> list[str]:
  """The words with the config file before its settings."""
  command, *words = argv
  return [command, *sorted(words, key=lambda x: not _FILE.match(x))]


def _found(word: str) -> str:
  """A config of ours by its name, as the file: `--config=preference:dpo`."""
  match = re.fullmatch(r'(--?config=)(\w+)(:.*)?', word, re.DOTALL)
  if match and match[2] in _CONFIGS and not os.path.isfile(match[2]):
    path = os.path.relpath(here('configs', f'{match[2]}.py'))
    return f'{match[1]}{path}{match[3] or ""}'
  return word


def _check_files(argv) -> None:
  """A config file that is not there, said plainly."""
  for word in argv:
    match = re.match(r'--?config=([^:]*)', word)
    if match and not os.path.isfile(match.group(1)):
      name = match.group(1)
      hint = _of_recipe(name)
      if not hint and re.fullmatch(r'\w+', name):
        hint = f', nor of that name among ours. {suggestion(name, _CONFIGS)}'
      raise Refused(f'no config file at {name!r}{hint}')


def _of_recipe(name: str, asked: bool = False) -> str:
  """How the recipe of that name is asked for, '' where there is none.

  Args:
    asked: a recipe is meant, whether there is one of that name or not.
  """
  from jaxrl_llm import presets

  if not _default_config:
    return ''
  stem = pathlib.Path(_default_config).stem  # It is one of ours.
  if name in presets.names():
    return f'; the recipe {name} is --config={stem}:{name}'
  if not asked:
    return ''
  near = nearest(name, presets.names())
  hint = f'Did you mean {near!r}?' if near else 'Its names are in PAPERS.md'
  return f'; a recipe is named as --config={stem}:NAME. {hint}'


def _unknown(error: Exception, argv: Sequence[str]) -> str:
  """What is said of a flag or a setting that there is not; '' of the rest."""
  if isinstance(error, flags.UnrecognizedFlagError):
    name = error.flagname
    [value, *_] = [
      word.partition('=')[2] for word in argv if word.lstrip('-') != word
      and word.lstrip('-').partition('=')[0] == name
    ] or ['']  # fmt: skip
    near = _named(name, argv) if _default_config else []
    meant = ' or '.join(f'--config.{each}' for each in near)
    return f'unknown flag --{name}' + (
      _of_recipe(value, asked=name == 'recipe')
      or (f'. Did you mean {meant}?' if near else '; --help lists them')
    )
  if _place(error):
    return ''
  # A part of the name is what the config library did not find.
  key = re.search(r'\w+', str(error))
  for word in argv:
    given = re.match(r'--?config\.([^=]+)', word)
    if given and key and key[0] in given[1].split('.'):
      near = _named(given[1], argv) or _spelt(given[1], argv)
      meant = ' or '.join(map(repr, near))
      hint = f'Did you mean {meant}?' if near else '--help lists them'
      return f'unknown setting {given[1]!r}. {hint}'
  return ''


def _paths(argv: Sequence[str]) -> list[str]:
  """The settings of the config that a command line asks for."""
  asked = [word for word in argv if re.match(r'--?config=', word)]
  return list(_in_force([argv[0], *asked])[0])


def _named(name: str, argv: Sequence[str]) -> list[str]:
  """Settings whose last word, its initials or its beginning somebody gave.

  Those of the section that was named, or else the optimizer's first: who
  writes `lr` does not mean lora_rank.
  """
  known, (section, _, leaf) = _paths(argv), name.rpartition('.')

  def initials(path):
    return ''.join(word[:1] for word in path.rpartition('.')[2].split('_'))

  found = (
    [path for path in known if path == name]
    or [path for path in known if path.rpartition('.')[2] == leaf]
    or [path for path in known if len(leaf) > 1 and initials(path) == leaf]
    or [path for path in known if section and path.startswith(f'{name}_')]
  )
  near = [path for path in found if path.rpartition('.')[0] == section]
  return near or sorted(found, key=lambda x: not x.startswith('optimizer.'))


def _spelt(name: str, argv: Sequence[str]) -> list[str]:
  """The setting that is spelt most like it, by its path or its last word."""
  known = _paths(argv)
  leaves = {path.rpartition('.')[2]: path for path in known}
  leaf = nearest(name.rpartition('.')[2], leaves)
  near = nearest(name, known) or leaves.get(leaf, '')
  return [near] if near else []


def _help(argv: Sequence[str]) -> str:
  """The command's docstring, its flags, and every setting of the config."""
  main = sys.modules['__main__']
  lines = [as_named((main.__doc__ or '').strip()), '', 'Flags:']
  own = flags.FLAGS.flags_by_module_dict()
  shown = [*own.get(main.__name__, ()), *own.get(sys.argv[0], ())]
  told = {}
  for flag in [*shown, *own.get(__name__, ())]:
    default = f' (default: {flag.default})' if flag.default else ''
    # What absl adds to flags that may be repeated says it once more.
    told[f'--{flag.name}'] = flag.help.partition(';\n')[0] + default
  lines += columns.aligned(told)
  if _default_config:
    values, source = _in_force(argv)
    said = base.meanings(values['problem'], values['recipe.name'])
    values = {name: values[name] for name in said if name in values} | values
    told = {k: f'[{v!r}] {said.get(k, "")}' for k, v in values.items()}
    lines += ['', f'Settings, as --config.NAME=VALUE (values of {source}):']
    lines += columns.aligned(told)
    lines.append(
      'python -m jaxrl_llm.recipes RECIPE says what a recipe does, and --help '
      'there what fits its slots'
    )
  return '\n'.join(lines)


def _in_force(argv: Sequence[str]) -> tuple[dict[str, Any], str]:
  """The settings that a command line asks for by name, and where they are."""
  own = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=own, sys_argv=argv)
  try:
    own(argv, known_only=True)
    file = config_flags.get_config_filename(own['config'])
    values = traverse_util.flatten_dict(own.config.to_dict(), sep='.')
    return values, os.path.relpath(file)
  except (flags.Error, *USER_ERRORS, AttributeError, TypeError):
    # Help is asked for where something is wrong, too.
    values = {k: v for k, (v, _) in base.SETTINGS.items()}
    return values | {'recipe.name': 'grpo'}, 'base.py'


def _message(error: BaseException) -> str:
  # The libraries have put a page around what a config file raised.
  while error.__context__ and 'whilst parsing config file' in str(error):
    error = error.__context__
  if isinstance(error, SyntaxError) and error.filename:
    place = os.path.relpath(error.filename)
    return f'{place}, line {error.lineno}: {error.msg}'
  if isinstance(error, AttributeError) and error.name == 'get_config':
    return (
      'the file of --config defines no function get_config, which returns the '
      'settings; experiments/configs/default.py is one that does'
    )
  place = _place(error)
  if place:
    text = ' '.join(f'{type(error).__name__}: {error}'.split())
    return f'{place}: {_cut(text)} (--debug shows the traceback)'
  # The str of a KeyError is its repr; the config library nests several.
  text = str(error)
  # What we say of a file ourselves needs no error number before it.
  if isinstance(error, OSError) and error.filename is None:
    text = error.strerror or text
  while re.fullmatch(r'(["\']).*[^\w].*\1', text, re.DOTALL):
    text = ast.literal_eval(text)
  lines = [line.strip() for line in text.splitlines()]
  text = ' '.join(line for line in lines if line)
  return _cut(text) or type(error).__name__


def _cut(text: str) -> str:
  """A line that can be read; libraries print whole dictionaries."""
  return text if len(text) <= _LONGEST else f'{text[:_LONGEST]} ...'


def _say(error: BaseException | str) -> None:
  text = error if isinstance(error, str) else _message(error)
  print(f'error: {as_named(text)}', file=sys.stderr)


def folder(flag: str, value: str) -> pathlib.Path:
  """The folder that a flag names.

  Raises:
    Refused: an address of a bucket, which would become a folder named 'gs:'.
  """
  if '://' in value:
    raise Refused(
      f'--{flag}={value} is no folder of this machine; mount the bucket, as '
      'gcsfuse and s3fs do, and name the folder. Of a run, checkpoints alone '
      'can be in a bucket: --workdir=FOLDER --checkpoints=gs://BUCKET/PATH'
    )
  return pathlib.Path(value)


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

  Unless JAX_COMPILATION_CACHE_DIR names another place. All of them are kept
  there, too, unless the environment says which are not worth it: by itself JAX
  leaves out those that compile in a second, and a run has a hundred.
  """
  import jax

  if not jax.config.values['jax_compilation_cache_dir']:
    jax.config.update('jax_compilation_cache_dir', str(folder / '.compiled'))
  for name, value in (
    ('jax_persistent_cache_min_compile_time_secs', 0.0),
    ('jax_persistent_cache_min_entry_size_bytes', -1),
  ):
    if name.upper() not in os.environ:
      jax.config.update(name, value)
