"""Scores of all questions, measured beside what is learned from."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import measured
from jaxrl_llm.types import Spec
from tests.plans import scripted

SPEC = Spec(4, 2, 1, 6)
# q is answered alike and half right, r variously and half right, s alike and
# right.
SAYS = {'q': ('ab', 'ab'), 'r': ('ac', 'xyz'), 's': ('ab', 'ab')}
QUESTIONS = tuple(SAYS)


class Asking(scripted.Scripted):
  """Three questions; hears what the curriculum is told."""

  tasks = 3

  def __init__(self):
    super().__init__(
      lambda text, i: SAYS[text][i],
      records=[{'prompt': text} for text in QUESTIONS],
    )
    self.told = []

  def verify(self, rollouts, texts=None, rows=None):
    rollouts, scores = super().verify(rollouts, texts, rows)
    place = np.arange(len(rollouts.task)) % 2
    right = (place == 0) | (np.asarray(rollouts.task) == 2)
    return rollouts, scores.replace(components=right[:, None] * 1.0)

  def questions(self, tasks):
    texts = [QUESTIONS[task] for task in tasks]
    return scripted.ask(*texts).replace(task=np.asarray(tasks, np.int32))

  def generate(self, prompts, key, samples, **how):
    said = [
      SAYS[t][i] for t in scripted.contexts(prompts) for i in range(samples)
    ]
    return scripted.answer(prompts, said, self.columns, samples=samples)

  def tell(self, scores):
    self.told.append(np.asarray(scores))


def test_questions_are_looked_at_now_and_then_and_scored_by_the_paper():
  tools = Asking()
  plan = measured.Measured(samples=2, count=4, every=3, weight=0.8)
  state, looks = plan.init(SPEC), []
  for step in range(5):
    rollouts, scores, state = plan.collect(
      tools, scripted.ask('q', 'r'), state, jax.random.key(step)
    )
    looks.append(len(tools.told))
    assert scripted.words(rollouts) == ['ab', 'ab', 'ac', 'xyz']
  assert looks == [1, 1, 1, 2, 2]
  # Two rounds of the same two answers: each is found whole among the others.
  np.testing.assert_allclose(tools.told[0], [0.2, 0.2, 0.0], atol=1e-9)


def test_answers_that_differ_raise_the_score():
  tools = Asking()
  plan = measured.Measured(samples=2, count=2, every=1, weight=0.5)
  plan.collect(
    tools, scripted.ask('q', 'r'), plan.init(SPEC), jax.random.key(0)
  )
  q, r, s = tools.told[0]
  assert s == 0 and q == 0.125
  # Of "ac." and "xyz." the end alone is common: 1/3 and 1/4 of their tokens,
  # none of 2 and 3 pairs, none of 1 and 2 triples, which are smoothed.
  first = np.exp(1 - 4 / 3) * (1 / 3 * 0.1 / 2 * 0.1 / 1) ** (1 / 3)
  second = (1 / 4 * 0.1 / 3 * 0.1 / 2) ** (1 / 3)
  np.testing.assert_allclose(r, 0.125 + 0.5 * (1 - (first + second) / 2))


@pytest.mark.parametrize('values', [{'count': 0}, {'every': 0}])
def test_something_is_measured(values):
  with pytest.raises(ValueError, match='measure nothing'):
    measured.Measured(**values)
