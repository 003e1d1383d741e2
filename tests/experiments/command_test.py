"""An error is one line that names the value and the remedy."""

import errno
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import command
from jaxrl_llm.training import writers

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  ('error', 'line'),
  [
    (ValueError('two\n  lines'), 'two lines'),
    (KeyError('unknown recipe'), 'unknown recipe'),
    (ValueError(), 'ValueError'),
    (writers.DiskFull(errno.ENOSPC, 'no room left'), 'no room left'),
    (
      FileNotFoundError(errno.ENOENT, 'No such file', 'a.json'),
      "[Errno 2] No such file: 'a.json'",
    ),
  ],
)
def test_an_error_is_one_line(error, line, capsys):
  command._say(error)
  assert capsys.readouterr().err == f'error: {line}\n'


def test_commands_can_be_imported_side_by_side():
  """Several have flags of one name, which absl takes for a mistake."""
  files = (ROOT / 'experiments').rglob('*.py')
  found = [p for p in files if 'flags.DEFINE_' in p.read_text()]
  for path in found:
    importlib.import_module('.'.join(path.relative_to(ROOT).parts)[:-3])
  assert len(found) > 10


def _help(*flags):
  words = [sys.executable, '-m', 'experiments.train', *flags, '--help']
  return subprocess.run(
    words, cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout


def test_help_shows_the_values_in_force_of_the_problem_at_hand():
  shown = _help(
    '--config=experiments/configs/control.py:grpo', '--config.steps=7'
  )
  assert 'values of experiments/configs/control.py:grpo' in shown
  assert re.search(r'^  steps +iterations.* \[7\]$', shown, re.M)
  assert re.search(r'^  policy.widths +hidden layers of policy', shown, re.M)
  assert re.search(r'^  recipe.clip_high ', shown, re.M)
  assert not re.search(r'^  data.path ', shown, re.M)


def test_help_comes_where_the_settings_are_wrong():
  shown = _help('--config=absent.py')
  assert re.search(r'^  steps +iterations.* \[100\]$', shown, re.M)
