"""Questions in what was proposed."""

import pytest

from jaxrl_llm.plans import proposals


def test_tags_hold_question_and_answer():
  text = 'so <question> 1+1= </question>\n<answer>2</answer>.'
  assert proposals.tagged(text) == ('1+1=', '2')
  assert proposals.tagged('<question>1+1=</question>') is None


READ = 'Ann Lee, born in Rye, wrote the Book of Ten in the house of a friend.'


@pytest.mark.parametrize(
  ('pair', 'searches', 'hops', 'wanted'),
  [
    (('Who wrote it?', 'ann lee.'), 0, 1, 1),
    (('Who wrote it?', 'Ann Lee'), 2, 1, 1),
    (('Who wrote it?', 'Ann Lee'), 0, 2, 2 / 3),
    (('Who wrote it?', 'Ann Lee'), 1, 2, 1),
    (('Who wrote it?', 'Ann Lee'), 1, 4, (1 + 1 / 2 + 1) / 3),
    (('Who wrote it?', 'Ann Lee'), 7, 4, 1),
    (('Who wrote it?', 'Bob'), 1, 2, 2 / 3),
    (('Was she born in Rye?', 'Yes'), 0, 1, 1),
    (('What?', 'the Book of Ten'), 0, 1, 1),
    (('What?', 'wrote book of ten in house'), 0, 1, (1 + 1 + 0.5) / 3),
    (('What?', READ), 0, 1, 2 / 3),
    (('Is Ann Lee the one?', 'Ann Lee'), 1, 2, 0),
    (('Who?', '?'), 0, 1, 0),
    # A letter is an answer, if an article too.
    (('Who?', 'a'), 0, 1, 1),
    (('Who wrote it?', 'Ann Lee'), 1, 0, 1),
    (('', 'Ann'), 0, 1, 0),
    (None, 3, 2, 0),
  ],
)
def test_form_is_of_searches_and_of_an_answer_that_was_read(
  pair, searches, hops, wanted
):
  assert proposals.form(pair, READ, searches, hops) == pytest.approx(wanted)
