import ast
import inspect
import textwrap

import pytest

from jaxrl_llm import recipe, registry


def test_unknown_recipe_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'grpo'"):
    registry.get('grpoo')


def test_recipe_unlike_any_other_lists_the_known():
  with pytest.raises(KeyError, match="Known: .*'reinforce'"):
    registry.get('zzzzzzzz')


def test_unknown_hyper_parameter_suggests_a_near_one():
  with pytest.raises(KeyError, match="Did you mean 'clip_high'"):
    registry.build('grpo', clip_hihg=0.3)


def test_build_sets_hyper_parameters():
  built = registry.build('grpo', samples=3, clip_high=0.5)
  assert built.plan.contract.samples == 3
  assert built.objective.surrogate.keywords['high'] == 0.5


def test_entry_tells_its_defaults_and_summary():
  entry = registry.get('grpo')
  assert entry.defaults['kl_weight'] == 0.04
  assert entry.summary.startswith('Rewards normalised')


def test_entry_without_a_docstring_has_nothing_to_say():
  def bare():
    return recipe.Recipe()

  entry = registry.Entry('bare', bare, registry.Paper('p'))
  assert (entry.summary, entry.deviates) == ('', '')


def test_registering_twice_is_refused():
  def grpo():
    """Another."""

  with pytest.raises(ValueError, match='twice'):
    registry.register(registry.Paper('p'))(grpo)


def test_hyper_parameters_must_be_keyword_only_and_plain():
  def positional(samples: int = 8):
    """Not keyword-only."""

  def mutable(*, names=None):
    """None accepts any type."""

  for factory in (positional, mutable):
    with pytest.raises(TypeError, match='keyword-only with a plain default'):
      registry.register(registry.Paper('p'))(factory)
    assert factory.__name__ not in registry.names()


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
  entry = registry.get(name)
  assert (entry.base, entry.joints) == (base, joints)


def test_every_entry_is_a_recipe_written_out():
  """Not another one with changes: what it is made of stands in its place."""
  for name in registry.names():
    source = textwrap.dedent(inspect.getsource(registry.get(name).factory))
    *_, last = ast.parse(source).body[0].body
    assert ast.unparse(last).startswith('return Recipe('), name


def test_a_file_that_is_executed_twice_registers_its_recipe_once(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(registry, '_ENTRIES', dict(registry._ENTRIES))
  source = (
    'from jaxrl_llm.recipe import Recipe\n'
    'from jaxrl_llm.registry import Paper, register\n'
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
