"""Disks that are full or read-only: one sentence, and a run that goes on."""

import json
import subprocess
import sys

import pytest

from jaxrl_llm.training import writers
from tests.end_to_end import processes

pytestmark = pytest.mark.usefixtures('namespaces')

STEPS = 4
# A file system of a chosen size, in a mount namespace that any user may make.
# For each size, in kibibytes or 'ro': the command, and what it leaves.
ON_A_SMALL_DISK = """
import ctypes, json, os, pathlib, shutil, subprocess, sys
workdir, kept, sizes, command = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
user, group = os.getuid(), os.getgid()
assert not libc.unshare(0x10000000 | 0x20000), ctypes.get_errno()
for name, text in (
  ('setgroups', 'deny'),
  ('uid_map', f'0 {user} 1'),
  ('gid_map', f'0 {group} 1'),
):
  pathlib.Path(f'/proc/self/{name}').write_text(text)
told, remount = [], 0
for size in sizes:
  read_only = size == 'ro'
  flags = ctypes.c_ulong(remount | read_only)
  data = b'' if read_only else f'size={size}k'.encode()
  done = libc.mount(b'small', workdir.encode(), b'tmpfs', flags, data)
  assert not done, ctypes.get_errno()
  remount = 32
  done = subprocess.run(command, capture_output=True, text=True)
  left = sorted(path.name for path in pathlib.Path(workdir).iterdir())
  told.append([done.returncode, done.stderr, left])
shutil.copytree(workdir, kept)
print(json.dumps(told))
"""


def on_disks(tmp_path, sizes):
  """(status, standard error, files left) of the run on each disk in turn."""
  workdir = tmp_path / 'run'
  workdir.mkdir()
  command = processes.words(
    'train',
    f'--workdir={workdir}',
    f'--config.steps={STEPS}',
    '--config.warm_start.steps=0',
    '--config.eval.every=0',
    '--quiet',
  )
  arguments = json.dumps([str(workdir), str(tmp_path / 'kept'), sizes, command])
  done = subprocess.run(
    [sys.executable, '-c', ON_A_SMALL_DISK, arguments],
    cwd=processes.ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def assert_one_sentence(stderr: str, words: str) -> None:
  """Beside the line that says what the run found to run on."""
  lines = stderr.splitlines()
  [line] = [x for x in lines if not x.startswith('process 1 of 1, ')]
  assert line.startswith('error: ') and words in line, stderr


def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(tmp_path):
  starting, saving, roomy = on_disks(tmp_path, [20, 1600, 10_000])
  assert starting[0] == saving[0] == 1 and roomy[0] == 0, roomy[1]
  assert_one_sentence(starting[1], 'no room left on the disk of')
  # Half a model would pass for the whole one.
  assert starting[2] == ['lock']
  assert_one_sentence(saving[1], 'no room left on the disk of')
  assert 'going on from iteration' in roomy[1]
  lines = writers.read(tmp_path / 'kept' / 'metrics.jsonl')
  assert [line['step'] for line in lines] == list(range(STEPS + 1))
  assert processes.state_of(tmp_path / 'kept')[0] == STEPS


def test_a_read_only_folder_is_refused(tmp_path):
  [(status, stderr, left)] = on_disks(tmp_path, ['ro'])
  assert status == 1 and left == []
  assert_one_sentence(stderr, 'cannot be written to (Read-only file system)')
