"""Bad episodes are rewritten: where, with what, and what of it is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import reflected
from jaxrl_llm.tasks import environments
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = (
  {'prompt': 'q', 'digits': {'a': '7', 'b': '2', 'c': '5'}, 'answer': '72'},
)
GOOD = {'q': 'a', 'qa7\n': 'b', 'qa7\nb2\n': '72'}


def collect(said, columns=40, judge=None, support=False, **values):
  """Rows of a policy whose i-th episode says said[i][context], else 0."""

  def reply(text, row):
    del row
    return said_now[0].pop(0)

  class Lent(scripted.Scripted):
    def generate(self, prompts, key, samples, *, most=0, uids=None):
      texts = scripted.contexts(prompts)
      said_now[0] = [
        said[i % len(said)].get(text, '0') for i, text in enumerate(texts)
      ]
      rollouts = super().generate(prompts, key, samples, most=most)
      none = jnp.full((*rollouts.logp.shape, 2), -1)
      extras = {'support': none} if support else {}
      return rollouts.replace(extras={**rollouts.extras, **extras})

  said_now = [[]]
  lent = Lent(
    reply,
    judge or (lambda text, record: float(text == record['answer'])),
    RECORDS,
    columns,
    environments.Lookup(),
  )
  # Of one tree without nodes: independent episodes.
  values = {'samples': len(said), 'children': len(said), **values}
  values = {'revisions': ('no ',), **values}
  plan = reflected.Reflected(**values)
  rollouts, scores, _ = plan.collect(lent, scripted.ask('q'), (), KEY)
  return lent, rollouts, scores


# Asks for b alone and guesses, once it was told.
BAD = {'q': 'b', 'qb2\n': '22'}


def test_a_bad_episode_turns_good_after_its_wrong_turn():
  lent, rollouts, scores = collect([BAD, GOOD])
  assert scripted.words(rollouts) == ['b2\nno a7\nb2\n72', 'a7\nb2\n72']
  assert scores.components[:, 0].tolist() == [1, 1]
  assert lent.notes['plan/reflected'] == 0.5
  # b, its end, 2, newline; 'no '; a, end, 7, newline; b, ...; 72, end.
  learned = [0] * 4 + [1] * 3 + [1, 1, 0, 0] + [1, 1, 0, 0] + [1, 1, 1]
  count = int(rollouts.length[0])
  assert rollouts.action_mask[0, :count].tolist() == list(map(bool, learned))
  # Under the policy as it is.
  tokens = np.asarray(rollouts.content.response)
  logp = np.where(rollouts.action_mask, rollouts.logp, -tokens / 10)
  np.testing.assert_allclose(logp, -tokens / 10, rtol=1e-6)
  np.testing.assert_array_equal(rollouts.paid[0], 0)


def test_what_both_did_before_they_parted_stands_once():
  bad = {'q': 'a', 'qa7\n': 'c', 'qa7\nc5\n': '75'}
  _, rollouts, _ = collect([bad, GOOD], columns=60)
  assert scripted.words(rollouts)[0] == 'a7\nc5\nno b2\n72'


def test_an_episode_that_ended_with_its_error_stays():
  lent, rollouts, scores = collect([{'q': '11'}, GOOD])
  assert scripted.words(rollouts)[0] == '11'
  assert scores.components[:, 0].tolist() == [0, 1]
  assert lent.notes['plan/reflected'] == 0


def test_without_a_good_episode_all_stay():
  assert collect([BAD, BAD])[0].notes['plan/reflected'] == 0
  # Good enough for the gap, not for the bound.
  lent, _, _ = collect([BAD, GOOD], good=1.0)
  assert lent.notes['plan/reflected'] == 0


def test_an_episode_that_is_hardly_worse_stays():
  def judge(text, record):
    return 1.0 if text == record['answer'] else 0.9

  lent, rollouts, scores = collect([BAD, GOOD], judge=judge)
  assert scripted.words(rollouts)[0] == 'b2\n22'
  np.testing.assert_allclose(scores.components[:, 0], [0.9, 1], rtol=1e-6)
  assert collect([BAD, GOOD], judge=judge, gap=0.05)[0].notes == (
    lent.notes | {'plan/reflected': 0.5}
  )


@pytest.mark.parametrize('tenth', range(1, 9))
def test_just_the_gap_is_hardly_worse_whichever_tenths_they_are(tenth):
  def judge(text, record):
    return (tenth + 2 * (text == record['answer'])) / 10

  notes = collect([BAD, GOOD], judge=judge, good=0.0, gap=0.2)[0].notes
  assert notes == {'plan/reflected': 0.0}


def test_an_episode_whose_verifier_failed_stays():
  def judge(text, record):
    return None if text == '22' else float(text == record['answer'])

  lent, rollouts, _ = collect([BAD, GOOD], judge=judge)
  assert lent.notes['plan/reflected'] == 0
  assert rollouts.valid.tolist() == [False, True]


def test_what_has_no_room_stays():
  lent, rollouts, _ = collect([BAD, GOOD], columns=16)
  assert scripted.words(rollouts)[0] == 'b2\n22'
  assert lent.notes['plan/reflected'] == 0


def test_the_good_episode_with_most_turns_in_common_is_gone_on_with():
  # Both are right; the second one begins as the bad one does.
  bad = {'q': 'a', 'qa7\n': 'c', 'qa7\nc5\n': '75'}
  other = {'q': 'b', 'qb2\n': '72'}
  _, rollouts, _ = collect([bad, other, GOOD], columns=60)
  assert scripted.words(rollouts)[0] == 'a7\nc5\nno b2\n72'
  # Of two that part at once, the better one.
  _, rollouts, scores = collect(
    [BAD, {'q': '7'}, {'q': 'a', 'qa7\n': '72'}],
    columns=60,
    judge=lambda text, record: {'7': 0.6, '72': 0.9}.get(text, 0.0),
  )
  assert scripted.words(rollouts)[0] == 'b2\nno a7\n72'
  np.testing.assert_allclose(scores.components[:, 0], [0.9, 0.6, 0.9])


@pytest.mark.parametrize(
  ('fine', 'said'),
  [
    # The first turn, which both have in common: the good one goes on behind it.
    ((), 'a7\nno b2\n72'),
    (('a7',), 'a7\nc5\nno b2\n72'),
    # A later turn than that at which they part.
    (('a7', 'c5'), 'a7\nc5\nb2\nno b2\n72'),
    # The last turn, behind which nothing goes on.
    (('a7', 'c5', 'b2'), 'a7\nc5\nb2\n75'),
  ],
)
def test_an_episode_turns_where_the_policy_calls_a_turn_wrong(fine, said):
  bad = {'q': 'a', 'qa7\n': 'c', 'qa7\nc5\n': 'b', 'qa7\nc5\nb2\n': '75'}
  verdicts = {f'<{words}': 'good' for words in fine}
  answers = {
    'q<a7\n': verdicts.get('<a7', 'bad'),
    'qa7\n<c5\n': verdicts.get('<c5', 'bad'),
    'qa7\nc5\n<b2\n': verdicts.get('<b2', 'bad'),
    'qa7\nc5\nb2\n<75': 'bad',
  }
  _, rollouts, _ = collect(
    [{**bad, **answers}, GOOD], columns=60, ask='{prompt}{before}<{turn}'
  )
  assert scripted.words(rollouts)[0] == said


def test_sentences_are_drawn():
  said = [BAD] * 15 + [GOOD]
  _, rollouts, _ = collect(said, revisions=('no ', 'so '))
  drawn = {words[3:6] for words in scripted.words(rollouts)[:15]}
  assert drawn == {'no ', 'so '}


def test_no_sentence_and_recorded_candidates_are_refused():
  with pytest.raises(ValueError, match='revisions is empty'):
    reflected.Reflected(revisions=())
  with pytest.raises(ValueError, match='set sample.support = 0'):
    collect([BAD, GOOD], support=True)
