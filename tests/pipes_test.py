"""Commands that are not read to their end, as by `| head`."""

import os
import subprocess
import sys

import pytest

from jaxrl_llm import pipes


def unread(*arguments):
  """A Python process whose standard output has nobody to read it."""
  ours, theirs = os.pipe()
  os.close(ours)
  try:
    return subprocess.run(
      [sys.executable, *arguments], stdout=theirs, stderr=subprocess.PIPE
    )
  finally:
    os.close(theirs)


@pytest.mark.parametrize(
  'body',
  [
    "print('short')",
    "print('long' * 100_000)",
    "print('of a command'); sys.exit(3)",
  ],
)
def test_a_process_that_nobody_reads_ends_without_a_word(body):
  code = 'import sys\nfrom jaxrl_llm import pipes\nwith pipes.unread(): '
  done = unread('-c', code + body)
  assert (done.returncode, done.stderr) == (pipes.UNREAD, b'')


def test_the_list_of_commands_is_piped_into_head():
  done = unread('-m', 'experiments')
  assert (done.returncode, done.stderr) == (pipes.UNREAD, b'')


def test_a_broken_pipe_to_somebody_else_is_told():
  with pytest.raises(BrokenPipeError), pipes.unread():
    raise BrokenPipeError


def test_what_is_read_keeps_its_code():
  with pytest.raises(SystemExit) as end, pipes.unread():
    sys.exit(3)
  assert end.value.code == 3
