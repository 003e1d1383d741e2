"""Mistakes in settings end in one line that names the value and the remedy."""

import pathlib
import re

import pytest

from experiments.command import Refused
from experiments.configs import default, masked, model
from experiments.settings import check_overrides, check_values
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm import recipes

INF = float('inf')
OVERRIDDEN = 'experiments.settings.overridden'
MISTAKES = pathlib.Path(__file__).parents[2] / 'docs' / 'mistakes.md'


@pytest.mark.parametrize('module', [default, model])
@pytest.mark.parametrize('name', recipes.names())
def test_a_run_splits_the_rows_of_every_recipe(name, module):
  config, built = module.get_config(name), recipes.build(name)
  recipe_lib.check(
    built,
    rows=config.sample.prompts * built.plan.contract.samples,
    microbatches=config.learn.microbatches,
  )


def changed(**settings):
  config = default.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(
      {name.replace('__', '.'): value for name, value in settings.items()}
    )
  return config


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'steps': 0}, 'steps is 0; use 1 or more, or data.epochs'),
    ({'data__epochs': 2.0}, 'steps=60 and data.epochs=2 both say how long'),
    ({'steps': 0, 'data__epochs': -1.0}, 'data.epochs is -1.0; use 0.0 or'),
    ({'sample__prompts': 0}, 'sample.prompts is 0; use 1 or more'),
    ({'sample__max_response': -1}, 'sample.max_response is -1'),
    ({'learn__microbatches': 0}, 'learn.microbatches is 0; use 1 or more'),
    ({'optimizer__learning_rate': -1.0}, 'optimizer.learning_rate is -1.0'),
    ({'optimizer__clip_norm': float('nan')}, 'optimizer.clip_norm is nan'),
    ({'checkpoint__every': 0}, 'checkpoint.every is 0; use 1 or more'),
    ({'recipe__samples': 0}, 'recipe.samples is 0; use 1 or more'),
    ({'model__lora_rank': -1}, 'model.lora_rank is -1; use 0 or more'),
    ({'model__dtype': 'float8'}, "model.dtype 'float8' is none of float32"),
    ({'mesh__data': 0}, 'mesh.data is 0; use 1 or more, or -1'),
    ({'model__fresh__width': 30}, 'use a multiple of 8'),
    ({'sample__slots': -1}, 'sample.slots is -1; use 0 or more'),
    ({'learn__widths': 0}, 'learn.widths is 0; use 1 or more'),
    ({'optimizer__clip_norm': 0.0}, 'use more than 0, or inf to clip none'),
    ({'optimizer__learning_rate': INF}, 'learning_rate is inf; use a finite'),
    (
      {'optimizer__learning_rate': 0.0},
      'is 0.0, with which nothing is trained',
    ),
    ({'warm_start__learning_rate': INF}, 'warm_start.learning_rate is inf'),
    ({'optimizer__b1': 1.5}, 'b1 is 1.5; use 0 or more, and less than 1'),
    ({'optimizer__b2': -0.1}, 'optimizer.b2 is -0.1'),
    ({'optimizer__warmup': -1}, 'optimizer.warmup is -1'),
    ({'sample__top_p': float('nan')}, 'sample.top_p is nan; use a number'),
    ({'recipe__clip_low': -0.2}, 'recipe.clip_low is -0.2; use 0 or more'),
    ({'recipe__kl_weight': -0.1}, 'recipe.kl_weight is -0.1; use 0 or more'),
    ({'verify__names': (3,)}, 'verify.names has 3 in it, which is no text'),
    ({'eval__top_p': 1.5}, 'eval.top_p is 1.5; use 0 for that of training'),
    ({'eval__temperature': -1.0}, 'eval.temperature is -1.0; use 0.0 or more'),
    ({'eval__temperature': INF}, 'eval.temperature is inf; use 0 for that'),
    ({'eval__sets': (3,)}, 'eval.sets has 3 in it, which is no text'),
    ({'max_idle_steps': -1}, 'max_idle_steps is -1; use 0 or more'),
    ({'model__block': 9, 'mesh__model': 2}, 'mesh.model=2 already splits'),
  ],
)
def test_a_value_that_means_nothing_is_refused(settings, words):
  with pytest.raises(Refused) as refused:
    check_values(changed(**settings))
  assert words in str(refused.value)


def test_a_decoder_of_other_problems_needs_even_heads_too():
  config = masked.get_config()
  with config.unlocked():
    config.policy.width = 10
  with pytest.raises(Refused, match='policy.width=10 does not give 4 heads'):
    check_values(config)


def test_what_gains_nothing_is_refused_before_a_run_begins():
  config = masked.get_config()
  with config.unlocked():
    config.pipeline = 1
  with pytest.raises(Refused, match='pipeline=1 would gain nothing'):
    check_values(config)


def test_defaults_and_extremes_that_mean_something_pass():
  check_values(default.get_config('ppo'))
  check_values(changed(optimizer__clip_norm=float('inf'), mesh__data=-1))


@pytest.mark.parametrize(
  ('name', 'settings', 'why'),
  [
    ('model.fresh.width', {'model__path': 'folder'}, 'model.path is given'),
    ('model.chunk', {'model__block': 512}, 'model.block is given'),
    ('model.lora_alpha', {}, 'model.lora_rank is 0'),
    ('warm_start.batch', {'warm_start__steps': 0}, 'warm_start.steps is 0'),
    ('eval.samples', {'eval__every': 0}, 'eval.every is 0'),
    ('eval.sets', {'eval__every': 0}, 'eval.every is 0'),
    ('data.level', {'data__path': 'x.jsonl'}, 'data.path is a file'),
    ('optimizer.norms', {}, 'optimizer.schedule is not refined'),
    ('optimizer.b1', {'optimizer__name': 'adafactor'}, 'does not read it'),
    ('optimizer.moment_dtype', {'optimizer__name': 'sgd'}, 'does not read it'),
    ('data.size', {'data__path': 'x.jsonl'}, 'data.path is a file'),
    ('data.prompt_field', {}, 'data.path is a generated task'),
    ('data.answer_field', {}, 'data.path is a generated task'),
    ('data.held_out', {'data__held_out_path': 'x.jsonl'}, 'held_out_path'),
    ('verify.seconds', {}, 'these verifiers need no process'),
    (
      'environment_seconds',
      {'environment': 'jaxrl_llm.tasks.toolboxes:Python'},
      'a Toolbox has tools.seconds',
    ),
    (
      'model.replay_routes',
      {'program': 'package.module:function'},
      'kept without their experts',
    ),
  ],
)
def test_a_flag_without_effect_is_refused(monkeypatch, name, settings, why):
  monkeypatch.setattr(OVERRIDDEN, lambda: {name: 0})
  with pytest.raises(Refused) as refused:
    check_overrides(changed(**settings))
  assert f'--config.{name} would do nothing: ' in str(refused.value)
  assert why in str(refused.value)


def test_a_flag_with_effect_passes(monkeypatch):
  monkeypatch.setattr(OVERRIDDEN, lambda: {'warm_start.steps': 0})
  check_overrides(changed(warm_start__steps=0))
  names = ('data.size', 'data.level', 'model.fresh.width', 'steps')
  monkeypatch.setattr(OVERRIDDEN, lambda: dict.fromkeys(names, 1))
  check_overrides(changed())
  files = ('data.prompt_field', 'verify.seconds')
  monkeypatch.setattr(OVERRIDDEN, lambda: dict.fromkeys(files, 1))
  check_overrides(changed(data__path='x.jsonl', verify__names=('math',)))


def test_evaluation_is_asked_for_by_its_command(monkeypatch):
  monkeypatch.setattr(OVERRIDDEN, lambda: {'eval.prompts': 64})
  check_overrides(changed(eval__every=0), evaluation=True)
  monkeypatch.setattr(OVERRIDDEN, lambda: {'eval.samples': 64})
  with pytest.raises(Refused, match='nothing is trained'):
    check_overrides(changed(), evaluation=True)


def test_evaluation_refuses_what_only_training_reads(monkeypatch):
  monkeypatch.setattr(OVERRIDDEN, lambda: {'steps': 1})
  with pytest.raises(Refused, match='nothing is trained'):
    check_overrides(changed(), evaluation=True)


@pytest.mark.parametrize(
  ('recipe', 'setting', 'more', 'inert'),
  [
    ('dapo', {'clip_high': 0.24}, {'minibatches': 1}, True),
    ('dapo', {'clip_high': 0.24}, {}, False),
    ('dapo', {'epsilon': 0.1}, {}, False),
    ('grpo', {'kl_weight': 0.1}, {}, False),
    ('cispo', {'clip_high': 0.5}, {'minibatches': 1}, True),
    ('asymmetric_reinforce', {'shift': 0.3}, {}, False),
  ],
)
def test_a_clip_that_clips_nothing_is_refused(
  recipe, setting, more, inert, monkeypatch
):
  config = default.get_config(recipe)
  for name, value in (setting | more).items():
    if name not in config.recipe:
      pytest.fail(f'{recipe} has {list(config.recipe)}')
    config.recipe[name] = value
  monkeypatch.setattr(OVERRIDDEN, lambda: {f'recipe.{k}': 0 for k in setting})
  if inert:
    with pytest.raises(Refused, match='do nothing: with one optimizer step'):
      check_overrides(config)
  else:
    check_overrides(config)


def given(monkeypatch, recipe='grpo', **settings):
  """The config of a command line, which the checks see."""
  config = default.get_config(recipe)
  settings = {name.replace('__', '.'): x for name, x in settings.items()}
  config.update_from_flattened_dict(settings)
  monkeypatch.setattr(OVERRIDDEN, lambda: settings)
  return config


def test_numbers_that_go_together_alone_may_be_given(monkeypatch):
  """Without one of them the recipe would refuse the other."""
  settings = {'recipe__samples': 4, 'recipe__first': 2}
  check_overrides(given(monkeypatch, 'arpo', **settings))


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    (
      {'slots__surrogate': 'gspo'},
      'surrogate=gspo would do nothing: with',
    ),
    ({'slots__gate': 'two_side'}, 'slots.gate=two_side would do nothing: with'),
    (
      {
        'recipe__clip_low': 0.3,
        'recipe__minibatches': 4,
        'slots__surrogate': 'gspo',
      },
      'recipe.clip_low=0.3 would do nothing: the part that it belongs to',
    ),
    (
      {'recipe__kl_weight': 0.1, 'slots__costs': 'k2:0.1'},
      'recipe.kl_weight=0.1 would do nothing: the part',
    ),
  ],
)
def test_a_slot_without_effect_is_refused(settings, words, monkeypatch):
  with pytest.raises(Refused) as refused:
    check_overrides(given(monkeypatch, **settings))
  assert words in str(refused.value)


def test_a_slot_with_effect_passes(monkeypatch):
  for settings in (
    {'slots__surrogate': 'gspo', 'recipe__minibatches': 4},
    {'slots__costs': 'none', 'recipe__clip_low': 0.2},
    {'slots__advantage': 'centre', 'slots__aggregate': 'token_mean'},
    {'slots__surrogate': 'elastic_clip', 'recipe__samples': 4},
  ):
    check_overrides(given(monkeypatch, **settings))
  reads = {'recipe__samples': 8, 'slots__advantage': 'norm'}
  check_overrides(given(monkeypatch, 'reinforce', **reads))


def test_a_slot_that_cannot_work_is_told(monkeypatch):
  with pytest.raises(ValueError, match="Did you mean 'gspo'"):
    check_overrides(given(monkeypatch, slots__surrogate='gpso'))


def test_settings_of_the_page_of_mistakes_come_back_as_it_says():
  setting = r'`--config\.((?:recipe\.\w+_|optimizer\.)\w+)=(\S+)`'
  row = rf'^\| {setting}.*\| 1 \| (.*) \|$'
  told = re.findall(row, MISTAKES.read_text(), re.MULTILINE)
  assert len(told) == 5
  for name, value, said in told:
    with pytest.raises(Refused) as refused:
      check_values(changed(**{name: float(value)}))
    assert str(refused.value) == said
