"""Stimuli are learned, and what a frozen model makes of them is judged."""

import jax
import numpy as np

from jaxrl_llm.plans import stimuli
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = [{'prompt': 'q', 'answer': 'r'}, {'prompt': 'e', 'answer': 'f'}]


class Lent(scripted.Scripted):
  """A frozen model that is right about q if it is told a."""

  def rival(self, prompts, key, samples):
    self.told = scripted.contexts(prompts)
    said = ['r' if text == 'qa' else 'n' for text in self.told]
    return scripted.answer(prompts, said, self.columns, samples=samples)


def collect(width=12):
  lent = Lent(
    lambda text, i: ['ab', 'abc'][text == 'e'][i],
    lambda text, record: float(text == record['answer']),
    RECORDS,
    width=width,
  )
  plan = stimuli.Stimuli('{prompt}{stimulus}', samples=2)
  prompts = scripted.ask('q', 'e')
  return lent, plan.collect(lent, prompts, (), KEY)


def test_the_answer_of_the_frozen_model_is_judged_and_the_stimulus_learned():
  lent, (rollouts, scores, _) = collect()
  assert lent.told == ['qa', 'qb', 'ea', 'eb']
  assert scripted.words(rollouts) == ['a', 'b', 'a', 'b']
  assert scores.components[:, 0].tolist() == [1, 0, 0, 0]
  assert rollouts.group.tolist() == [0, 0, 1, 1]
  np.testing.assert_array_equal(rollouts.content.prompt[:2], [[17], [17]])
  assert rollouts.valid.all() and lent.notes == {'plan/too_long': 0}


def test_a_stimulus_that_does_not_fit_does_not_count():
  lent, (rollouts, _, _) = collect(width=1)
  assert lent.told == ['q', 'q', 'e', 'e']
  assert not rollouts.valid.any() and lent.notes == {'plan/too_long': 4}
