"""Episodes that are cut into steps."""

import numpy as np

from jaxrl_llm.plans import by_turn, episodes
from tests.plans import scripted
from tests.plans.episodes_test import collect, tools


def test_rows_of_steps_are_turns_after_what_came_before():
  plan = by_turn.Steps(episodes=2, turns=4)
  assert plan.contract.samples == 8
  rollouts, scores = collect(plan)
  prompts = ['q', 'qa7\n', 'qa7\nb2\n']
  tokens, masks = (
    np.asarray(rollouts.content.prompt),
    np.asarray(rollouts.content.prompt_mask),
  )
  contexts = [scripted.decode(t[m]) for t, m in zip(tokens, masks)]
  assert contexts[:3] == prompts and contexts[4:7] == prompts
  assert scripted.words(rollouts)[:4] == ['a', 'b', '72', '']
  assert rollouts.valid.tolist() == [True, True, True, False] * 2
  expected = [1.2, 1.2, 1.2, 0] * 2
  np.testing.assert_allclose(scores.components[:, 0], expected, rtol=1e-6)
  assert rollouts.group.tolist() == [0] * 8


def test_extras_say_what_steps_have_in_common():
  def reply(text, i):
    return 'a' if text == 'q' else '0'

  mixed = tools(lambda text, i: reply(text, i))
  rollouts, _ = collect(by_turn.Steps(episodes=2, turns=3), mixed)
  extras = {k: np.asarray(v) for k, v in rollouts.extras.items()}
  np.testing.assert_array_equal(extras['trajectory'], [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(extras['step'], [0, 1, 2] * 2)
  np.testing.assert_array_equal(extras['agent'][[0, 1]], [0, 1])
  np.testing.assert_allclose(extras['step_reward'][:3], [0.1, 0, 0])
  anchor, node = extras['anchor'], extras['node']
  assert anchor[0] == anchor[3] != anchor[1] == anchor[4]
  assert node[0] == node[3] and node[1] == node[4] and node[0] != node[1]


def test_what_the_environment_paid_goes_with_its_turn():
  cut, _ = collect(by_turn.Steps(episodes=3, turns=4))
  paid = np.asarray(cut.paid).sum(axis=1)
  wanted = np.where(cut.valid, cut.extras['step_reward'], 0)
  np.testing.assert_allclose(paid, wanted, rtol=1e-6)
  assert paid.any()


def test_steps_hold_the_tokens_and_log_probs_of_the_episode():
  whole, _ = collect(episodes.MultiTurn(samples=3, turns=4))
  cut, _ = collect(by_turn.Steps(episodes=3, turns=4))
  whole, cut = (
    [
      np.asarray(x)[np.asarray(r.action_mask)]
      for x in (r.content.response, r.logp)
    ]
    for r in (whole, cut)
  )
  for chosen, steps in zip(whole, cut):
    np.testing.assert_array_equal(chosen, steps)
