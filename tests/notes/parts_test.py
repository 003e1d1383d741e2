import jax
import numpy as np
import pytest

from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts
from jaxrl_llm.plans import sampled
from jaxrl_llm.tasks import feedback
from tests.plans import scripted

KEY = jax.random.key(0)


def _collect(note, texts, judge=lambda text, record: 0.0, record=None):
  said = iter(texts)
  tools = scripted.Scripted(
    lambda text, i: next(said), judge=judge, records=[record or {}], columns=8
  )
  plan = notes.noted(sampled.independent(samples=len(texts)), note)
  prompts = scripted.ask('q')
  rollouts, scores, _ = plan.collect(tools, prompts, ((), ((),)), KEY)
  return rollouts, scores


def test_a_thought_ends_with_its_mark_which_may_span_tokens():
  rollouts, _ = _collect(parts.Thoughts(end='xy'), ['axyb', 'xa', 'xy', 'b'])
  found = np.asarray(rollouts.extras['thought']).sum(1)
  np.testing.assert_array_equal(found, [3, 0, 2, 0])
  assert rollouts.extras['thought'][0, :3].all()


def test_prefix_rewards_judge_what_was_said_before_each_token():
  def count(text, record):
    return float(text.count('a'))

  note = parts.PrefixRewards(weight=0.5)
  rollouts, scores = _collect(note, ['aba', 'bb'], judge=count)
  found = np.asarray(rollouts.extras['prefix_reward'])
  np.testing.assert_allclose(found[0, :4], [0, 2, 2, 4])
  np.testing.assert_allclose(found[1, :3], [0, 0, 0])
  np.testing.assert_allclose(scores.components[:, 0], [2, 0])
  assert found.shape == rollouts.content.response.shape


def test_a_prefix_that_cannot_be_judged_earns_nothing():
  def judge(text, record):
    return None if text == 'a' else 1.0

  note = parts.PrefixRewards()
  rollouts, _ = _collect(note, ['ab'], judge=judge)
  found = np.asarray(rollouts.extras['prefix_reward'])
  np.testing.assert_allclose(found[0, :3], [1, 0, 1])


def test_a_beginning_is_the_longest_of_the_texts_that_come_first():
  note = parts.Beginnings(('a', 'ab', 'c'))
  rollouts, _ = _collect(note, ['abc', 'ac', 'ba', '', ' c', 'xab'])
  found = rollouts.extras['beginning'].tolist()
  assert found == [1, 0, -1, -1, 2, -1]


@pytest.mark.parametrize('texts', [('a', 'a'), ('a', '')])
def test_beginnings_that_are_no_different_are_refused(texts):
  with pytest.raises(ValueError, match='cannot be told apart'):
    parts.Beginnings(texts)


def spoken(responses, rows):
  """Feedback on made-up responses."""
  known = {'abab': {'good': ['ab'], 'poor': [(2, 3)]}, 'aaxy': {'poor': ['xy']}}
  return [known.get(text, {'good': ['z', '']}) for text in responses]


def test_tokens_of_spans_are_good_or_poor_and_poor_ones_win():
  note = parts.Spans('tests.notes.parts_test:spoken')
  rollouts, _ = _collect(note, ['abab', 'aaxy', 'ba'])
  found = rollouts.extras['span_reward'][:, :4]
  wanted = [[1, 1, -1, 1], [0, 0, -1, -1], [0, 0, 0, 0]]
  np.testing.assert_array_equal(found, wanted)


def test_feedback_that_is_not_there_or_means_nothing_is_refused():
  with pytest.raises(ValueError, match='has no function'):
    parts.Spans('tests.notes.parts_test:nothing')
  for span in ((0, 9), 3, (2, 1)):
    with pytest.raises(ValueError, match='is no text, and no pair'):
      feedback.places('ab', [span])


def test_feedback_by_the_answer_says_what_is_shared():
  row = {'answer': ['0113', 'x']}
  good, poor, both = feedback.compared(['0113', 'zz', '0z13'], [row] * 3)
  assert good == {'good': [(0, 4)], 'poor': []}
  assert poor == {'good': [], 'poor': [(0, 2)]}
  assert both == {'good': [(0, 1), (2, 4)], 'poor': [(1, 2)]}


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('ab:xy:c', [0, 0, 1, 0, 0, -0.2, 0, 0]),  # what nothing ends
    ('BC:bc:', [0, 0, 1, 0, 0, -0.2, 0, 0]),  # of any case, and twice
    ('ab: b:', [0, 0, 1, 0, 0, -0.2, 0, 0]),  # in what was named before
    (': :', [-0.2, 0, -0.2, 0, 0, 0, 0, 0]),  # empty
    ('b:ab:', [0, 1, 0, 0, 1, 0, 0, 0]),  # more than was named before
  ],
)
def test_keywords_earn_by_the_answer_where_they_end(text, wanted):
  note = parts.Keywords(mark=':')
  rollouts, _ = _collect(note, [text], record={'answer': 'x ABC'})
  found = rollouts.extras['span_reward'][0]
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, wanted)


def test_keywords_that_share_a_token_are_added():
  class Lent(scripted.Scripted):
    def pieces(self, rollouts):
      return [['a:x:', 'c', ':a']]

  rollouts = scripted.answer(scripted.ask('q'), ['abc'], 8)
  lent = Lent(None, records=[{'answer': ['ac', 'x']}])
  note = parts.Keywords(mark=':', hit=2.0, miss=-0.5)
  found, _ = note.write(lent, rollouts, None, ())
  np.testing.assert_allclose(found['span_reward'][0, :3], [1.5, 0, 2])


@pytest.mark.parametrize('mark', ['', '::'])
def test_a_mark_of_keywords_is_one_letter(mark):
  with pytest.raises(ValueError, match='is not one letter'):
    parts.Keywords(mark=mark)


def test_each_turn_of_an_episode_has_its_thought():
  """The mark of one turn ends no thought of another."""
  tools = scripted.Scripted(lambda text, i: '', columns=8)
  rows = scripted.answer(scripted.ask('q', 'r'), ['axbaxb', 'abbaxb'], 8)
  turn = np.array([[0, 0, 0, 1, 1, 1, 1, 1]] * 2)
  rows = rows.with_extras(turn=turn)
  found, _ = parts.Thoughts(end='x').write(tools, rows, None, ())
  wanted = [[1, 1, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0]]
  np.testing.assert_array_equal(found['thought'], np.array(wanted, bool))
