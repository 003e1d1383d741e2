"""Hostile programs reach nothing, end in time and leave nothing behind."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys

import pytest

from jaxrl_llm.tasks import sandbox, syscalls
from tests.tasks import hostile_programs
from tests.tasks.pool_test import gone, wait_until

pytestmark = pytest.mark.usefixtures('namespaces')

SECONDS = 0.4
# A loaded machine may take a while to start and to clear away a process; idle,
# it is about 0.1 s.
GRACE = 30.0
SECRET = 'SANDBOX_TEST_SECRET'


class World:
  """What lies outside of the sandbox, for programs to reach."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self.folder.chmod(0o777)
    self.listener = socket.create_server(('127.0.0.1', 0))
    self.listener.setblocking(False)

  def aim(self, program: str) -> str:
    """The program, told where to find what it is after."""
    for name, value in (
      ('PORT', self.listener.getsockname()[1]),
      ('FOLDER', self.folder),
      ('PID', os.getpid()),
      ('SECRET', SECRET),
    ):
      program = program.replace(name, str(value))
    return program

  def assert_untouched(self) -> None:
    assert list(self.folder.iterdir()) == []
    with pytest.raises(BlockingIOError):
      self.listener.accept()


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  world = World(tmp_path_factory.mktemp('outside'))
  with pytest.MonkeyPatch.context() as patch, world.listener:
    patch.setenv(SECRET, 'tell nobody')
    yield world


@pytest.fixture(scope='module')
def box(world, namespaces):
  with sandbox.Sandbox(memory=128 << 20) as box:
    yield box


@pytest.mark.parametrize('name', hostile_programs.PROGRAMS)
def test_a_hostile_program_reaches_nothing(name, box, world):
  program = world.aim(hostile_programs.PROGRAMS[name])
  finished = box.run(program, seconds=SECONDS)
  assert 'reached' not in finished.output
  assert len(finished.output) <= 1 << 20
  assert finished.seconds < SECONDS + GRACE
  world.assert_untouched()
  # The next one finds the place as if nobody had been there.
  told = "import os; print(os.listdir('.'), input())"
  honest = box.run(told, 'hello', seconds=10)
  assert honest[:2] == (0, "['program.py'] hello\n")


def test_hostile_programs_are_many():
  assert len(hostile_programs.PROGRAMS) >= 60


def test_what_a_program_may_do(box):
  finished = box.run(
    """
import asyncio, hashlib, json, re, sys, tempfile, threading
def work():
  sys.setrecursionlimit(10_000)
  with tempfile.TemporaryFile('w+') as file:
    file.write('kept')
    file.seek(0)
    print(file.read())
thread = threading.Thread(target=work)
thread.start()
thread.join()
async def later():
  await asyncio.sleep(0)
  print(sum(map(int, sys.stdin)), 'naïve')
asyncio.run(later())
""",
    '1\n2\n3\n',
    seconds=10,
  )
  assert finished[:2] == (0, 'kept\n6 naïve\n')


def test_how_a_program_ended_is_told(box):
  ends = {
    'pass': 0,
    'raise SystemExit(7)': 7,
    '1 / 0': 1,
    'import os; os.abort()': -signal.SIGABRT,
  }
  codes = [box.run(program, seconds=10).code for program in ends]
  assert codes == list(ends.values())
  assert box.run('while True: pass', seconds=0.1).code is None


def test_threads_are_counted_whoever_runs(box):
  finished = box.run(
    """
import os, threading, time
threading.stack_size(1 << 16)
for number in range(1000):
  try:
    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
  except RuntimeError:
    break
print(number, flush=True)
os._exit(0)
""",
    seconds=30,
  )
  assert finished.code == 0 and 16 < int(finished.output) <= 64


def test_equal_programs_print_equal_sets(box):
  program = "print({f'{i}' for i in range(50)})"
  assert len({box.run(program, seconds=10).output for _ in range(3)}) == 1


@pytest.mark.parametrize('seconds', [0, -1, float('nan'), float('inf')])
def test_a_limit_that_is_none_is_refused(box, seconds):
  with pytest.raises(ValueError, match='seconds > 0 and finite'):
    box.run('pass', seconds=seconds)


def test_any_text_is_a_program_or_input(box):
  assert box.run('\0\ud800', seconds=10).code == 1
  echo = 'print(ascii(input()))'
  finished = box.run(echo, 'é\0\ud800', seconds=10)
  assert finished.code == 0 and finished.output.startswith("'\\xe9\\x00")


def test_closing_ends_the_jail_and_further_programs_are_refused():
  with sandbox.Sandbox() as box:
    pid = box._process.pid
    assert box.run('print(1)', seconds=10).output == '1\n'
  assert gone(pid)
  with pytest.raises((sandbox.Unavailable, ValueError)):
    box.run('print(1)')


def test_a_jail_that_dies_is_an_error_and_no_score():
  with sandbox.Sandbox() as box:
    box._process.kill()
    box._process.wait()
    with pytest.raises(sandbox.Unavailable, match='the jail has ended'):
      box.run('print(1)')


def descendants(pid: int) -> set[int]:
  """The processes below one, of any depth."""
  parents = {}
  for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
    try:
      fields = path.read_text().rpartition(')')[2].split()
    except OSError:
      continue
    parents[int(path.parent.name)] = int(fields[1])
  found, new = set(), {pid}
  while new:
    new = {child for child, parent in parents.items() if parent in new} - found
    found |= new
  return found


def test_a_killed_run_leaves_no_program():
  script = (
    'from jaxrl_llm.tasks.sandbox import Sandbox\n'
    "Sandbox().run('while True: pass', seconds=120)"
  )
  with subprocess.Popen([sys.executable, '-c', script]) as process:
    # The jail, its first process, and the program.
    wait_until(lambda: len(descendants(process.pid)) == 3, 30)
    below = descendants(process.pid)
    process.kill()
    process.wait()
  wait_until(lambda: all(map(gone, below)))


# As root of a user namespace in which there may be no further one.
NO_NAMESPACES = """
import ctypes, os
user, group = os.getuid(), os.getgid()
assert not ctypes.CDLL(None).unshare(0x10000000)
for name, text in (
  ('setgroups', 'deny'),
  ('uid_map', f'0 {user} 1'),
  ('gid_map', f'0 {group} 1'),
):
  open(f'/proc/self/{name}', 'w').write(text)
open('/proc/sys/user/max_user_namespaces', 'w').write('0')
from jaxrl_llm.tasks import sandbox, verify
for start in (sandbox.Sandbox, lambda: verify.Verifiers(['code'])):
  try:
    start()
    print('started')
  except sandbox.Unavailable as error:
    print(error)
"""


def test_where_namespaces_are_not_allowed_nothing_runs():
  done = subprocess.run(
    [sys.executable, '-c', NO_NAMESPACES],
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )
  lines = done.stdout.splitlines()
  assert len(lines) == 2 and all('unshare' in line for line in lines)
  assert 'no sandbox for programs' in lines[0]
  assert 'max_user_namespaces' in lines[0]


def test_a_sandbox_with_a_hole_is_refused(monkeypatch):
  sandbox.require()
  for probe in ('print(*[True] * 7, False)', 'print(True)', '1 / 0'):
    monkeypatch.setattr(sandbox, '_PROBE', probe)
    with pytest.raises(sandbox.Unavailable, match='the probe ended with'):
      sandbox.require.__wrapped__()


def decision(steps: bytes, number: int, architecture: int, flags: int) -> int:
  """What a filter says of a call: a classic BPF machine, as the kernel's."""
  fields = {0: number, 4: architecture, 16: flags}
  program = list(struct.iter_unpack('=HBBI', steps))
  place, value = 0, None
  while True:
    code, yes, no, operand = program[place]
    place += 1
    if code == 0x20:
      value = fields[operand]
    elif code == 0x06:
      return operand
    else:
      holds = {
        0x15: value == operand,
        0x35: value >= operand,
        0x45: bool(value & operand),
      }
      place += yes if holds[code] else no


@pytest.mark.parametrize(
  ('machine', 'audit', 'denied', 'allowed', 'clone'),
  [
    # fork, socket, ptrace, unshare, mount; read, write, futex, execve.
    ('x86_64', 0xC000003E, (57, 41, 101, 272, 165), (0, 1, 202, 59), 56),
    # socket, ptrace, unshare, mount; read, write, futex, execve.
    ('aarch64', 0xC00000B7, (198, 117, 97, 40), (63, 64, 98, 221), 220),
  ],
)
def test_the_filter_denies_its_table_alone(
  monkeypatch, machine, audit, denied, allowed, clone
):
  monkeypatch.setattr(syscalls.platform, 'machine', lambda: machine)
  steps = syscalls.program()
  permit, refuse, unknown, kill = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
  for number in denied:
    assert decision(steps, number, audit, 0) == refuse
  for number in allowed:
    assert decision(steps, number, audit, 0) == permit
  assert decision(steps, clone, audit, 0x10F00) == permit  # a thread
  assert decision(steps, clone, audit, 17) == refuse  # a child
  assert decision(steps, 435, audit, 0) == unknown  # clone3
  assert decision(steps, allowed[0] + 0x40000000, audit, 0) == refuse  # x32
  assert decision(steps, allowed[0], 0x40000003, 0) == kill  # 32 bit


def test_an_architecture_without_a_table_is_refused(monkeypatch):
  monkeypatch.setattr(syscalls.platform, 'machine', lambda: 'riscv64')
  with pytest.raises(OSError, match='riscv64'):
    syscalls.program()
