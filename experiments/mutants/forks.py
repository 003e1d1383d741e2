"""Runs tests of a tree in forks of one process that has imported jax already.

Is started in the tree, and is told on stdin what to do, a JSON line each:

    {path, text, stages: [{tests, keyword, seconds}], limit}

`text` stands in place of the file at `path` while the tests run. The stages
run one after another in one fork, until a test fails; `seconds` bounds the
start of further tests of a stage, `limit` the whole. All seconds are of
processors, which do not depend on what else a machine does. The answer, a line
on stdout, is {verdict, test, seconds} with the verdict `killed`, `survived`,
`timeout` or `broken`, and in `test` what failed.

Needs nothing of the tree but its tests: what is tried may be broken.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pathlib
import resource
import select
import signal
import sys
import time
import traceback
import warnings

import pytest

# What the tests import, and no change of ours touches.
_IMPORTED_BEFORE = (
  'jax',
  'jax.experimental',
  'jax.scipy.special',
  'flax.struct',
  'optax',
  'chex',
  'hypothesis.strategies',
  'hypothesis.extra.numpy',
  'ml_collections',
  'scipy.special',
)
_ARGUMENTS = (
  # Slow ones too: of the entry at hand, the battery may be among them.
  # Names of tests begin at the tree, whatever settings lie above it.
  *('--rootdir=.', '-o', 'addopts=', '--import-mode=importlib'),
  *('-x', '-p', 'no:cacheprovider', '-p', 'no:xdist', '-p', 'no:terminal'),
)
_PROFILE = 'mutants'  # Of hypothesis: as the tests', and content to fail.
_MEMORY = 12 << 30  # Bytes; a change may ask for much.


class _Watch:
  """Keeps the first failure, and ends a stage when its time is over."""

  def __init__(self, seconds: float):
    self._end = time.process_time() + seconds
    self.failed = ''

  def pytest_runtest_logreport(self, report):
    if report.failed and not self.failed:
      self.failed = report.nodeid

  def pytest_collectreport(self, report):
    if report.failed and not self.failed:
      self.failed = f'{report.nodeid} (while it is collected)'

  def pytest_runtest_teardown(self, item):
    if time.process_time() > self._end:
      item.session.shouldstop = 'time is over'


def _tested(stages) -> dict:
  """The verdict on what the tree holds, in this very process."""
  for stage in stages:
    watch = _Watch(stage['seconds'])
    words = [*_ARGUMENTS, *stage['tests']]
    if 'hypothesis' in sys.modules:
      words.append(f'--hypothesis-profile={_PROFILE}')
    if stage['keyword']:
      words += ['-k', stage['keyword']]
    code = pytest.main(words, plugins=[watch])
    if watch.failed:
      return {'verdict': 'killed', 'test': watch.failed}
    if code not in (
      pytest.ExitCode.OK,
      pytest.ExitCode.NO_TESTS_COLLECTED,
      pytest.ExitCode.INTERRUPTED,
    ):
      return {'verdict': 'broken', 'test': f'pytest ended with {code!r}'}
  return {'verdict': 'survived', 'test': ''}


def _child(request, pipe, keep) -> None:
  """Runs in the fork, says the verdict, and never returns."""
  try:
    # Its own group, so that processes which tests start end with it.
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    seconds = round(request['limit'])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 9))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
      os.dup2(nothing, stream)
    if 'jax' in sys.modules and not keep:
      # Programs of changed code would fill the cache of the tests.
      sys.modules['jax'].config.update(
        'jax_persistent_cache_min_compile_time_secs', 1e9
      )
    answer = _tested(request['stages'])
  except BaseException:
    answer = {'verdict': 'broken', 'test': traceback.format_exc()}
  os.write(pipe, json.dumps(answer).encode())
  os._exit(0)


def _run(request) -> dict:
  """One request, in a fork of its own."""
  path = pathlib.Path(request['path'])
  kept = path.read_text(encoding='utf-8')
  reader, writer = os.pipe()
  pid = 0
  try:
    _write(path, request['text'])
    with warnings.catch_warnings():
      # No backend has started, so there are no threads to lose.
      warnings.simplefilter('ignore')
      pid = os.fork()
    if not pid:
      _child(request, writer, keep=request['text'] == kept)
    os.close(writer)
    # One that waits for nothing uses no processor.
    ready, _, _ = select.select([reader], [], [], 5 * request['limit'])
    text = os.read(reader, 1 << 20) if ready else b''
  finally:
    if pid:
      status, used = _ended(pid)
    os.close(reader)
    _write(path, kept)
  if text:
    answer = json.loads(text)
  elif not ready or os.WTERMSIG(status) == signal.SIGXCPU:
    answer = {'verdict': 'timeout', 'test': ''}
  else:  # It crashed, as a change may make it.
    answer = {'verdict': 'killed', 'test': f'ended with status {status}'}
  return answer | {'seconds': round(used.ru_utime + used.ru_stime, 2)}


def _ended(pid: int) -> tuple[int, resource.struct_rusage]:
  """Ends a fork with all that it has started."""
  # It may not have its group yet, or have ended and left some of it.
  for kill in (os.killpg, os.kill):
    with contextlib.suppress(ProcessLookupError):
      kill(pid, signal.SIGKILL)
  return os.wait4(pid, 0)[1:]


def _write(path: pathlib.Path, text: str) -> None:
  """A file, without what Python has compiled of its former text.

  It tells files apart by their second and size alone.
  """
  for compiled in path.parent.glob(f'__pycache__/{path.stem}.*'):
    compiled.unlink()
  path.write_text(text, encoding='utf-8')


def _prepare(shared: pathlib.Path) -> None:
  """Sets up what the tests share, and imports what they import."""
  # Its environment must be there before jax is.
  spec = importlib.util.spec_from_file_location('shared', shared)
  assert spec is not None and spec.loader is not None  # a file of Python
  spec.loader.exec_module(importlib.util.module_from_spec(spec))
  for name in _IMPORTED_BEFORE:
    importlib.import_module(name)
  hypothesis = sys.modules['hypothesis']
  usual = hypothesis.settings.get_profile(
    hypothesis.settings.get_current_profile_name()
  )
  phases = [p for p in usual.phases if p.name in ('explicit', 'generate')]
  hypothesis.settings.register_profile(_PROFILE, usual, phases=phases)


def main() -> None:
  # What a shell runs in the background ignores it, and this with it.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  shared = pathlib.Path('tests/conftest.py')
  if shared.exists():
    _prepare(shared)
  answers = os.fdopen(os.dup(1), 'w')
  # What forks and imports print must not come between the answers.
  os.dup2(2, 1)
  print('{}', file=answers, flush=True)
  for line in sys.stdin:
    print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


if __name__ == '__main__':
  with contextlib.suppress(KeyboardInterrupt):
    main()
