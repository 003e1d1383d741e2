"""What happened in the turns of episodes."""

import numpy as np

from jaxrl_llm.plans import playing
from jaxrl_llm.plans import turns as turns_lib
from tests.plans import scripted
from tests.plans.episodes_test import KEY, RECORDS, tools


def test_a_parted_episode_has_its_turns_before_and_the_state_it_goes_on_from():
  rollouts, log = playing.play(
    tools(), scripted.ask('q'), KEY, samples=1, turns=3
  )
  cut, kept = turns_lib.parted(rollouts, log, np.array([1]))
  assert scripted.words(cut) == ['a7\n']
  assert kept.taken.tolist() == [[True, False, False]]
  assert kept.state[0, 1] == (RECORDS[0]['digits'], 'a')
  assert kept.anchor.tolist() == [['', 'a', '']]
  assert kept.action.tolist() == [['a', '', '']]
