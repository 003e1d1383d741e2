"""The greedy response is a baseline, and not trained on."""

import jax
import numpy as np

from jaxrl_llm.plans import greedy
from tests.plans import scripted


def collect(judge):
  tools = scripted.Scripted(lambda text, i: f'{text}{i}', judge)
  plan = greedy.WithGreedy(samples=2)
  prompts = scripted.ask('a', 'b')
  return plan.collect(tools, prompts, (), jax.random.key(0))[:2]


def test_every_row_of_a_prompt_has_the_reward_of_its_greedy_response():
  rewards = {'a0': 1.0, 'a1': 0.5, 'b0': 0.25, 'b1': 0.0}
  rollouts, scores = collect(lambda text, record: rewards[text])
  np.testing.assert_allclose(
    rollouts.extras['greedy_reward'], [1, 1, 0.25, 0.25]
  )
  np.testing.assert_allclose(scores.components[:, 0], [1, 0.5, 0.25, 0])
  assert scripted.words(rollouts) == ['a0', 'a1', 'b0', 'b1']


def test_rows_whose_baseline_is_unknown_do_not_count():
  calls = []

  def judge(text, record):
    calls.append(text)
    return None if text == 'b0' and calls.count('b0') == 1 else 1.0

  rollouts, scores = collect(judge)
  assert rollouts.valid.tolist() == [True, True, False, False]
  np.testing.assert_array_equal(scores.components[:, 0], [1, 1, 0, 0])
