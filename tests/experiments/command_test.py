"""An error is one line that names the value and the remedy."""

import errno

import pytest

from experiments import command
from jaxrl_llm.training import writers


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
