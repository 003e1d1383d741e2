"""Trees of episodes: where they are played on from, and what comes of it."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import grown
from jaxrl_llm.tasks import environments
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'digits': {'a': '7', 'b': '2'}, 'answer': '72'},) * 2


class Lent(scripted.Scripted):
  """Says the n-th of the words of a context when it is asked the n-th time."""

  def turn(self, rollouts, kept, key, **how):
    seen = {}

    def reply(text, i):
      del i
      seen[text] = seen.get(text, -1) + 1
      words = SAID[len(self.asked) - 1].get(text[1:], '0')
      return words[seen[text] % len(words)]

    self.reply = reply
    return super().turn(rollouts, kept, key, **how)


# By turn of the search: two rounds of two episodes of two turns each.
SAID = (
  {'': 'ab'},
  {'a7\n': ['72'], 'b2\n': ['0']},
  {'a7\n': ['b', '0']},
  {'a7\nb2\n': ['72']},
)


def test_rounds_go_on_from_the_best_beginnings():
  lent = Lent(
    None,
    lambda text, record: float(text == record['answer']),
    RECORDS,
    24,
    environments.Lookup(),
  )
  rows, log, scores = grown.grow(
    lent,
    scripted.ask('q', 'r'),
    KEY,
    samples=4,
    turns=3,
    children=2,
    explore=0.25,
  )
  said = ['a7\n72', 'b2\n0', 'a7\nb2\n72', 'a7\n0']
  assert scripted.words(rows) == said * 2
  assert scores.components[:, 0].tolist() == [1, 0, 1, 0] * 2
  assert rows.group.tolist() == [0] * 4 + [1] * 4
  assert log.taken.sum(axis=1).tolist() == [2, 2, 3, 2] * 2
  # What they share is an action in each.
  masks = np.asarray(rows.action_mask)
  np.testing.assert_array_equal(masks[0, :2], masks[2, :2])
  np.testing.assert_array_equal(rows.paid[0, :4], rows.paid[2, :4])


def test_a_number_of_episodes_that_rounds_do_not_make_is_refused():
  with pytest.raises(ValueError, match='5 samples .* by 2 children'):
    grown.grow(None, None, KEY, samples=5, turns=2, children=2, explore=0.0)
