"""Code in a process of its own."""

import pathlib
import subprocess
import sys
import textwrap


def start(code: str, *arguments) -> subprocess.Popen:
  """Runs code with the arguments as its words, from the repository's root."""
  return subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
