"""Episodes of a group that share their first turns."""

import numpy as np

from jaxrl_llm.plans import resampled
from tests.plans import scripted
from tests.plans.episodes_test import collect, told, tools


def resample(reply, turns=3, samples=2):
  lent = tools(reply)
  rollouts, _ = collect(resampled.Resampled(samples=samples, turns=turns), lent)
  return lent, rollouts


def test_resampled_episodes_share_what_came_before_their_turn():
  lent, rollouts = resample(lambda text, i: told(text))
  turn = int(rollouts.extras['resampled'][0])
  assert rollouts.extras['resampled'].tolist() == [turn] * 2
  assert scripted.words(rollouts) == ['a7\nb2\n72'] * 2
  # The first episode takes three turns; the others start at the drawn one.
  contexts = ['q', 'qa7\n', 'qa7\nb2\n']
  assert [asked[0] for asked in lent.asked] == contexts + contexts[turn:]
  np.testing.assert_array_equal(
    rollouts.extras['turn'][0], [0] * 4 + [1] * 4 + [2] * 16
  )
