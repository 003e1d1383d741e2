"""Turns are compared behind what one episode said."""

import jax
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.plans import led
from jaxrl_llm.tasks import environments
from jaxrl_llm.types import initial_credit
from tests.plans import scripted
from tests.plans.episodes_test import RECORDS, told

KEY = jax.random.key(0)
CONTEXTS = ['q', 'qa7\n', 'qa7\nb2\n']


def reply(text, i):
  """The leading episode, and for every other sample another word."""
  return told(text) if i != 1 else '9'


def collect(samples=3, turns=4):
  # A turn that ends nothing is judged by what it was paid alone.
  def judge(text, record):
    return float(text == record['answer']) + record['return']

  tools = scripted.Scripted(reply, judge, RECORDS, 24, environments.Lookup())
  plan = led.Led(episodes=samples, turns=turns)
  rows, scores, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  return rows, scores, tools


def test_the_rows_of_a_step_share_what_came_before():
  rows, scores, tools = collect()
  tokens, masks = (
    np.asarray(rows.content.prompt),
    np.asarray(rows.content.prompt_mask),
  )
  asked = [scripted.decode(t[m]) for t, m in zip(tokens, masks)]
  assert asked[:9] == [text for text in CONTEXTS for _ in range(3)]
  assert scripted.words(rows)[:9] == [
    *('a', '9', 'a'),
    *('b', '9', 'b'),
    *('72', '9', '72'),
  ]
  assert rows.valid.tolist() == [True] * 9 + [False] * 3
  assert rows.group.tolist() == [0] * 12
  extras = {name: np.asarray(x) for name, x in rows.extras.items()}
  assert extras['step'].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
  assert len({*extras['trajectory'][:9]}) == 9
  np.testing.assert_allclose(
    extras['step_reward'][:9], [0.1, 0, 0.1, 0.1, 0, 0.1, 0, 0, 0], rtol=1e-6
  )
  anchor, node = extras['anchor'], extras['node']
  assert len({*anchor[:3]}) == len({*anchor[3:6]}) == 1 != anchor[0] - anchor[3]
  assert node[0] == node[2] != node[1]
  np.testing.assert_allclose(
    np.asarray(rows.paid).sum(axis=1)[:9], extras['step_reward'][:9]
  )
  # Right answers alone earn what verifiers say, others what they were paid.
  np.testing.assert_allclose(
    scores.components[:9, 0], [0.1, 0, 0.1, 0.1, 0, 0.1, 1, 0, 1], rtol=1e-6
  )


def test_a_step_is_credited_beside_its_own_group():
  rows, scores, _ = collect()
  start = initial_credit(rows, scores)
  start = start.replace(rewards=start.components[:, 0])
  stage = recipes.build('step_grpo').credit
  made, _ = stage.update(start, rows, stage.init(None))
  found = np.asarray(made.advantages)[:9, 0].reshape(3, 3)
  assert (found[:, 1] < 0).all() and (found[:, [0, 2]] > 0).all()
  np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-5)
  assert not np.asarray(made.advantages)[9:].any()


def test_a_recorded_episode_leads_whatever_the_policy_would_have_said():
  """It asks for b first; behind its last turn nothing is said."""
  records = [{**RECORDS[0], 'path': ['b', 'a']}]
  tools = scripted.Scripted(
    reply, lambda text, record: 0.0, records, 24, environments.Lookup()
  )
  plan = led.Led(episodes=2, turns=4, recorded='path')
  (check,) = plan.contract.checks
  check(records)
  rows, _, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  tokens = np.asarray(rows.content.prompt)
  masks = np.asarray(rows.content.prompt_mask)
  asked = [scripted.decode(t[m]) for t, m in zip(tokens, masks)]
  valid = np.asarray(rows.valid)
  assert [asked[i] for i in np.flatnonzero(valid)[::2]] == [
    *('q', 'qb2\n', 'qb2\na7\n')
  ]
  # The third turn, which nobody recorded, ends what leads.
  assert valid.tolist() == [True] * 6 + [False] * 2
  # What leads was not asked of the policy.
  assert all(len(texts) == 1 for texts in tools.asked)
  assert [len(texts) for texts in tools.asked] == [1] * 4


def test_records_without_turns_are_refused():
  (check,) = led.Led(recorded='path').contract.checks
  with pytest.raises(ValueError, match='2 of 3 questions .* field "path"'):
    check([{'path': ['a']}, {'path': 'a'}, {'prompt': 'q'}])
  assert not led.Led().contract.checks
