import jax
import numpy as np

from jaxrl_llm.plans.foretold import Foretold
from jaxrl_llm.selection import budgets, foresight
from tests.plans import scripted

# What the policy can do is told by the first letter.
EASY, HARD = ('aaaa', 'aaac', 'aaad'), ('bbbb', 'bbbc', 'bbbd')


def tools_of(questions):
  return scripted.Scripted(
    lambda text, i: 'y' if text[0] == 'b' else 'x',
    judge=lambda text, record: float(text == record['answer']),
    records=[{'prompt': q, 'answer': 'x'} for q in questions],
    columns=2,
  )


def test_rates_of_new_prompts_are_told_by_others_and_decide_how_many_answer():
  plan = Foretold(samples=4, least=2, most=8, capacity=5)
  state, key = plan.init(None), jax.random.key(0)
  shown = EASY[:2] + HARD[:2]
  rollouts, _, state = plan.collect(
    tools_of(shown), scripted.ask(*shown), state, key
  )
  np.testing.assert_array_equal(rollouts.extras['predicted_reward'], 0.5)
  assert np.bincount(rollouts.group).tolist() == [4] * 4
  assert np.asarray(state['result'])[:4].tolist() == [1, 1, 0, 0]
  assert np.asarray(state['count'])[:4].tolist() == [4, 4, 4, 4]
  asked = scripted.ask(EASY[2], HARD[2])
  tools = tools_of((EASY[2], HARD[2]))
  rollouts, _, after = plan.collect(tools, asked, state, key)
  context = (np.asarray(state[k]) for k in ('features', 'result', 'count'))
  features = foresight.features(asked.tokens, asked.mask)
  told = foresight.foretold(*context, features)
  group = np.asarray(rollouts.group)
  said = np.asarray(rollouts.extras['predicted_reward'])
  np.testing.assert_allclose(said, told[group], rtol=1e-6)
  assert told[0] > told[1]
  values = budgets.contrast(np.arange(9), told[:, None])
  split = budgets.greedy(values, 8, least=2, most=8)
  assert np.bincount(group).tolist() == split.tolist()
  assert plan.contract.provides <= rollouts.extras.keys()
  # The oldest leave first.
  assert int(after['place']) == 1
  kept = np.asarray(after['features'])
  np.testing.assert_allclose(kept[[4, 0]], features, rtol=1e-6)
  np.testing.assert_array_equal(kept[1], state['features'][1])
