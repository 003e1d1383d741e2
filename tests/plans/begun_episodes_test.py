"""Modes, of which the last talks with an environment."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import begun, begun_episodes, episodes
from jaxrl_llm.tasks import environments
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'digits': {'a': '7', 'b': '2'}, 'answer': '72'},)


def collect(plan, replies, environment=None, columns=24):
  """What a plan makes of one prompt, whose contexts have those replies."""
  told = {context: iter(texts) for context, texts in replies.items()}
  # Rows that have ended are asked as well, and what they say is left out.
  tools = scripted.Scripted(
    lambda text, i: next(told.get(text, iter(())), '0'),
    lambda text, record: (
      float(text == record['answer']) + record.get('return', 0)
    ),
    RECORDS,
    columns,
    environment,
  )
  rollouts, scores, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  return rollouts, np.asarray(scores.components)[:, 0], tools


def test_the_last_mode_alone_has_tools():
  plan = begun_episodes.modes(('X', 'Y', ''), samples=6, turns=3)
  replies = {
    'qX': ['72', 'a'],
    'qXa7\n': ['72'],
    'qY': ['a', '72'],
    'qYa7\n': ['b'],
    'qYa7\nb2\n': ['72'],
    'q': ['Y a', 'X a'],
    'qY a7\n': ['72'],
    'qX a7\n': ['72'],
  }
  rollouts, scores, tools = collect(plan, replies, environments.Lookup())
  extras = rollouts.extras
  assert extras['beginning'].tolist() == [0, 0, 1, 1, 1, 0]
  assert extras['assigned'].tolist() == [True] * 4 + [False] * 2
  assert extras['tool_calls'].tolist() == [0, 1, 2, 0, 1, 1]
  # Each was right, and each new question earns 0.1; two had the wrong form.
  np.testing.assert_allclose(scores, [1, 0, 1.2, 1, 1.1, 0], rtol=1e-6)
  np.testing.assert_allclose(
    rollouts.paid.sum(axis=1), [0, 0, 0.2, 0, 0.1, 0], rtol=1e-6
  )
  assert tools.notes['plan/wrong_mode'] == pytest.approx(2 / 6)
  # The policy chose neither its beginning nor what it was told.
  words = scripted.words(rollouts)
  assert words[1:3] == ['Xa7\n72', 'Ya7\nb2\n72'] and words[5] == 'X a7\n72'
  chosen = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1]
  np.testing.assert_array_equal(rollouts.action_mask[2][1:12], chosen)
  np.testing.assert_array_equal(extras['begun'].sum(axis=1), [1] * 4 + [0] * 2)
  assert not np.any(rollouts.action_mask & extras['begun'])


def test_one_turn_is_what_modes_without_tools_are():
  alone = begun_episodes.modes(('X', ''), samples=4, turns=1)
  assert type(alone) is begun.Begun and not alone.contract.asks
  talking = begun_episodes.BegunEpisodes(('X', ''), samples=4, turns=1)
  replies = {'qX': ['72', '7'], 'q': ['X1', '2']}
  one, scores, _ = collect(alone, replies)
  other, _, _ = collect(talking, replies, environments.Lookup())
  for name in ('response_mask', 'action_mask', 'logp', 'truncated', 'group'):
    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
  assert scripted.words(one) == scripted.words(other)
  assert one.extras['beginning'].tolist() == [0, 0, 0, -1]
  for name in ('beginning', 'assigned', 'begun'):
    np.testing.assert_array_equal(one.extras[name], other.extras[name])


def test_free_rows_that_name_the_last_mode_are_episodes():
  plan = begun_episodes.BegunEpisodes(('a', ''), samples=2, turns=3)
  spells = {'qa': ['b'], 'qab2\n': ['9'], 'q': ['a'], 'qa7\n': ['9']}
  rollouts, scores, _ = collect(plan, spells, environments.Lookup())
  alone = episodes.MultiTurn(samples=1, turns=3)
  own, score, _ = collect(
    alone, {'q': ['a'], 'qa7\n': ['9']}, environments.Lookup()
  )
  assert scripted.words(rollouts)[1:] == scripted.words(own)
  assert scores[1] == score[0] and rollouts.extras['tool_calls'][1] == 1
