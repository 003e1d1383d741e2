import dataclasses
from functools import partial

import pytest

from jaxrl_llm import credit, recipe, recipes
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import grouped, preference, surrogates
from jaxrl_llm.objectives.base import PolicyGradient
from jaxrl_llm.plans import (
  budgeted,
  by_turn,
  choices,
  proposed,
  recorded_beside,
  retried,
  sampled,
  variants,
)
from jaxrl_llm.reads import reads


def test_equal_recipes_compare_equal_and_describe_alike():
  first, second = recipes.build('dr_grpo'), recipes.build('dr_grpo')
  assert recipe.describe(first) == recipe.describe(second)
  assert recipe.diff(first, second) == {}


def test_diff_shows_exactly_what_changed():
  first = recipes.build('grpo')
  changed = recipe.diff(first, recipes.build('grpo', epsilon=0.5, samples=2))
  assert changed == {
    'credit.epsilon': ('1e-06', '0.5'),
    'plan.samples': ('8', '2'),
  }
  dropped = recipe.diff(first, recipes.build('grpo', kl_weight=0.0))
  assert dropped['objective.costs.kl'] == ('Cost', '')


def test_describe_names_functions_stages_and_values():
  slots = recipe.describe(
    recipe.Recipe(
      credit=credit.chain(credit.estimate(group.norm, epsilon=0.5)),
      objective=PolicyGradient(partial(surrogates.clip, low=0.1)),
    )
  )
  assert slots['credit.stages.0'] == 'estimate: group.norm'
  assert slots['credit.stages.0.epsilon'] == '0.5'
  assert slots['objective.surrogate'] == 'surrogates.clip'
  assert slots['objective.surrogate.low'] == '0.1'


def test_describe_tells_what_a_stage_holds_beside_its_function():
  slots = recipe.describe(recipes.build('dno', samples=3))
  assert slots['credit'] == 'duels: duels.against_others'
  assert slots['credit.samples'] == '3'


def test_update_rules_count_and_numbers_do_not():
  assert 'update' in recipes.get('trpo').joints
  first, other = recipes.build('grpo'), recipes.build('grpo', clip_high=0.5)
  assert recipe.functions(first).keys() == recipe.functions(other).keys()


def test_a_function_of_ones_own_counts_where_it_stands():
  built = recipe.Recipe(
    objective=PolicyGradient(hinted), aggregate=hinted, combine=hinted
  )
  plain = recipe.functions(recipe.Recipe()).keys()
  added = recipe.functions(built).keys() - plain
  joints = ('surrogate', 'aggregate', 'reward')
  assert added == {(joint, 'recipe_test.hinted') for joint in joints}


@pytest.mark.parametrize('name', recipes.names())
def test_no_slot_holds_an_anonymous_closure(name):
  for slot, value in recipe.describe(recipes.build(name)).items():
    assert '<lambda>' not in value and '<locals>' not in value, slot
    # An address says nothing, and is another in every run.
    assert ' at 0x' not in value, slot


def test_split_that_cuts_groups_is_refused_with_the_numbers():
  built = recipes.build('grpo', samples=4, minibatches=4)
  with pytest.raises(ValueError, match='6 groups .* 4 minibatches; use 3 or 6'):
    recipe.check(built, rows=24, microbatches=1)


@dataclasses.dataclass(frozen=True)
class Grouped(PolicyGradient):
  """An objective that couples groups."""

  block = 4


def test_split_that_cuts_blocks_is_refused_with_the_numbers():
  built = recipe.Recipe(
    plan=sampled.independent(samples=4),
    objective=Grouped(surrogates.score_function),
  )
  recipe.check(built, rows=16, microbatches=4)
  message = '16 rows in 8 microbatches break blocks of 4; use 4'
  with pytest.raises(ValueError, match=message):
    recipe.check(built, rows=16, microbatches=8)


@reads('answer')
def hinted(rewards, rollouts):
  del rollouts
  return rewards


def test_what_a_combiner_reads_counts_like_what_a_stage_reads():
  assert recipe.Recipe(combine=hinted).needs == {'answer'}


def test_extras_that_no_plan_provides_are_refused():
  built = recipe.Recipe(credit=credit.shape(hinted))
  assert built.needs == {'answer'}
  with pytest.raises(ValueError, match="needs \\['answer'\\]"):
    recipe.check(built, rows=8, microbatches=1)


@pytest.mark.parametrize('name', ['grpo', 'rloo', 'dapo'])
def test_a_comparison_of_single_responses_is_refused(name):
  built = recipes.build(name, samples=1)
  with pytest.raises(ValueError, match='samples is 1, .* use 2 or more'):
    recipe.check(built, rows=32, microbatches=1)


def test_single_responses_that_are_not_compared_are_fine():
  for name in ('reinforce', 'kto', 'ppo'):
    built = recipes.build(name, samples=1)
    recipe.check(built, rows=32, microbatches=1)


@pytest.mark.parametrize(('made', 'compared'), [(8, 2), (2, 8)])
def test_groups_of_another_size_than_the_plan_makes_are_refused(made, compared):
  method = recipe.Recipe(
    plan=sampled.independent(samples=made),
    objective=grouped.pair_losses(
      partial(preference.logistic, weight=0.1),
      grouped.to_reference,
      samples=compared,
    ),
  )
  with pytest.raises(ValueError, match=f'of {compared} rows.*groups of {made}'):
    recipe.check(method, rows=16, microbatches=1)


@pytest.mark.parametrize('name', recipes.names())
def test_only_plans_of_several_prompts_a_group_read_each_row_alone(name):
  plan = recipes.build(name).plan
  innermost = getattr(plan, 'plan', plan)
  several = isinstance(
    innermost,
    budgeted.Budgeted | by_turn.Steps | proposed.Proposed | variants.Variants,
  )
  if isinstance(plan, retried.Retried):
    several = plan.take is choices.best_success
  # Half of a group is rated by itself.
  several |= isinstance(
    plan, recorded_beside.BesideOwn | recorded_beside.BesideReference
  )
  assert plan.contract.one_prompt != several
