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
from collections.abc import Callable, Sequence

from absl import app, flags, logging
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
  )


_default_config = ''


def _parse(argv: Sequence[str]) -> list[str]:
  argv = list(argv)
  given = any(re.match(r'--?config(=|$)', word) for word in argv)
  if _default_config and not given:
    argv.insert(1, f'--config={_default_config}')
  if {'-h', '-help', '--help', '--helpshort', '--helpfull'} & set(argv):
    print(_help())
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


def _help() -> str:
  """The command's docstring, its flags, and every setting of the config."""
  main = sys.modules['__main__']
  lines = [main.__doc__.strip(), '', 'Flags:']
  own = flags.FLAGS.flags_by_module_dict()
  shown = [*own.get(main.__name__, ()), *own.get(sys.argv[0], ())]
  for flag in {f.name: f for f in [*shown, *own.get(__name__, ())]}.values():
    default = f' (default: {flag.default})' if flag.default else ''
    lines.append(f'  --{flag.name}: {flag.help}{default}')
  if _default_config:
    lines += ['', 'Settings, as --config.NAME=VALUE (defaults of base.py):']
    width = max(map(len, base.SETTINGS))
    for name, (default, meaning) in base.SETTINGS.items():
      lines.append(f'  {name:{width}}  {meaning} [{default!r}]')
    lines += [
      '  recipe.NAME: hyper-parameters of the recipe; '
      'python -m jaxrl_llm.recipes RECIPE lists them',
    ]
  return '\n'.join(lines)


def _message(error: BaseException) -> str:
  # The str of a KeyError is its repr; the config library nests several.
  text = str(error)
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


def _generated(config) -> bool:
  """The questions come from a generator, as `tasks.data.load` decides."""
  path = config.data.path
  return not (os.path.exists(path) or path.endswith('.jsonl'))


def _inline(config) -> bool:
  """No verifier needs a process of its own."""
  from jaxrl_llm.tasks import verifiers

  names = map(verifiers.name_of, config.verify.names)
  return set(names) <= verifiers.INLINE


def _no_lora(config) -> bool:
  return not config.model.lora_rank


def _no_warm_start(config) -> bool:
  return not config.warm_start.steps


# Settings that do nothing where the condition on the config holds.
_INERT = (
  ('model.fresh', lambda c: bool(c.model.path), 'model.path is given'),
  ('model.lora_alpha', _no_lora, 'model.lora_rank is 0'),
  ('model.lora_targets', _no_lora, 'model.lora_rank is 0'),
  ('warm_start.batch', _no_warm_start, 'warm_start.steps is 0'),
  ('warm_start.learning_rate', _no_warm_start, 'warm_start.steps is 0'),
  ('eval.samples', lambda c: not c.eval.every, 'eval.every is 0'),
  ('data.level', lambda c: not _generated(c), 'data.path is a file'),
  ('data.size', lambda c: not _generated(c), 'data.path is a file'),
  (
    'data.prompt_field',
    lambda c: _generated(c) and not c.data.held_out_path,
    'data.path is a generated task',
  ),
  (
    'data.answer_field',
    lambda c: _generated(c) and not c.data.held_out_path,
    'data.path is a generated task',
  ),
  (
    'data.held_out',
    lambda c: bool(c.data.held_out_path),
    'data.held_out_path is given',
  ),
  ('verify.seconds', _inline, 'these verifiers need no process'),
  ('verify.workers', _inline, 'these verifiers need no process'),
)
# What evaluation of a model folder reads.
_EVALUATED = (
  'seed',
  'model.path',
  'model.dtype',
  'data',
  'verify',
  'sample',
  'mesh',
)


def check_overrides(config, *, evaluation: bool = False) -> None:
  """Refuses a setting on the command line that would do nothing.

  Args:
    evaluation: nothing is trained.

  Raises:
    Refused: naming it and why.
  """
  for name in overridden():
    for prefix, inert, why in _INERT:
      if _below(name, prefix) and inert(config):
        raise Refused(f'--config.{name} would do nothing: {why}')
    if evaluation and not any(_below(name, p) for p in _EVALUATED):
      raise Refused(f'--config.{name} would do nothing: nothing is trained')


def _below(name: str, prefix: str) -> bool:
  return f'{name}.'.startswith(f'{prefix}.')


# The least value of a setting, where a smaller one means nothing.
_LEAST = {
  'steps': 1,
  'max_bad_steps': 1,
  'model.fresh.layers': 1,
  'model.fresh.width': 1,
  'model.fresh.heads': 1,
  'model.fresh.kv_heads': 1,
  'model.fresh.mlp_width': 1,
  'model.chunk': 0,
  'model.lora_rank': 0,
  'data.size': 1,
  'data.held_out': 1,
  'verify.seconds': 0.001,
  'verify.workers': 1,
  'sample.prompts': 1,
  'sample.max_prompt': 1,
  'sample.max_response': 1,
  'sample.support': 0,
  'learn.microbatches': 1,
  'optimizer.learning_rate': 0.0,
  'optimizer.warmup': 0,
  'optimizer.epsilon': 0.0,
  'optimizer.weight_decay': 0.0,
  'optimizer.clip_norm': 0.0,
  'warm_start.steps': 0,
  'warm_start.batch': 1,
  'warm_start.learning_rate': 0.0,
  'eval.every': 0,
  'eval.samples': 0,
  'checkpoint.every': 1,
  'checkpoint.keep': 1,
  'checkpoint.keep_every': 0,
  'log.samples': 0,
  'recipe.samples': 1,
  'recipe.epochs': 1,
  'recipe.minibatches': 1,
  'recipe.rounds': 1,
}
_DTYPES = ('float32', 'bfloat16', 'float16')


def check_values(config) -> None:
  """Refuses settings that mean nothing whatever the others are.

  Raises:
    Refused: naming the setting, its value and what it may be.
  """
  for name, least in _LEAST.items():
    section, _, leaf = name.rpartition('.')
    values = config
    for part in filter(None, section.split('.')):
      values = values[part]
    # Not every recipe has each of these. NaN is not at least anything.
    if leaf in values and not values[leaf] >= least:
      raise Refused(f'{name} is {values[leaf]}; use {least} or more')
  if config.model.dtype not in _DTYPES:
    raise Refused(
      f'model.dtype {config.model.dtype!r} is none of {", ".join(_DTYPES)}'
    )
  for name in ('data', 'model'):
    size = config.mesh[name]
    if size < 1 and size != -1:
      raise Refused(f'mesh.{name} is {size}; use 1 or more, or -1 for the rest')
  size = config.model.fresh
  if not config.model.path and size.width % (2 * size.heads):
    raise Refused(
      f'model.fresh.width={size.width} does not give {size.heads} heads an '
      f'even size each; use a multiple of {2 * size.heads}'
    )


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
