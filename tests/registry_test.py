import ast
import functools
import inspect
import textwrap

import pytest

from jaxrl_llm import compose, recipe, recipes, registry
from jaxrl_llm.catalogue import compositions, descriptions, meanings
from jaxrl_llm.objectives import base


def test_entry_tells_its_defaults_and_summary():
  entry = recipes.get('grpo')
  assert entry.defaults['kl_weight'] == 0.04
  assert entry.summary.startswith('Rewards normalised')


def test_entry_without_a_docstring_has_nothing_to_say():
  def bare():
    return recipe.Recipe()

  entry = registry.Entry('bare', bare, registry.Paper('p'))
  assert (entry.summary, entry.deviates) == ('', '')


def test_deviations_are_the_paragraph_that_begins_with_the_word():
  def differs():
    """A method.

    More of it.

    Deviates: the first thing,
    over two lines. The second.

    Not this.
    """

  def follows():
    """A method that deviates nowhere."""

  paper = registry.Paper('A paper')
  entries = [
    registry.Entry('name', factory, paper) for factory in (differs, follows)
  ]
  assert entries[0].deviates == 'the first thing, over two lines. The second.'
  assert entries[1].deviates == ''


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


def test_a_cell_of_a_notebook_may_be_edited_and_run_again(monkeypatch):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  for number in (1, 2):
    source = (
      'from jaxrl_llm.recipe import Recipe\n'
      'from jaxrl_llm.registry import Paper, register\n'
      "@register(Paper('Mine'))\n"
      f'def of_a_cell():\n  return Recipe(minibatches={number})\n'
    )
    exec(compile(source, f'<cell {number}>', 'exec'), {'__name__': '__main__'})
    assert recipes.build('of_a_cell').minibatches == number
  with pytest.raises(ValueError, match='registered twice'):
    exec(source.replace('of_a_cell', 'grpo'), {'__name__': '__main__'})


class Halved:
  """The ratio's gradient at half the advantage, as an object that is called."""

  def __call__(self, logp, old_logp, advantages, mask, *, share=0.5):
    del mask
    return -share * (logp - old_logp) * advantages


@pytest.mark.parametrize('module', [None, '__main__', 'a_file_that_was_run'])
@pytest.mark.parametrize(
  'surrogate',
  [
    Halved(),
    functools.partial(Halved(), share=0.25),
    lambda logp, old_logp, advantages, mask: -(logp - old_logp) * advantages,
  ],
  ids=['object', 'partial', 'lambda'],
)
def test_a_recipe_of_no_module_is_told_like_any_other(
  surrogate, module, monkeypatch
):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))

  def of_nowhere(*, minibatches: int = 2) -> recipe.Recipe:
    """One of my own."""
    return recipe.Recipe(
      objective=base.policy_gradient(surrogate, own=base.Cost(surrogate, 1.0)),
      minibatches=minibatches,
    )

  of_nowhere.__module__ = module
  registry.register(registry.Paper('Mine'))(of_nowhere)
  entry = recipes.get('of_nowhere')
  assert entry.joints == ('surrogate', 'cost')
  told = descriptions.description('of_nowhere')
  assert 'Halved' in told or '<lambda>' in told
  assert '  of_nowhere  One of my own.' in descriptions.overview()
  assert descriptions.search(['nowhere', 'mine']).startswith('  of_nowhere')
  assert meanings.meanings(entry)['minibatches'] == 'optimizer steps of a pass.'
  built = recipes.build('of_nowhere')
  other = compose.compose(
    recipes.build('grpo', minibatches=2), surrogate='clip'
  )
  assert 'objective.surrogate' in recipe.diff(built, other)
  assert compose.same_as(built) == ['of_nowhere']
  assert 'the same slots' in compositions.composition('of_nowhere', {})
