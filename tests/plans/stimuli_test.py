"""Stimuli are learned, and what a frozen model makes of them is judged."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import stimuli
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = [{'prompt': 'q', 'answer': 'r'}, {'prompt': 'e', 'answer': 'f'}]


class Lent(scripted.Scripted):
  """A frozen model that is right about q if it is told a."""

  def rival(self, prompts, key, samples):
    self.told = scripted.contexts(prompts)
    said = [
      ('r' if i else self.late) if text == 'qa' else 'n'
      for text in self.told
      for i in range(samples)
    ]
    return scripted.answer(prompts, said, self.columns, samples=samples)


def judge(text, record):
  return None if text == '?' else float(text == record['answer'])


def collect(width=12, answers=1, late='r'):
  lent = Lent(
    lambda text, i: ['ab', 'abc'][text == 'e'][i], judge, RECORDS, width=width
  )
  lent.late = late
  plan = stimuli.Stimuli('{prompt}{stimulus}', samples=2, answers=answers)
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


def test_stimuli_are_drawn_from_the_set_that_an_older_policy_keeps():
  class Masking(Lent):
    def masked(self, prompts, key, samples, *, share, least):
      self.kept = share, least
      return self.generate(prompts, key, samples)

  lent = Masking(lambda text, i: 'ab'[i], judge, RECORDS, width=12)
  lent.late = 'r'
  plan = stimuli.Stimuli(
    '{prompt}{stimulus}', samples=2, answers=1, share=0.8, least=3
  )
  rollouts, _, _ = plan.collect(lent, scripted.ask('q', 'e'), (), KEY)
  assert lent.kept == (0.8, 3)
  assert scripted.words(rollouts) == ['a', 'b', 'a', 'b']
  assert plan.contract.provides == {'support'} and plan.contract.refers
  with pytest.raises(ValueError, match='a share of 0 is not in'):
    stimuli.Stimuli('{prompt}{stimulus}', share=0)


def test_a_stimulus_that_does_not_fit_does_not_count():
  lent, (rollouts, _, _) = collect(width=1)
  assert lent.told == ['q', 'q', 'e', 'e']
  assert not rollouts.valid.any() and lent.notes == {'plan/too_long': 4}


def test_a_stimulus_earns_the_mean_over_its_answers():
  _, (rollouts, scores, _) = collect(answers=4, late='n')
  np.testing.assert_allclose(scores.components[:, 0], [0.75, 0, 0, 0])
  assert scripted.words(rollouts) == ['a', 'b', 'a', 'b']
  assert rollouts.valid.all() and rollouts.group.tolist() == [0, 0, 1, 1]


def test_a_stimulus_of_whose_answers_one_could_not_be_judged_does_not_count():
  _, (rollouts, _, _) = collect(answers=2, late='?')
  assert rollouts.valid.tolist() == [False, True, True, True]
