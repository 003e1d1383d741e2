import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import forked
from jaxrl_llm.tasks import environments
from jaxrl_llm.types import Stats
from tests.plans import scripted

RECORDS = ({'digits': {'a': '7', 'b': '2'}, 'answer': '72'},) * 2
SPELLS = {'': 'a', 'a7\n': 'b', 'a7\nb2\n': '72'}


class Tools(scripted.Scripted):
  """A policy that is as unsure of a token as `unsure` says."""

  unsure: dict = {}

  def score(self, rollouts, *needs):
    assert needs == ('entropy',)
    stats = super().score(rollouts)
    entropy = jnp.zeros_like(stats.logp)
    for letter, nats in self.unsure.items():
      mine = rollouts.content.response == scripted.encode(letter)[0]
      entropy = jnp.where(mine & rollouts.action_mask, nats, entropy)
    return Stats(logp=stats.logp, entropy=entropy)


def collect(unsure, seed=0, **values):
  tools = Tools(
    lambda text, i: SPELLS.get(text[1:], '0'),
    lambda text, record: float(text == record['answer']),
    RECORDS,
    24,
    environments.Lookup(),
  )
  tools.unsure = unsure
  plan = forked.Forked(**values)
  prompts = scripted.ask('q', 'r')
  key = jax.random.key(seed)
  rollouts, scores, _ = plan.collect(tools, prompts, (), key)
  return rollouts, scores, tools


def begun(tools):
  """Contexts that late episodes go on from, after three turns of the first."""
  return tools.asked[3]


@pytest.mark.parametrize(
  ('unsure', 'context'),
  [
    ({'b': 9.0}, 'a7\nb2\n'),  # it became unsure in the second turn
    ({'a': 9.0}, ''),  # and surer than in the first
    ({}, ''),
  ],
)
def test_another_episode_goes_on_behind_the_turn_that_was_unsure(
  unsure, context
):
  values = {'base': 0.0, 'weight': 1.0, 'turns': 3}
  rollouts, scores, tools = collect(unsure, samples=3, first=1, **values)
  # Of the two late ones of a group, one; the other begins at its prompt.
  expected = [f'{p}{c}' for p in 'qr' for c in (context, '')]
  assert begun(tools) == expected
  assert scripted.words(rollouts) == ['a7\nb2\n72'] * 6
  assert rollouts.group.tolist() == [0] * 3 + [1] * 3
  assert scores.components[:, 0].tolist() == [1] * 6
  assert tools.notes['plan/forked'] == (0.5 if context else 0.0)
  turn = [0] * 4 + [1] * 4 + [2] * 16
  assert rollouts.extras['turn'].tolist() == [turn] * 6


def test_early_turns_fill_the_group_first():
  _, _, tools = collect({}, samples=4, first=2, base=1.0, turns=3)
  assert begun(tools) == ['qa7\n'] * 2 + ['ra7\n'] * 2


def test_without_unsureness_a_turn_parts_as_often_as_the_base_says():
  values = {'samples': 24, 'first': 8, 'turns': 2, 'base': 0.5}
  found = [collect({}, s, **values)[2].notes['plan/forked'] for s in range(4)]
  # Each of 8 episodes has one turn that another can go on from, for 16.
  assert 0.15 < np.mean(found) < 0.35
  assert len({*found}) > 1


def test_a_full_group_is_one_of_independent_episodes():
  rollouts, _, tools = collect({}, samples=2, first=2, turns=3)
  assert scripted.words(rollouts) == ['a7\nb2\n72'] * 4
  assert 'plan/forked' not in tools.notes


@pytest.mark.parametrize('first', [0, 5])
def test_groups_that_begin_with_no_episode_or_too_many_are_refused(first):
  with pytest.raises(ValueError, match=f'{first} first episodes are none'):
    forked.Forked(samples=4, first=first)
