import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import dropped
from tests.plans import scripted

COLUMNS = 12


def asked(*texts, given=0):
  """Prompts with recorded responses, whose first tokens somebody else wrote."""
  count = len(texts)
  rows = scripted.answer(scripted.ask(*'q' * count), texts, COLUMNS)
  action = rows.response_mask & (jnp.arange(COLUMNS) >= given)
  columns = {
    'recorded': rows.content.response[:, None],
    'recorded_mask': rows.response_mask[:, None],
    'recorded_action': action[:, None],
    'recorded_score': jnp.ones((count, 1)),
    'recorded_cut': rows.truncated[:, None],
  }
  return scripted.ask(*'q' * count).replace(extras=columns)


def collect(prompts, seed=0, **values):
  plan = dropped.Dropped(begin='<', end='>', **values)
  tools = scripted.Scripted(lambda text, i: '')
  return plan.collect(tools, prompts, (), jax.random.key(seed))[0]


def test_a_thought_becomes_another_text_and_all_else_stays():
  prompts = asked('x<abc>yz', '<a>b<cd>e', '<>x', 'a<b', 'ab')
  rollouts = collect(prompts, share=1.0, empty='?')
  said = scripted.words(rollouts)
  assert said == ['x<?>yz', '<?>b<?>e', '<?>x', 'a<b', 'ab']
  # With the end token.
  lengths = [len(text) + 1 for text in said]
  assert rollouts.length.tolist() == lengths
  np.testing.assert_array_equal(rollouts.action_mask, rollouts.response_mask)
  off = ~np.asarray(rollouts.response_mask)
  np.testing.assert_array_equal(rollouts.content.response[off], 0)


def test_a_share_of_responses_loses_its_thoughts_each_time_others():
  prompts = asked(*['<a>b'] * 64)
  drawn = [
    [text == '<>b' for text in scripted.words(collect(prompts, s, empty=''))]
    for s in range(2)
  ]
  assert drawn[0] != drawn[1]
  assert 0.3 < np.mean(drawn) < 0.7
  kept = collect(prompts, share=0.0, empty='')
  assert scripted.words(kept) == ['<a>b'] * 64


def test_what_others_wrote_and_what_would_not_fit_stays():
  kept = collect(asked('<ab>c', given=3), share=1.0, empty='')
  assert scripted.words(kept) == ['<ab>c']
  long = collect(asked('<a>bcdefg'), share=1.0, empty='???')
  assert scripted.words(long) == ['<???>bcdefg'[:11]]
  longer = collect(asked('<a>bcdefgh'), share=1.0, empty='????')
  assert scripted.words(longer) == ['<a>bcdefgh']


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'share': 1.5}, 'a share of 1.5 thoughts'),
    ({'begin': ''}, 'cannot be found'),
  ],
)
def test_what_cannot_be_left_out_is_refused(values, message):
  with pytest.raises(ValueError, match=message):
    dropped.Dropped(**values)
