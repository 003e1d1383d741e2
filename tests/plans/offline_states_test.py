"""Groups that act once in a state of a demonstration."""

import jax
import numpy as np

from jaxrl_llm.plans import offline_states
from tests.plans import scripted

RECORDS = ({'demonstration': 'abcd'}, {'demonstration': 'too long'})


def collect(share):
  tools = scripted.Scripted(
    lambda text, i: 'xy', lambda text, record: float(len(text)), RECORDS
  )
  plan = offline_states.OfflineStates(samples=3, share=share)
  prompts = scripted.ask('q', 'r')
  return plan.collect(tools, prompts, (), jax.random.key(0))[:2]


def test_a_group_acts_once_in_one_state_of_its_demonstration():
  rollouts, scores = collect(1.0)
  said = scripted.words(rollouts)
  (first,) = set(said[:3])
  cut = first.index('x')
  assert cut >= 1 and first == ('abcd'[:cut] + 'xy')[:6]
  chosen = np.asarray(rollouts.action_mask[:3])
  np.testing.assert_array_equal(chosen, np.tile(np.arange(6) == cut, (3, 1)))
  logp = np.asarray(rollouts.logp)
  assert np.all(logp[:3, cut] < 0) and not logp[~rollouts.action_mask].any()
  assert scores.components[0, 0] == len(first)
  # What does not fit leaves its group to the policy.
  assert said[3:] == ['xy'] * 3 and np.all(rollouts.valid)
  assert rollouts.action_mask[3:, :3].all()
  assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]


def test_without_offline_states_groups_are_ordinary():
  rollouts, _ = collect(0.0)
  assert scripted.words(rollouts) == ['xy'] * 6
  np.testing.assert_array_equal(rollouts.action_mask, rollouts.response_mask)
