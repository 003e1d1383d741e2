"""Presets are the settings of other trainers, and nothing but settings."""

import dataclasses
import functools

import pytest

from experiments.configs import default, preference
from jaxrl_llm import compose, presets, recipes
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.catalogue import command
from tests.oracles import presets as oracle
from tests.recipes import cases, comparison

NAMES = list(presets.PRESETS)
each = pytest.mark.parametrize('name', NAMES)


@functools.cache
def small(name):
  """The recipe of a preset, with groups of 4 rows where it takes more."""
  samples = presets.build(name).plan.contract.samples
  return presets.build(name, samples=4 if samples > 4 else samples)


@each
def test_a_preset_is_what_the_trainer_does_by_default(name):
  """Advantages, token weights, loss and slopes, from its published numbers."""
  recipe = small(name)
  case = cases.case_of(recipe.plan.contract.samples)
  case = dataclasses.replace(case, ref_logp=case.past[0])
  answer = getattr(oracle, name)(case)
  wanted = comparison.Expected(
    comparison.arrays(answer, case),
    answer.loss(case.now),
    comparison.slopes(answer.loss, case),
  )
  found = comparison.Found(recipe, case)
  assert list(comparison.differences(wanted, found)) == []


@pytest.mark.parametrize(
  ('name', 'samples', 'epochs', 'minibatches'),
  [
    ('verl_grpo', 8, 1, 4),
    ('verl_rloo', 8, 1, 4),
    ('verl_ppo', 1, 1, 4),
    ('trl_grpo', 8, 1, 1),
    ('trl_rloo', 2, 1, 1),
    ('trl_ppo', 1, 4, 1),
    ('trl_dpo', 2, 1, 1),
    ('openrlhf_grpo', 8, 1, 8),
    ('openrlhf_ppo', 1, 1, 8),
    ('nemo_grpo', 16, 1, 1),
  ],
)
def test_rows_and_optimizer_steps_of_an_iteration(
  name, samples, epochs, minibatches
):
  recipe = presets.build(name)
  assert recipe.plan.contract.samples == samples
  assert (recipe.epochs, recipe.minibatches) == (epochs, minibatches)


@each
def test_every_value_and_every_slot_of_a_row_changes_the_recipe(name):
  preset = presets.PRESETS[name]
  whole = presets.build(name)
  for key in preset.values:
    fewer = {k: x for k, x in preset.values.items() if k != key}
    plain = recipes.build(preset.recipe, **fewer)
    other = compose.compose(plain, **preset.slots)
    assert recipe_lib.diff(whole, other), key
  for slot in preset.slots:
    fewer = {k: x for k, x in preset.slots.items() if k != slot}
    plain = recipes.build(preset.recipe, **preset.values)
    assert recipe_lib.diff(whole, compose.compose(plain, **fewer)), slot


def test_presets_and_recipes_have_names_of_their_own():
  assert not set(NAMES) & set(recipes.names())
  assert len(presets.names()) == len(NAMES) + len(recipes.names())


@each
def test_a_config_of_a_preset_makes_its_recipe(name):
  recorded = presets.PRESETS[name].recipe in ('dpo', 'kto')
  config = (preference if recorded else default).get_config(name)
  built = compose.from_config(config)
  assert not recipe_lib.diff(built, presets.build(name))
  assert config.recipe.name == presets.PRESETS[name].recipe


def test_a_value_of_a_preset_can_be_overridden():
  config = default.get_config('trl_grpo')
  config.recipe.epsilon, config.slots.gate = 1e-6, ''
  built = compose.from_config(config)
  plain = recipes.build('grpo', kl_weight=0.0)
  assert recipe_lib.diff(built, plain).keys() == {'aggregate'}


def test_an_unknown_name_suggests_a_preset():
  with pytest.raises(KeyError, match="Did you mean 'trl_grpo'"):
    presets.find('tlr_grpo')


@each
def test_a_preset_is_described_with_what_it_is_and_is_not(name, capsys):
  assert command.main([name]) == 0
  shown = ' '.join(capsys.readouterr().out.split())
  preset = presets.PRESETS[name]
  for part in (preset.of, preset.recipe, *preset.slots.values(), preset.apart):
    assert part in shown
  assert command.main(['search', *name.split('_')]) == 0
  assert name in capsys.readouterr().out


def test_a_preset_goes_on_to_be_changed_and_compared(capsys):
  assert command.main(['trl_grpo', 'gate=every_token', 'epsilon=1e-6']) == 0
  shown = capsys.readouterr().out
  assert '--config.slots.gate=every_token' in shown
  assert '--config.recipe.epsilon=1e-6' in shown
  assert command.main(['diff', 'verl_grpo', 'trinity_grpo']) == 0
  told = capsys.readouterr().out
  assert 'costs.k2' in told and 'aggregate' not in told
