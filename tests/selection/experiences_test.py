"""A list of experiences that is revised by what tells responses apart."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.selection import experiences
from jaxrl_llm.selection.experiences import Operation

LIST = ('check units', 'guess', 'draw a figure')


def test_operations_count_places_in_the_list_before_any():
  after = experiences.revised(
    LIST,
    [
      Operation('add', 'try small cases'),
      Operation('delete', place=1),
      Operation('update', 'draw it', place=2),
    ],
  )
  assert after == ('check units', 'draw it', 'try small cases')


def test_no_operation_changes_nothing():
  assert experiences.revised(LIST, []) == LIST


@pytest.mark.parametrize('last', ['update', 'delete'])
def test_of_several_operations_on_one_place_the_last_holds(last):
  first = {'update': 'delete', 'delete': 'update'}[last]
  after = experiences.revised(
    LIST[:1], [Operation(first, 'new', 0), Operation(last, 'new', 0)]
  )
  assert after == (('new',) if last == 'update' else ())


@pytest.mark.parametrize(
  ('operation', 'message'),
  [
    (Operation('merge', place=0), "unknown operation 'merge'"),
    (Operation('delete', place=3), 'no experience 3 to delete; there are 3'),
    (Operation('update', 'x'), 'no experience -1 to update'),
  ],
)
def test_operations_that_mean_nothing_are_refused(operation, message):
  with pytest.raises(ValueError, match=message):
    experiences.revised(LIST, [operation])


def _learn(rewards, valid=None):
  asked = []

  def propose(known, texts, scores):
    asked.append((tuple(known), texts, scores))
    return [Operation('add', f'do as in {texts[0]}')]

  group = jnp.array([0, 0, 0, 1, 1, 1])
  valid = jnp.ones(6, bool) if valid is None else jnp.asarray(valid)
  after = experiences.learned(
    LIST, list('abcdef'), jnp.asarray(rewards), group, valid, propose
  )
  return asked, after


def test_only_groups_with_a_contrast_propose_best_first():
  asked, after = _learn([0.0, 1.0, 0.5, 1.0, 1.0, 1.0])
  assert asked == [(LIST, ['b', 'c', 'a'], [1.0, 0.5, 0.0])]
  assert after == (*LIST, 'do as in b')


def test_rows_that_do_not_count_are_not_shown():
  asked, _ = _learn([0.0, 1.0, 0.5, 0.0, 1.0, 1.0], np.arange(6) != 1)
  assert [texts for _, texts, _ in asked] == [['c', 'a'], ['e', 'f', 'd']]


@pytest.mark.parametrize('valid', [True, False])
def test_without_a_contrast_nothing_is_learned(valid):
  asked, after = _learn([1.0] * 6, [valid] * 6)
  assert not asked and after == LIST
