"""Notes: what is said of finished responses, against loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import steps
from jaxrl_llm.notes import base as notes
from jaxrl_llm.plans import sampled
from jaxrl_llm.types import Scores, Spec
from tests.plans import scripted

KEY = jax.random.key(0)
SPEC = Spec(4, 2, 1, 6)


def collect(*which, texts=(), records=(), samples=2, prompts=('q', 'r')):
  said = iter(texts)
  tools = scripted.Scripted(
    lambda text, i: next(said), records=records, columns=16
  )
  plan = notes.noted(sampled.independent(samples=samples), *which)
  asked = scripted.ask(*prompts)
  state = plan.init(SPEC)
  rollouts, _, after = plan.collect(tools, asked, state, KEY)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  return rollouts.extras


def test_a_noted_plan_is_that_of_its_responses_and_provides_all():
  inner = sampled.independent(samples=3, columns=('hops',))
  plan = notes.noted(inner, notes.Answers(), notes.Bundles())
  assert plan.contract.samples == 3 and plan.contract.one_prompt
  assert plan.contract.columns == ('hops',)
  assert plan.contract.provides == {'hops', 'answer', 'bundle', 'paper'}
  assert plan.contract.asks == frozenset() and plan.contract.scores == ()
  judged = notes.noted(plan, notes.Judged(('form', 'quality')))
  assert judged.contract.scores == ('form', 'quality')
  assert judged.contract.provides == plan.contract.provides | {
    'form',
    'quality',
  }


def test_equal_answers_have_equal_numbers():
  texts = ['answer is 7', '7', 'answer is 8', 'x']
  number = collect(notes.Answers(), texts=texts)['answer'].tolist()
  assert number[0] == number[1]
  assert len(set(number)) == 3


def test_bundles_are_prompts_in_their_order_and_papers_places():
  extras = collect(
    notes.Bundles(2), texts=['a'] * 9, samples=3, prompts=('q', 'r', 's')
  )
  assert extras['bundle'].tolist() == [0] * 6 + [1] * 3
  assert extras['paper'].tolist() == [0, 1, 2] * 3


def test_a_paper_of_a_bundle_has_one_row_of_each_question():
  extras = collect(
    notes.Bundles(2), texts=['a'] * 12, samples=3, prompts=tuple('qrst')
  )
  pairs = list(zip(extras['bundle'].tolist(), extras['paper'].tolist()))
  assert sorted(pairs) == sorted(
    [(b, p) for b in range(2) for p in range(3)] * 2
  )


def test_scores_become_extras_by_their_names():
  tools = scripted.Scripted(
    lambda text, i: 'a', components=('right', 'quality')
  )
  scores = Scores(jnp.asarray([[1.0, 0.3], [0.0, 0.6]]), jnp.ones(2))
  extras, _ = notes.Judged(('quality',)).write(tools, None, scores, ())
  np.testing.assert_allclose(extras['quality'], [0.3, 0.6])


@pytest.mark.parametrize(
  ('text', 'entropy'),
  [
    ('a b', math.log(2)),
    ('a b a b', math.log(2)),
    ('a a b', -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))),
    ('a a', 0),
    ('', 0),
  ],
)
def test_information_is_the_entropy_of_words(text, entropy):
  extras = collect(notes.Information(), texts=[text] * 4)
  np.testing.assert_allclose(extras['information'], entropy, rtol=1e-6)


def ranked(texts, answer, places=3):
  note = notes.RankedList(lambda hits: hits, places)
  records = ({'answer': answer},)
  return collect(note, texts=texts, records=records, prompts=('q',))


def test_lines_are_items_and_right_ones_hits():
  extras = ranked(['ab\ncd\nef', 'zz\nab'], ['ab', 'ef'])
  np.testing.assert_array_equal(extras['gain'], [[1, 0, 1], [0, 1, 0]])
  # A line break belongs to the line that it ends.
  np.testing.assert_array_equal(extras['item'][0][:8], [0, 0, 0, 1, 1, 1, 2, 2])
  np.testing.assert_array_equal(extras['item'][1][:5], [0, 0, 0, 1, 1])


def test_an_item_counts_once_and_answers_may_be_lines():
  extras = ranked(['ab\nab', 'cd\nab'], 'ab\ncd')
  np.testing.assert_array_equal(extras['gain'], [[1, 0, 0], [1, 1, 0]])


def test_items_past_the_places_have_no_gain():
  extras = ranked(['a\nb\nc\nd', 'b'], ['d'], places=2)
  np.testing.assert_array_equal(extras['gain'], [[0, 0], [0, 0]])
  np.testing.assert_array_equal(extras['item'][0][:7], [0, 0, 1, 1, 2, 2, 2])


def test_gains_may_be_discounted():
  note = notes.RankedList(steps.discounted_gain, 2)
  extras = collect(
    note, texts=['a\nb', 'b\na'], records=({'answer': ['b']},), prompts=('q',)
  )
  second = 1 / math.log2(3)
  np.testing.assert_allclose(
    extras['gain'], [[second, second], [1, 0]], rtol=1e-6
  )
