import ast
import inspect
import textwrap

import pytest

from jaxrl_llm import recipe, recipes, registry


def test_entry_tells_its_defaults_and_summary():
  entry = recipes.get('grpo')
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
    assert factory.__name__ not in recipes.names()


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
  entry = recipes.get(name)
  assert (entry.base, entry.joints) == (base, joints)


def test_every_entry_is_a_recipe_written_out():
  """Not another one with changes: what it is made of stands in its place."""
  for name in recipes.names():
    source = textwrap.dedent(inspect.getsource(recipes.get(name).factory))
    *_, last = ast.parse(source).body[0].body
    assert ast.unparse(last).startswith('return Recipe('), name


def test_entries_state_what_differs_in_few_lines():
  """Their bodies: half in 10 lines, nine of ten in 15, all in 25."""
  found = []
  for name in recipes.names():
    source = textwrap.dedent(inspect.getsource(recipes.get(name).factory))
    function = ast.parse(source).body[0]
    body = function.body[bool(ast.get_docstring(function)) :]
    found.append(body[-1].end_lineno - body[0].lineno + 1)
  found.sort()
  deciles = [found[int(share * len(found))] for share in (0.5, 0.9)]
  assert deciles[0] <= 10 and deciles[1] <= 15 and found[-1] <= 25


def test_a_file_that_is_executed_twice_registers_its_recipe_once(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
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
