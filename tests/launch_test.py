import math
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
import yaml

_FOLDER = pathlib.Path(__file__).parents[1] / 'launch'
_SCRIPT = _FOLDER / 'local.sh'

# Stands in for Python, in `PYTHON` and in `.venv` alike: it writes down what
# it is asked, makes a virtual environment of itself, and installs nothing.
_PYTHON = """#!/usr/bin/env bash
case "$*" in
  --version) echo 'Python 3.X' ;;
  '-c '*) exit "${OLD:-0}" ;;
  '-m pip --version') ;;
  '-m venv --clear .venv') mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  '-m pip install'*) echo "install ${*: -1}"; exit "${BROKEN:-0}" ;;
  *) echo "$PWD"; printf '<%s>' "$@"; exit "${STATUS:-0}" ;;
esac
"""


@pytest.fixture
def repository(tmp_path):
  root = tmp_path / 'a folder with spaces'
  (root / 'launch').mkdir(parents=True)
  shutil.copy(_SCRIPT, root / 'launch')
  (root / 'pyproject.toml').write_text('version = 1\n')
  (root / 'python').write_text(_PYTHON)
  (root / 'python').chmod(0o755)
  return root


def _launch(root, *arguments, **environment):
  kept = {name: os.environ[name] for name in ('PATH',)}
  return subprocess.run(
    [root / 'launch' / 'local.sh', *arguments],
    env={**kept, 'PYTHON': str(root / 'python'), **environment},
    cwd=root.parent,
    capture_output=True,
    text=True,
  )


def test_a_module_runs_from_the_root_with_its_flags(repository):
  done = _launch(repository, 'pytest', '-k', 'one two', STATUS='7')
  assert done.returncode == 7
  assert 'install .[test]' in done.stderr
  folder, call = done.stdout.splitlines()
  assert folder == str(repository)
  assert call == '<-m><pytest><-k><one two>'


def test_it_installs_once_until_the_project_or_the_extras_change(repository):
  def installed(**environment):
    lines = _launch(repository, 'pytest', **environment).stderr.splitlines()
    return [line for line in lines if line.startswith('install .')]

  assert installed() == ['install .[test]']
  assert installed() == []
  assert installed(EXTRAS='cuda13') == ['install .[test,cuda13]']
  # Without EXTRAS the accelerator stays.
  assert installed() == []
  (repository / 'pyproject.toml').write_text('version = 2\n')
  assert installed() == ['install .[test,cuda13]']
  assert installed(EXTRAS='') == ['install .[test]']


def test_an_interrupted_installation_is_done_again(repository):
  broken = _launch(repository, 'pytest', BROKEN='1')
  assert broken.returncode == 1
  assert 'the installation failed' in broken.stderr
  assert 'install .[test]' in _launch(repository, 'pytest').stderr


def test_an_old_or_absent_python_is_refused_in_one_line(repository):
  for environment, words in (
    ({'OLD': '1'}, 'too old'),
    ({'PYTHON': 'no-such-python'}, 'not found'),
  ):
    refused = _launch(repository, 'pytest', **environment)
    assert refused.returncode == 1
    assert words in refused.stderr and '3.11' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (repository / '.venv').exists()


def test_help_explains_and_nothing_is_made(repository):
  explained = _launch(repository, '-h')
  assert explained.returncode == 0
  for word in ('MODULE', 'EXTRAS', 'PYTHON', 'experiments.train'):
    assert word in explained.stdout
  assert '#' not in explained.stdout
  assert _launch(repository).returncode == 2
  assert not (repository / '.venv').exists()


# A process of a cluster: process FAILING fails as often as FAILS says, the
# others go on for a minute, unless SIGTERM makes them save.
_PROCESS = """#!/usr/bin/env bash
if [ "$1" = -c ]; then echo 1234; exit; fi
trap 'echo "$JAX_PROCESS_ID saves"; exit 0' TERM
echo $$ >>"$FOLDER/started"
if [ "$JAX_PROCESS_ID" = "${FAILING:-none}" ]; then
  [ "$(wc -l <"$FOLDER/failed")" -lt "${FAILS:-9}" ] || exit 0
  echo >>"$FOLDER/failed"
  [ -z "${KILLED:-}" ] || kill -KILL $$
  exit 7
elif [ "${FAILING:-none}" = none ]; then
  for _ in $(seq 600); do sleep 0.1; done
fi
"""


@pytest.fixture
def cluster(tmp_path):
  """Starts local_cluster.sh on processes that only pretend."""
  python = tmp_path / 'python'
  python.write_text(_PROCESS)
  python.chmod(0o755)
  (tmp_path / 'failed').touch()
  (tmp_path / 'started').touch()

  def start(count, **environment):
    given = {'PYTHON': str(python), 'FOLDER': str(tmp_path), **environment}
    return subprocess.Popen(
      [_FOLDER / 'local_cluster.sh', str(count), 'a.module'],
      env={'PATH': os.environ['PATH'], **given},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      # Ctrl-C reaches a whole group, and these tests are not to be in it.
      start_new_session=True,
    )

  return start


def _started(folder, count):
  """The processes, once there are as many."""
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    pids = [int(line) for line in (folder / 'started').read_text().split()]
    if len(pids) == count:
      return pids
    time.sleep(0.02)
  raise AssertionError(f'{pids} of {count} processes')


def _gone(pids):
  """Whether none of them is left, a moment later."""
  deadline = time.monotonic() + 10
  alive = pids
  while alive and time.monotonic() < deadline:
    alive = [pid for pid in alive if pathlib.Path(f'/proc/{pid}').exists()]
    time.sleep(0.02)
  return not alive


def test_a_cluster_that_fails_starts_again_as_often_as_allowed(
  cluster, tmp_path
):
  for restarts, fails, status in (('2', '2', 0), ('1', '9', 7), ('0', '9', 7)):
    (tmp_path / 'failed').write_text('')
    running = cluster(2, RESTARTS=restarts, FAILING='1', FAILS=fails)
    _, said = running.communicate(timeout=60)
    assert running.returncode == status, said
    assert said.count('starting all of them again') == int(restarts)
    assert 'process 2 of 2 ended with status 7' in said
  # (1 + 2) + (1 + 1) + 1 times two processes.
  assert len(_started(tmp_path, 12)) == 12


def test_a_cluster_says_which_process_was_killed(cluster):
  running = cluster(3, FAILING='2', KILLED='1')
  _, said = running.communicate(timeout=60)
  assert running.returncode == 137
  assert 'process 3 of 3 was killed by SIGKILL; ending the others' in said


def test_restarts_that_are_no_number_are_refused(cluster):
  running = cluster(2, RESTARTS='often')
  _, said = running.communicate(timeout=60)
  assert running.returncode == 2 and 'RESTARTS=often' in said


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process_once_and_none_starts_again(
  cluster, tmp_path, number
):
  running = cluster(2, RESTARTS='5')
  pids = _started(tmp_path, 2)
  # As a terminal does: to everything in the group of the script.
  os.killpg(running.pid, number)
  said, _ = running.communicate(timeout=60)
  assert running.returncode == 0
  assert sorted(said.splitlines()) == ['0 saves', '1 saves']
  assert _gone(pids)


def test_no_process_outlives_a_cluster_that_is_killed(cluster, tmp_path):
  running = cluster(3)
  pids = _started(tmp_path, 3)
  running.kill()
  running.communicate(timeout=60)
  assert _gone(pids)


# Stands in for srun and scontrol, which write down what they are asked.
_SLURM = """#!/usr/bin/env bash
echo "${0##*/} $*"
[ "${0##*/}" = scontrol ] || exit "${STATUS:-0}"
"""


@pytest.mark.parametrize(
  ('environment', 'requeued'),
  [
    ({'STATUS': '0', 'RESTARTS': '2'}, False),
    ({'STATUS': '9'}, False),
    ({'STATUS': '9', 'RESTARTS': '2'}, True),
    ({'STATUS': '9', 'RESTARTS': '2', 'SLURM_RESTART_COUNT': '1'}, True),
    ({'STATUS': '9', 'RESTARTS': '2', 'SLURM_RESTART_COUNT': '2'}, False),
  ],
)
def test_a_slurm_job_that_fails_is_queued_again_as_often_as_allowed(
  tmp_path, environment, requeued
):
  for name in ('srun', 'scontrol'):
    (tmp_path / name).write_text(_SLURM)
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(
    ['bash', _FOLDER / 'slurm.sbatch', 'a.module', '--flag=a b'],
    env={
      'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
      'SLURM_SUBMIT_DIR': str(tmp_path),
      'SLURM_JOB_ID': '42',
      **environment,
    },
    capture_output=True,
    text=True,
    check=False,
  )
  asked = done.stdout.splitlines()
  first = 'srun --kill-on-bad-exit=1 .venv/bin/python -m a.module --flag=a b'
  assert asked == [first] + ['scontrol requeue 42'] * requeued
  assert done.returncode == int(environment['STATUS'])


SCRIPTS = sorted([*_FOLDER.glob('*.sh'), *_FOLDER.glob('*.sbatch')])


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_and_says_how_to_use_it(script):
  subprocess.run(['bash', '-n', script], check=True)
  if shutil.which('shellcheck'):
    subprocess.run(['shellcheck', script], check=True)
  header = script.read_text().partition('set -euo')[0]
  assert f'launch/{script.name} ' in header and 'MODULE' in header.replace(
    'experiments.train', 'MODULE'
  )


def test_the_manifest_starts_as_many_processes_as_it_says():
  (job_set,) = yaml.safe_load_all((_FOLDER / 'gke.yaml').read_text())
  assert job_set['kind'] == 'JobSet'
  (replicated,) = job_set['spec']['replicatedJobs']
  job = replicated['template']['spec']
  pod = job['template']['spec']
  (container,) = pod['containers']
  env = {each['name']: each.get('value') for each in container['env']}
  assert int(env['JAX_NUM_PROCESSES']) == job['parallelism']
  assert job['completions'] == job['parallelism']
  host, port = env['JAX_COORDINATOR_ADDRESS'].split(':')
  name = job_set['metadata']['name']
  assert host == f'{name}-{replicated["name"]}-0-0.{name}'
  assert [each['containerPort'] for each in container['ports']] == [int(port)]
  assert 'JAX_PROCESS_ID' in env
  mounted = {each['name'] for each in container['volumeMounts']}
  assert mounted == {each['name'] for each in pod['volumes']}
  chips = math.prod(
    int(n)
    for n in pod['nodeSelector']['cloud.google.com/gke-tpu-topology'].split('x')
  )
  limits = container['resources']['limits']
  assert chips == job['parallelism'] * limits['google.com/tpu']


def test_the_manifest_leaves_every_restart_to_the_job_set():
  (job_set,) = yaml.safe_load_all((_FOLDER / 'gke.yaml').read_text())
  assert job_set['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  assert job_set['spec']['failurePolicy']['maxRestarts'] > 0
  (replicated,) = job_set['spec']['replicatedJobs']
  assert replicated['replicas'] == 1
  job = replicated['template']['spec']
  # Its number tells a process which it is; one that came back alone would wait
  # for the others, which know nothing of it.
  assert job['completionMode'] == 'Indexed' and job['backoffLimit'] == 0
  pod = job['template']['spec']
  assert pod['restartPolicy'] == 'Never'
  # There is time to save after SIGTERM.
  assert pod['terminationGracePeriodSeconds'] >= 60


@pytest.mark.parametrize(
  ('asked', 'said'),
  [
    ({}, ''),
    ({'DETERMINISTIC': '0', 'XLA_FLAGS': '--one'}, '--one'),
    (
      {'DETERMINISTIC': '1', 'XLA_FLAGS': '--one'},
      '--one --xla_gpu_deterministic_ops=true',
    ),
  ],
)
def test_gpus_add_in_one_order_where_asked(tmp_path, asked, said):
  shutil.copy(_FOLDER / 'gpu.sh', tmp_path)
  cluster = tmp_path / 'local_cluster.sh'
  cluster.write_text('#!/bin/sh\necho "$XLA_FLAGS|$JAX_PLATFORMS|$*"\n')
  cluster.chmod(0o755)
  done = subprocess.run(
    [tmp_path / 'gpu.sh', 'a.module', '--flag'],
    env={'PATH': os.environ['PATH'], 'GPUS': '2'} | asked,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == f'{said}|cuda|2 a.module --flag\n'
