"""Responses that a guide begins and the policy ends, and the reverse."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import guides
from jaxrl_llm.types import Spec
from tests.plans import scripted

KEY = jax.random.key(0)


class Pair(scripted.Scripted):
  """The guide says g, whatever it is asked."""

  def rival(self, prompts, key, samples):
    guide = scripted.Scripted(lambda text, i: 'gggg')
    return guide.generate(prompts, key, samples)


def collect(plan, state=None):
  tools = Pair(lambda text, i: 'pppp')
  state = plan.init(Spec(4, 2, 1, 6)) if state is None else state
  rollouts, _, state = plan.collect(tools, scripted.ask('q', 'r'), state, KEY)
  return tools, rollouts, state


def shares(rollouts):
  """Of each row: letters of the guide, of the policy, and masks as text."""
  for i, said in enumerate(scripted.words(rollouts)):
    chosen = np.asarray(rollouts.action_mask[i])
    guide = np.asarray(rollouts.extras['guide'][i])
    yield said, said.count('g'), chosen, guide


def test_the_policy_goes_on_from_what_the_guide_began():
  tools, rollouts, state = collect(guides.Guided(samples=4, restart=1.0))
  assert tools.notes['plan/guide_first'] == 1.0 and state == 1
  for said, begun, chosen, guide in shares(rollouts):
    # Four letters, of which a cut leaves 1 to 4, an end not being cut off.
    assert said == ('g' * begun + 'pppp')[:6] and 1 <= begun <= 4
    assert not chosen[:begun].any() and chosen[begun : len(said)].all()
    assert not guide.any()


def test_the_guide_completes_what_the_policy_began():
  plan = guides.Guided(samples=4, restart=1.0, before=0.0, after=0.0)
  tools, rollouts, _ = collect(plan)
  assert tools.notes['plan/guide_first'] == 0.0
  for i, (said, done, chosen, guide) in enumerate(shares(rollouts)):
    own = said.count('p')
    assert said == 'p' * own + 'g' * done and own >= 1
    mask = np.asarray(rollouts.response_mask[i])
    np.testing.assert_array_equal(chosen, mask)
    np.testing.assert_array_equal(guide, mask & (np.arange(6) >= own))


@pytest.mark.parametrize('first', [0.0, 1.0])
def test_without_a_handover_the_policy_says_it_all(first):
  plan = guides.Guided(samples=4, restart=0.0, before=first, after=first)
  _, rollouts, _ = collect(plan)
  for said, _, chosen, guide in shares(rollouts):
    assert said == 'pppp' and chosen[:5].all() and not guide.any()


def test_the_order_turns_when_it_should():
  plan = guides.Guided(samples=4, before=0.0, after=1.0, turn=1)
  tools, _, state = collect(plan)
  assert tools.notes['plan/guide_first'] == 0.0
  tools, _, _ = collect(plan, state)
  assert tools.notes['plan/guide_first'] == 1.0
