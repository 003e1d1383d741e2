import pytest

from jaxrl_llm import recipes


def test_unknown_recipe_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'grpo'"):
    recipes.get('grpoo')


def test_recipe_unlike_any_other_lists_the_first_of_the_known():
  with pytest.raises(KeyError, match=r"Known: .*'aepo'.* and \d+ more"):
    recipes.get('zzzzzzzz')


def test_unknown_hyper_parameter_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'clip_high'"):
    recipes.build('grpo', clip_hihg=0.3)


def test_a_hyper_parameter_of_other_recipes_names_them():
  told = "'turns'. Known.*have it: .*gigpo, .*otc"
  with pytest.raises(KeyError, match=told):
    recipes.build('grpo', turns=4)


def test_build_sets_hyper_parameters():
  built = recipes.build('grpo', samples=3, clip_high=0.5)
  assert built.plan.contract.samples == 3
  assert built.objective.surrogate.keywords['high'] == 0.5
