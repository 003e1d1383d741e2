import pytest

from jaxrl_llm import recipes
from jaxrl_llm.spelling import nearest


@pytest.mark.parametrize(
  ('word', 'meant'),
  [
    ('gpro', 'grpo'),
    ('dpao', 'dapo'),
    ('ppoo', 'ppo'),
    ('rlo', 'rloo'),
    ('remx', 'remax'),
    ('gsop', 'gspo'),
  ],
)
def test_the_nearest_is_one_slip_away(word, meant):
  assert nearest(word, recipes.names()) == meant


def test_letters_swapped_are_one_slip():
  assert nearest('abcd', ['abcx', 'acbd', 'bacd']) in ('acbd', 'bacd')
  assert nearest('abdc', ['abec', 'abcd', 'abd']) == 'abcd'
  assert nearest('', ['a']) == nearest('a', []) == ''
