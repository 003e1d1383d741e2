"""How episodes open."""

import numpy as np
import pytest

from jaxrl_llm.plans import episodes
from jaxrl_llm.tasks import environments
from tests.plans import scripted
from tests.plans.episodes_test import KEY, collect, tools


class Opens(environments.Lookup):
  """Asks the question itself, as its record says."""

  def reset(self, rows):
    states = super().reset(rows)
    opened = [environments.Opening(state, 'q') for state in states]
    # A state by itself is opened as the others.
    return [opened[0], states[1], *opened[2:]]


def test_what_reset_opens_with_stands_in_place_of_the_record():
  plan = episodes.MultiTurn(samples=3, turns=4)
  wanted, marks = collect(plan)
  lent = tools()
  lent.environment = Opens()
  found, scores, _ = plan.collect(lent, scripted.ask('no'), (), KEY)
  np.testing.assert_array_equal(found.content.prompt, wanted.content.prompt)
  np.testing.assert_array_equal(found.content.response, wanted.content.response)
  np.testing.assert_array_equal(found.group, wanted.group)
  np.testing.assert_array_equal(scores.components, marks.components)


def test_episodes_of_one_question_open_alike():
  lent = tools()
  lent.environment = environments.Lookup()
  begun = environments.Opening(None, 'q'), environments.Opening(None, 'r')
  lent.environment.reset = lambda rows: begun
  with pytest.raises(ValueError, match="with 'q' and with 'r'"):
    collect(episodes.MultiTurn(samples=2, turns=2), lent)


def test_fewer_tokens_than_turns_are_refused():
  with pytest.raises(ValueError, match='3 response tokens do not hold 4 turns'):
    collect(episodes.MultiTurn(samples=1, turns=4), tools(columns=3))
