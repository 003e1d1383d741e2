"""Values of hyper-parameters that mean something, and that do not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import ranges, recipes, registry

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
  ('name', 'values', 'said'),
  [
    ('adaptive_modes', {'names': (3,)}, 'use texts that are not empty'),
    ('agent_r', {'revisions': ('No. ', '')}, 'use texts that are not empty'),
    ('agent_r', {'turns': 0}, 'turns is 0; use a number in [1, inf)'),
    ('agent_r', {'explore': -1.0}, 'explore is -1.0; use a number in [0, inf)'),
    ('arpo_replay', {'capacity': -1}, 'capacity is -1; use a number in [1'),
    ('brpo', {'end': ''}, "end is ''; use a text that is not empty"),
    ('critique_grpo', {'gamma': 0.0}, 'gamma is 0.0; use a number in (0, inf)'),
    ('faker_air', {'temperature': NAN}, 'temperature is nan; use a number in'),
    ('fapo', {'penalty': -0.5}, 'penalty is -0.5; use a number in [0, inf)'),
    ('funrl', {'share': 0.0}, 'share is 0.0; use a number in (0, inf)'),
    ('gcpo', {'longest': 0}, 'longest is 0; use a number in [1, inf)'),
    ('ghpo', {'shares': ()}, 'shares is (); use numbers in (0, 1], each above'),
    ('ghpo', {'shares': (0.5, 0.25)}, 'each above the one before'),
    ('ghpo', {'shares': ('a',)}, "shares is ('a',); use numbers in (0, 1]"),
    ('ghpo', {'phrase': '{prompt}'}, "'{prompt}'; say in it where {hint} go"),
    ('hbpo', {'budgets': (-1, 2, 3, 4)}, 'use numbers in [1, inf), each'),
    ('history_aware', {'bound': 1.0}, 'bound is 1.0; use a number in [0, 1)'),
    ('hgpo_modes', {'kl_weight': INF}, 'kl_weight is inf; use a number in [0'),
    ('j1', {'orders': 0}, 'orders is 0; use a number in [1, inf)'),
    ('j1', {'share': 1.5}, 'share is 1.5; use a number in [0, 1]'),
    ('justifiable', {'scale': INF}, 'scale is inf; use a number in (0, inf)'),
    ('categorical_critic', {'bins': 1}, 'bins is 1; use a number in [2, inf)'),
    ('cdpo', {'smoothing': 0.5}, 'smoothing is 0.5; use a number in [0, 0.5)'),
    ('grpo', {'clip_low': -0.2}, 'clip_low is -0.2; use a number in [0, inf]'),
    ('grpo', {'epsilon': NAN}, 'epsilon is nan; use a number in [0, inf)'),
    ('grpo', {'minibatches': 0}, 'minibatches is 0; use a number in [1, inf)'),
    ('nlpo', {'kl_target': 0.0}, 'kl_target is 0.0; use a number in (0, inf)'),
    ('otc', {'budget': 0.0}, 'budget is 0.0; use a number in (0, inf]'),
    ('otc_ppo', {'budget': -1.0}, 'budget is -1.0; use a number in (0, inf]'),
    ('ppo', {'discount': 1.01}, 'discount is 1.01; use a number in [0, 1]'),
    ('text2grad', {'kl_target': -3.0}, 'kl_target is -3.0; use a number in (0'),
    ('s_grpo', {'base': '2'}, "base is '2'; use a number in [1, inf)"),
    ('sage_light', {'low': -0.1}, 'low is -0.1; use a number in [0, 1]'),
    (
      'thinkless',
      {'wrong': -INF},
      'wrong is -inf; use a number in (-inf, inf)',
    ),
  ],
)
def test_a_value_that_means_nothing_is_refused(name, values, said):
  with pytest.raises(ValueError) as refused:
    recipes.build(name, **values)
  assert str(refused.value).startswith(f'{name}: {[*values][0]} is ')
  assert said in str(refused.value)


def test_what_papers_and_limits_use_is_in_range():
  for entry in map(recipes.get, recipes.names()):
    ranges.check(entry.name, entry.defaults, entry.defaults)
    for limit in entry.limits:
      other = recipes.get(limit.other)
      ranges.check(entry.name, limit.values, entry.defaults)
      ranges.check(other.name, limit.other_values, other.defaults)


def test_every_range_is_of_a_number_that_there_is():
  entries = [recipes.get(name) for name in recipes.names()]
  there = {name for entry in entries for name in entry.defaults}
  there |= {f'{x.name}.{name}' for x in entries for name in x.defaults}
  assert ranges.RANGES.keys() <= there


@pytest.mark.parametrize(
  ('name', 'values'),
  [
    ('dgpo', {'temperature': INF}),
    ('ppo', {'value_clip': INF}),
    ('train_long_think_short', {'sentence': ''}),
    ('agent_r', {'ask': ''}),
    ('nash_md', {'share': 1}),
    ('otc_ppo', {'budget': INF}),
    # As the study of dead groups has it.
    ('single_stream', {'count': 0}),
  ],
)
def test_ends_and_what_turns_a_part_off_are_kept(name, values):
  recipes.build(name, **values)


@pytest.mark.parametrize('number', [np.float32, np.float64, jnp.float32])
def test_a_number_may_be_of_any_kind(number):
  recipes.build('kto', weight=number(0.5))
  with pytest.raises(ValueError, match='use a number in'):
    recipes.build('grpo', kl_weight=number(-0.5))


def test_a_number_that_is_traced_is_not_asked_for_its_value():
  @jax.jit
  def passed(bound):
    ranges.check('grpo', {'kl_weight': bound}, {'kl_weight': 0.0})
    return bound

  assert passed(0.5) == 0.5


def test_a_recipe_of_the_user_means_by_names_what_it_likes(monkeypatch):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))

  @registry.register(registry.Paper('Mine'))
  def cold(*, threshold: float = -2.0):
    return threshold

  assert recipes.build('cold', threshold=-3.0) == -3.0
