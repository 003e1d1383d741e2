"""The list of commands, and the package as it is installed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import experiments
from experiments import __main__ as cli
from jaxrl_llm import __main__ as entry

ROOT = pathlib.Path(__file__).parents[2]
# A config of the user's, as README has it.
MINE = """
from experiments.configs import control


def get_config(recipe: str = 'ppo'):
  return control.get_config(recipe)
"""


def test_commands_are_the_scripts_of_the_package(capsys):
  assert cli.main([]) == 0
  shown = capsys.readouterr().out
  for name in ('train', 'eval', 'show', 'compare', 'recipes'):
    assert f'\n  {name} ' in shown
  assert {'settings', 'runs', 'command'}.isdisjoint(cli.commands())
  assert all(says.endswith('.') for _, says in cli.commands().values())


def test_every_module_and_folder_is_a_command_or_named_beside_them():
  folder = ROOT / 'experiments'
  names = {path.stem for path in folder.glob('[a-z]*.py')}
  names |= {path.parent.name for path in folder.glob('[a-z]*/*.py')}
  told = set(re.findall(r'\w+', experiments.__doc__))
  assert names - set(cli.commands()) - told == set()


def test_a_misspelt_command_is_told_the_nearest(capsys):
  assert cli.main(['tarin', '--config.steps=3']) == 2
  assert "no command 'tarin'. Did you mean 'train'?" in capsys.readouterr().err


def test_a_command_is_run_with_what_follows_it(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['python'])
  monkeypatch.setattr(sys, 'path', ['/of/scripts', *sys.path])
  with pytest.raises(SystemExit) as end:
    cli.main(['recipes', 'search', 'dr_grpo'])
  assert sys.path[0] == os.getcwd()  # Files of the user's are found.
  assert end.value.code == 0 and 'dr_grpo' in capsys.readouterr().out


def test_commands_are_found_beside_the_package_or_below_it(
  tmp_path, monkeypatch
):
  assert entry.folder() == ROOT
  package = tmp_path / 'jaxrl_llm'
  (package / 'commands').mkdir(parents=True)
  monkeypatch.setattr(entry, '__file__', str(package / '__main__.py'))
  assert entry.folder() == package / 'commands'


def test_an_installed_command_runs_anywhere_and_speaks_of_itself(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'jaxrl_llm', 'show'],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1
  assert done.stderr == (
    'error: show one run, as in jaxrl-llm show runs/default-grpo-0\n'
  )


@pytest.mark.slow
def test_the_wheel_trains_without_the_repository(tmp_path):
  source, wheels, site = (tmp_path / name for name in ('tree', 'out', 'site'))
  for name in ('jaxrl_llm', 'experiments'):
    shutil.copytree(
      ROOT / name, source / name, ignore=shutil.ignore_patterns('results')
    )
  for name in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, source / name)
  pip = [sys.executable, '-m', 'pip']
  subprocess.run(
    [*pip, 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', wheels]
    + [source],
    check=True,
  )
  (wheel,) = wheels.iterdir()
  subprocess.run(
    [*pip, 'install', '-q', '--no-deps', '--no-index', '-t', site, wheel],
    check=True,
  )
  assert (site / 'jaxrl_llm' / 'py.typed').exists()
  # One package of ours, and no name that others have.
  tops = {path.name for path in site.iterdir() if path.suffix != '.dist-info'}
  assert tops == {'jaxrl_llm', 'bin'}
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  # A package of the user's that is called like the folder of our commands.
  (elsewhere / 'experiments').mkdir()
  (elsewhere / 'experiments' / '__init__.py').write_text('raise ImportError')
  (elsewhere / 'mine.py').write_text(MINE)
  done = subprocess.run(
    [sys.executable, site / 'bin' / 'jaxrl-llm', 'train', '--quiet']
    + ['--config=mine.py', '--config.steps=2', '--workdir=run'],
    cwd=elsewhere,
    env=os.environ | {'PYTHONPATH': str(site)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'run folder: run' in done.stdout
  assert (
    len((elsewhere / 'run' / 'metrics.jsonl').read_text().splitlines()) == 3
  )
  record = json.loads((elsewhere / 'run' / 'config.json').read_text())
  assert record['command'].startswith('jaxrl-llm train --config=mine.py')
  help_ = subprocess.run(
    [sys.executable, '-m', 'jaxrl_llm', 'train', '--config=control', '--help'],
    cwd=elsewhere,
    env=os.environ | {'PYTHONPATH': str(site)},
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert 'site/jaxrl_llm/commands/experiments/configs/control.py' in help_
