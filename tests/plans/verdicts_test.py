"""Which turn of an episode the policy calls wrong."""

import jax
import numpy as np

from jaxrl_llm.plans import playing, turns, verdicts
from jaxrl_llm.tasks import environments
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = [{'prompt': 'q', 'digits': {'a': '7', 'b': '2', 'c': '5'}}]
SPOKEN = [
  {'q': 'b', 'qb2\n': 'a', 'qb2\na7\n': '27'},
  {'q': '?'},
  {'q': 'c', 'qc5\n': '5'},
  {'q': 'a', 'qa7\n': '7'},
]


def first_wrong(verdict, which=(0, 1, 2, 3), width=60):
  """Turns by row, and what was asked, of the episodes above."""

  class Lent(scripted.Scripted):
    def turn(self, rollouts, kept, key, *, most, **how):
      prompts = scripted.prefixes.as_prompts(rollouts, rollouts.length)
      texts = scripted.contexts(prompts)
      said = [SPOKEN[i].get(text, '0') for i, text in enumerate(texts)]
      return scripted.answer(prompts, said, most), None

  def reply(text, i):
    return 'fine' if verdict(text) else 'bad'

  lent = Lent(reply, None, RECORDS, 40, environments.Lookup(), width=width)
  rows, log = playing.play(lent, scripted.ask('q'), KEY, samples=4, turns=3)
  found = verdicts.first_wrong(
    lent, rows, log, which, KEY, ask='{prompt}{before}<{turn}>', fine=('ine',)
  )
  return found, lent.asked


def test_turns_are_asked_about_until_one_is_wrong():
  found, asked = first_wrong(lambda text: text in ('q<b2\n>', 'q<c5\n>'))
  assert found == {0: 1, 1: 0, 2: 1, 3: 0}
  assert asked == [
    ['q<b2\n>', 'q<?>', 'q<c5\n>', 'q<a7\n>'],
    ['qb2\n<a7\n>', 'qc5\n<5>'],
  ]


def test_an_episode_all_of_whose_turns_were_fine_has_its_last_one():
  assert first_wrong(lambda text: True)[0] == {0: 2, 1: 0, 2: 1, 3: 1}


def test_others_are_not_asked_about():
  found, asked = first_wrong(lambda text: False, which=(2,))
  assert found == {2: 0} and asked == [['q<c5\n>']]
  assert first_wrong(lambda text: False, which=())[0] == {}


def test_a_turn_that_there_is_no_room_to_ask_about_has_no_verdict():
  found, _ = first_wrong(lambda text: True, width=6)
  # Of the first episode 'q<b2\n>' has room, 'qb2\n<a7\n>' has not.
  assert found == {1: 0}
  assert first_wrong(lambda text: text == 'q<?>', width=6)[0] == {
    0: 0,
    1: 0,
    2: 0,
    3: 0,
  }


def test_verdicts_are_read_in_letters_of_any_case():
  rows = scripted.answer(scripted.ask('q'), ['a'], 4)
  log = turns.empty(1, 2)
  log.taken[0, 0], log.end[0, 0] = True, 2
  lent = scripted.Scripted(lambda text, i: 'GOOD', records=RECORDS, width=9)
  found = verdicts.first_wrong(
    lent, rows, log, [0], KEY, ask='{prompt}{before}{turn}', fine=('good',)
  )
  assert found == {0: 0} and np.array(lent.asked).tolist() == [['qa']]
