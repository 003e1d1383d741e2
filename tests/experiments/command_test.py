"""An error is one line that names the value and the remedy."""

import errno
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import command, start
from experiments.configs import default
from jaxrl_llm.training import writers

ROOT = pathlib.Path(__file__).parents[2]


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


@pytest.mark.parametrize(
  ('source', 'said'),
  [
    ('def get_config(:\n', 'mine.py, line 1: invalid syntax'),
    ('x = 1\n', 'defines no function get_config'),
  ],
)
def test_a_config_file_that_cannot_be_read_is_told_in_a_line(
  source, said, tmp_path
):
  (tmp_path / 'mine.py').write_text(source)
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.train', f'--config={tmp_path}/mine.py'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert said in done.stderr and 'Traceback' not in done.stderr


def test_commands_can_be_imported_side_by_side():
  """Several have flags of one name, which absl takes for a mistake."""
  files = (ROOT / 'experiments').rglob('*.py')
  found = [p for p in files if 'flags.DEFINE_' in p.read_text()]
  for path in found:
    importlib.import_module('.'.join(path.relative_to(ROOT).parts)[:-3])
  assert len(found) > 10


def test_a_page_is_cut(capsys):
  command._say(ValueError('word ' * 1000))
  assert len(capsys.readouterr().err) < 1000


def _raised(path, source):
  """What a file of the user's raises when a function of it is called."""
  path.write_text(source)
  scope = {}
  try:
    exec(compile(source, str(path), 'exec'), scope)
    scope['f']()
  except Exception as error:
    return error


def test_an_error_in_a_file_of_the_users_names_its_line(tmp_path, capsys):
  error = _raised(tmp_path / 'mine.py', "def f():\n  return {}['banana']\n")
  command._say(error)
  said = capsys.readouterr().err
  assert "mine.py, line 2, in f: KeyError: 'banana'" in said
  assert '--debug' in said and len(said.splitlines()) == 1


def test_where_we_refuse_it_is_in_our_words(tmp_path):
  source = 'from jaxrl_llm import recipes\ndef f():\n  recipes.get("grpoo")\n'
  error = _raised(tmp_path / 'mine.py', source)
  assert command._place(error) == ''
  assert command._message(error).startswith("unknown recipe 'grpoo'")


def test_a_missing_key_of_ours_is_a_bug_with_its_traceback():
  assert not command._is_mistake(KeyError('banana'))
  assert command._is_mistake(KeyError("unknown recipe 'x'. Known: ..."))


@pytest.mark.parametrize(
  ('flag', 'line'),
  [
    ('--config.lr=1', "Did you mean 'optimizer.learning_rate' or"),
    ('--config.optimizer.lr=1', "mean 'optimizer.learning_rate'?"),
    ('--config.learning_rate=1', "'optimizer.learning_rate' or"),
    ('--config.optimizer.learning_rat=1', "mean 'optimizer.learning_rate'?"),
    ('--config.recipe.clip_hi=1', "Did you mean 'recipe.clip_high'?"),
    ('--config.model.lora=8', "'model.lora_alpha' or 'model.lora_rank' or"),
    ('--config.xyzzy=1', "unknown setting 'xyzzy'. --help lists them"),
  ],
)
def test_a_misspelt_setting_is_found_by_its_path(flag, line):
  argv = ['train', f'--config={default.__file__}', flag]
  error = AttributeError(repr(flag.partition('=')[0].rpartition('.')[2]))
  assert line in command._unknown(error, argv)


@pytest.mark.parametrize(
  ('flag', 'line'),
  [
    ('--recipe=dapo', 'the recipe dapo is --config=default:dapo'),
    ('--recipe=gpro', "--config=default:NAME. Did you mean 'grpo'?"),
    ('--recipe=mine', '--config=default:NAME. Its names are in PAPERS.md'),
    ('--steps=3', 'Did you mean --config.steps?'),
    ('--blah', 'unknown flag --blah; --help lists them'),
  ],
)
def test_a_setting_without_its_prefix_is_told_how(flag, line, monkeypatch):
  monkeypatch.setattr(command, '_default_config', default.__file__)
  argv = ['train', f'--config={default.__file__}', flag]
  name = flag[2:].partition('=')[0]
  error = command.flags.UnrecognizedFlagError(name)
  assert line in command._unknown(error, argv)


def test_a_recipe_in_the_place_of_a_config_file_is_told_how(monkeypatch):
  monkeypatch.setattr(command, '_default_config', default.__file__)
  with pytest.raises(command.Refused, match="at 'dapo'; the recipe dapo is "):
    command._check_files(['train', '--config=dapo'])


def test_settings_may_stand_before_their_file():
  words = ['train', '--config.steps=7', '--quiet', '--config=mine.py']
  assert command._file_first(words) == [words[i] for i in (0, 3, 1, 2)]


def test_folders_are_split_at_commas_that_are_in_no_name(tmp_path):
  named = tmp_path / 'a,b'
  named.mkdir()
  assert command.folders([str(named), 'c,d']) == [str(named), 'c', 'd']
  assert command.folders([f'{named},c']) == [*str(named).split(','), 'c']


def test_a_bucket_is_no_folder():
  with pytest.raises(command.Refused, match='gs://b/run is no folder.* mount'):
    command.folder('workdir', 'gs://b/run')


def _help(*flags):
  words = [sys.executable, '-m', 'experiments.train', *flags, '--help']
  return subprocess.run(
    words, cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout


def test_help_shows_the_values_in_force_of_the_problem_at_hand():
  shown = _help(
    '--config=experiments/configs/control.py:grpo', '--config.steps=7'
  )
  assert 'values of experiments/configs/control.py:grpo' in shown
  assert re.search(r'^  steps +\[7\] iterations', shown, re.M)
  assert re.search(r'^  policy.widths +\[.*\] hidden layers', shown, re.M)
  assert re.search(r'^  recipe.clip_high +\[0.2\] half-widths', shown, re.M)
  assert not re.search(r'^  data.path ', shown, re.M)


def test_help_comes_where_the_settings_are_wrong():
  shown = _help('--config=absent.py')
  assert re.search(r'^  steps +\[100\] iterations', shown, re.M)


def test_a_config_of_ours_is_found_by_its_name(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert command._found('--config=preference:dpo').endswith(
    'experiments/configs/preference.py:dpo'
  )
  for word in ('--config=mine.py', '--config=mine', '--config.steps=3'):
    assert command._found(word) == word
  (tmp_path / 'sft').touch()  # What is there is meant.
  assert command._found('--config=sft') == '--config=sft'


@pytest.mark.parametrize('mine', [True, False])
def test_a_second_start_compiles_nothing_wherever_programs_are_kept(
  mine, tmp_path
):
  code = (
    'import sys, pathlib; from experiments import command; '
    'command.use_compilation_cache(pathlib.Path(sys.argv[1])); '
    'from jaxrl_llm.training import programs; programs.count(); '
    'import jax; jax.jit(lambda x: x + 1)(1.0); '
    'print(programs.count().compiled)'
  )
  # What tests themselves say of it is what is being asked for here.
  kept = {k: v for k, v in os.environ.items() if 'CACHE' not in k}
  if mine:
    kept |= {'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'mine')}
  starts = [
    subprocess.run(
      [sys.executable, '-c', code, str(tmp_path)],
      env=kept,
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    for _ in range(2)
  ]
  assert [int(x) > 0 for x in starts] == [True, False]
  assert any((tmp_path / ('mine' if mine else '.compiled')).iterdir())


def test_checkpoints_where_nothing_can_be_made_are_refused(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(command.Refused, match=r'file/x \(Not a dir.*another'):
    start.make(str(tmp_path / 'file' / 'x'))
  start.make('gs://bucket/path')
  start.make(str(tmp_path / 'a' / 'b'))
  assert (tmp_path / 'a' / 'b').is_dir()


def test_checkpoints_elsewhere_are_those_of_one_run(tmp_path, monkeypatch):
  run, other = tmp_path / 'run', tmp_path / 'other'

  def at(value):
    return start.place_of(run, value)

  assert at('') == str(run / 'checkpoints')
  assert at(str(other)) == str(other)
  with pytest.raises(
    command.Refused, match='s3://b/c: of buckets those of gs:'
  ):
    at('s3://b/c')
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(command.Refused, match='pip install gcsfs'):
    at('gs://b/c')
  (other / '12').mkdir(parents=True)
  with pytest.raises(command.Refused, match='has those of another run'):
    at(str(other))
  run.mkdir()
  record = {'config': {}, 'checkpoints': str(other)}
  (run / 'config.json').write_text(json.dumps(record))
  assert at('') == at(str(other)) == str(other)
  with pytest.raises(
    command.Refused, match=f'keeps its checkpoints in {other}'
  ):
    at(str(tmp_path / 'third'))
  start.clear(run)
  assert other.exists() and not any(other.iterdir())


def test_a_misspelt_config_is_told_the_nearest():
  with pytest.raises(command.Refused, match="'contrl', nor .*mean 'control'?"):
    command._check_files(['train', '--config=contrl'])
  with pytest.raises(command.Refused, match="Known: .'agent', 'control', 'de"):
    command._check_files(['train', '--config=xyzzy'])
  with pytest.raises(command.Refused, match="at 'a/nosuch.py'$"):
    command._check_files(['train', '--config=a/nosuch.py'])
