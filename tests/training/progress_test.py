"""Progress is seen wherever stderr goes."""

import contextlib
import fcntl
import functools
import os
import pty
import select
import struct
import sys
import termios

import jax
import pytest

from jaxrl_llm.training import progress


def _text(screen):
  """All that is on the screen; a read gives what one write has left there."""
  seen = b''
  while select.select([screen], [], [], 0.2)[0]:
    seen += os.read(screen, 1 << 16)
  return seen.decode()


@contextlib.contextmanager
def terminal(rows, columns):
  """A terminal in place of stderr, and what to read of its screen."""
  screen, end = pty.openpty()
  size = struct.pack('HHHH', rows, columns, 0, 0)
  fcntl.ioctl(end, termios.TIOCSWINSZ, size)
  before = sys.stderr
  with open(end, 'w') as sys.stderr:
    try:
      yield functools.partial(_text, screen)
    finally:
      sys.stderr = before
  os.close(screen)


def show(steps=7):
  shown = progress.Progress(0, steps)
  for step in range(1, steps + 1):
    line = {'reward/mean': 0.1 * step, 'accuracy': 1.0, 'tokens/sampled': 9}
    shown.show(line | {'step': step})
  shown.close()


WORDS = ('7/7', 'reward 0.700', 'accuracy 1.000', 'tok/s')


@pytest.mark.parametrize('size', [(24, 100), (0, 0), (0, 110)])
def test_a_bar_on_a_terminal_of_any_size(size):
  with terminal(*size) as read:
    show()
    seen = read()
  # The speed of an empty step has more digits than a narrow screen.
  for word in WORDS[:3]:
    assert word in seen


def test_two_lines_fit_a_terminal_of_80_columns():
  line = {
    **{'step': 1, 'reward/mean': -0.71234, 'accuracy': 0.5},
    **{'policy/kl': 0.0123, 'policy/entropy': 11.23},
    **{'response/length': 1312.34, 'tokens/sampled': 1},
  }
  with terminal(24, 80) as read:
    shown = progress.Progress(0, 60)
    shown.show(line)
    seen = read()
    shown.close()
  words = 'reward -0.712  accuracy 0.500  KL 0.012  entropy 11.2  len 1.31k'
  assert words in seen and 'tok/s' in seen


def test_it_says_that_it_compiles():
  with terminal(24, 80) as read:
    shown = progress.Progress(0, 60)
    read()
    jax.jit(lambda x: 3 * x - 1)(1.0)
    during = read()
    shown.close()
    jax.jit(lambda x: 3 * x - 2)(1.0)
    after = read()
  assert 'compiling' in during and 'compiling' not in after


def test_lines_elsewhere_with_the_time_left(capsys):
  show()
  seen = capsys.readouterr().err
  assert seen.count('\n') == 1
  for word in (*WORDS, '0:00:00 left'):
    assert word in seen


def test_a_bar_is_silent_without_a_terminal(capsys):
  assert list(progress.bar(range(3), desc='warm start')) == [0, 1, 2]
  assert capsys.readouterr() == ('', '')


def test_time_left_is_told_by_iterations_after_the_first(monkeypatch, capsys):
  """Of 100 s the first takes 90, which compiles."""
  clock = iter((0.0, 30.0, 90.0, 100.0))
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
  shown = progress.Progress(0, 12)
  for step in range(3):
    shown.show({'step': step})
  lines = capsys.readouterr().err.splitlines()
  assert 'time left unknown' in lines[0] and 'time left unknown' in lines[1]
  assert lines[2] == 'step 2/12  0:01:40 left'
