import ast
import dataclasses
import inspect
import textwrap
from functools import partial

import pytest

from jaxrl_llm import credit, recipe
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import grouped, preference, surrogates
from jaxrl_llm.objectives.base import PolicyGradient
from jaxrl_llm.plans import budgeted, episodes, sampled, wordings
from jaxrl_llm.reads import reads


def test_unknown_recipe_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'grpo'"):
    recipe.get('grpoo')


def test_recipe_unlike_any_other_lists_the_known():
  with pytest.raises(KeyError, match="Known: .*'reinforce'"):
    recipe.get('zzzzzzzz')


def test_unknown_hyper_parameter_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'clip_high'"):
    recipe.build('grpo', clip_hihg=0.3)


def test_build_sets_hyper_parameters():
  built = recipe.build('grpo', samples=3, clip_high=0.5)
  assert built.plan.contract.samples == 3
  assert built.objective.surrogate.keywords['high'] == 0.5


def test_entry_tells_its_defaults_and_summary():
  entry = recipe.get('grpo')
  assert entry.defaults['kl_weight'] == 0.04
  assert entry.summary.startswith('Rewards normalised')


def test_entry_without_a_docstring_has_nothing_to_say():
  def bare():
    return recipe.Recipe()

  entry = recipe.Entry('bare', bare, recipe.Paper('p'))
  assert (entry.summary, entry.deviates) == ('', '')


def test_registering_twice_is_refused():
  def grpo():
    """Another."""

  with pytest.raises(ValueError, match='twice'):
    recipe.register(recipe.Paper('p'))(grpo)


def test_hyper_parameters_must_be_keyword_only_and_plain():
  def positional(samples: int = 8):
    """Not keyword-only."""

  def mutable(*, names=None):
    """None accepts any type."""

  for factory in (positional, mutable):
    with pytest.raises(TypeError, match='keyword-only with a plain default'):
      recipe.register(recipe.Paper('p'))(factory)
    assert factory.__name__ not in recipe.names()


def test_equal_recipes_compare_equal_and_describe_alike():
  first, second = recipe.build('dr_grpo'), recipe.build('dr_grpo')
  assert recipe.describe(first) == recipe.describe(second)
  assert recipe.diff(first, second) == {}


def test_diff_shows_exactly_what_changed():
  first = recipe.build('grpo')
  changed = recipe.diff(first, recipe.build('grpo', epsilon=0.5, samples=2))
  assert changed == {
    'credit.epsilon': ('1e-06', '0.5'),
    'plan.samples': ('8', '2'),
  }
  dropped = recipe.diff(first, recipe.build('grpo', kl_weight=0.0))
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
  slots = recipe.describe(recipe.build('dno', samples=3))
  assert slots['credit'] == 'duels: duels.against_others'
  assert slots['credit.samples'] == '3'


@pytest.mark.parametrize(
  ('name', 'base', 'joints'),
  [
    ('reinforce', '', ()),
    ('ppo', 'reinforce', ('advantage', 'surrogate', 'aggregate', 'critic')),
    ('grpo', 'reinforce', ('advantage', 'surrogate', 'cost', 'aggregate')),
    ('dpo', 'reinforce', ('selection', 'loss')),
    ('gspo', 'grpo', ('surrogate',)),
    ('dapo', 'grpo', ('plan', 'reward', 'selection', 'aggregate')),
    ('clip_cov', 'grpo', ('gate', 'aggregate')),
    ('dump', 'grpo', ('curriculum',)),
    ('maxmin_rlhf', 'grpo', ('reward',)),
    ('capo', 'grpo', ('selection',)),
    ('gdpo', 'grpo', ('reward', 'advantage')),
    ('two_hot_critic', 'ppo', ('critic',)),
    ('trajectory_balance', 'reinforce', ('loss', 'critic')),
    ('nash_self_play', 'reinforce', ('reward', 'advantage')),
    ('accelerated_dpo', 'dpo', ('loss', 'reference')),
    ('reward_model', 'dpo', ('critic', 'reward model')),
    ('cdpo', 'dpo', ()),
  ],
)
def test_joints_are_where_functions_differ_from_the_nearest_base(
  name, base, joints
):
  entry = recipe.get(name)
  assert (entry.base, entry.joints) == (base, joints)


def test_update_rules_count_and_numbers_do_not():
  assert 'update' in recipe.get('trpo').joints
  first, other = recipe.build('grpo'), recipe.build('grpo', clip_high=0.5)
  assert recipe.functions(first) == recipe.functions(other)


def test_a_function_of_ones_own_counts_where_it_stands():
  built = recipe.Recipe(
    objective=PolicyGradient(hinted), aggregate=hinted, combine=hinted
  )
  added = recipe.functions(built) - recipe.functions(recipe.Recipe())
  joints = ('surrogate', 'aggregate', 'reward')
  assert added == {(joint, 'recipe_test.hinted') for joint in joints}


def test_every_entry_is_a_recipe_written_out():
  """Not another one with changes: what it is made of stands in its place."""
  for name in recipe.names():
    source = textwrap.dedent(inspect.getsource(recipe.get(name).factory))
    *_, last = ast.parse(source).body[0].body
    assert ast.unparse(last).startswith('return Recipe('), name


@pytest.mark.parametrize('name', recipe.names())
def test_no_slot_holds_an_anonymous_closure(name):
  for slot, value in recipe.describe(recipe.build(name)).items():
    assert '<lambda>' not in value and '<locals>' not in value, slot


def test_split_that_cuts_groups_is_refused_with_the_numbers():
  built = recipe.build('grpo', samples=4, minibatches=4)
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


def test_extras_that_no_plan_provides_are_refused():
  built = recipe.Recipe(credit=credit.shape(hinted))
  assert built.needs == {'answer'}
  with pytest.raises(ValueError, match="needs \\['answer'\\]"):
    recipe.check(built, rows=8, microbatches=1)


def test_a_file_that_is_executed_twice_registers_its_recipe_once(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(recipe, '_ENTRIES', dict(recipe._ENTRIES))
  source = (
    'from jaxrl_llm.recipe import Paper, Recipe, register\n'
    "@register(Paper('Mine'))\n"
    'def of_a_file():\n  return Recipe()\n'
  )
  for path in ('mine.py', 'mine.py', 'other.py'):
    code = compile(source, str(tmp_path / path), 'exec')
    if path == 'other.py':
      with pytest.raises(ValueError, match='registered twice'):
        exec(code, {})
    else:
      exec(code, {})


@pytest.mark.parametrize('name', ['grpo', 'rloo', 'dapo'])
def test_a_comparison_of_single_responses_is_refused(name):
  built = recipe.build(name, samples=1)
  with pytest.raises(ValueError, match='samples is 1, .* use 2 or more'):
    recipe.check(built, rows=32, microbatches=1)


def test_single_responses_that_are_not_compared_are_fine():
  for name in ('reinforce', 'kto', 'ppo'):
    built = recipe.build(name, samples=1)
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


@pytest.mark.parametrize('name', recipe.names())
def test_only_plans_of_several_prompts_a_group_read_each_row_alone(name):
  plan = recipe.build(name).plan
  innermost = getattr(plan, 'plan', plan)
  several = isinstance(
    innermost, budgeted.Budgeted | episodes.Steps | wordings.Variants
  )
  assert plan.contract.one_prompt != several
