import pytest

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import meanings

ENTRIES = [recipes.get(name) for name in recipes.names()]


def test_a_number_means_what_its_part_says():
  said = meanings.meanings(recipes.get('dapo'))
  assert said['clip_high'].startswith('half-widths of the trust region')
  assert said['buffer'] == 'in tokens; 0 turns the penalty off.'
  assert said['rounds'] == 'the most rounds of sampling.'


@pytest.mark.parametrize(
  ('name', 'number', 'slots'),
  [
    ('dapo', 'samples', ['plan.samples']),
    ('dapo', 'clip_high', ['objective.surrogate.high']),
    ('grpo', 'kl_weight', ['objective.costs.kl.coefficient']),
    ('ppo', 'epochs', ['epochs']),
  ],
)
def test_the_slot_that_a_number_fills_is_found(name, number, slots):
  assert meanings.changed(recipes.get(name), number)[0] == slots


def test_a_weight_of_zero_means_what_it_leaves_out():
  said = meanings.meanings(recipes.get('ppo'))
  assert said['entropy_weight'].startswith('of the cost in the loss')


def test_a_part_that_does_not_explain_its_argument_is_named():
  said = meanings.meanings(recipes.get('rec_two_side'))
  assert said['low'].startswith('`low` of `two_side`: ')


def test_one_of_several_is_told_from_the_others():
  said = meanings.meanings(recipes.get('mpo'))
  assert said['quality_weight'].startswith(
    '`preference.classify`: `weights` of'
  )
  assert said['imitation'].startswith('`preference.imitation`: `weights` of ')
  said = meanings.meanings(recipes.get('thinkless'))
  assert said['think'].startswith('number 2: one a mode')


def test_nearly_every_number_has_a_meaning():
  """But for those that show in no slot at any value that is tried."""
  said = [text for e in ENTRIES for text in meanings.meanings(e).values()]
  assert sum(map(bool, said)) > 0.98 * len(said)


def test_items_of_a_section_may_share_lines_and_names():
  body = """
    low, high: bounds, > 0. rate: of steps.
      It is e.g. 0.1
    epsilon: added.
  """
  assert meanings.items(body) == [
    ('low, high', 'bounds, > 0.'),
    ('rate', 'of steps. It is e.g. 0.1'),
    ('epsilon', 'added.'),
  ]
  assert meanings.items('f32[N], in nats: more is better.') == []
