import os
import pathlib
import shutil
import subprocess

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
