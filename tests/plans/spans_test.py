"""Characters and the tokens that they are in."""

import pytest

from jaxrl_llm.plans import searched, spans


def test_tokens_that_hold_a_part_of_a_mark_stay():
  assert spans.inside(['<a', '>b', 'c', 'd<', '/a>'], 3, 6) == (2, 3)
  assert spans.inside(['<>', 'a'], 1, 1) == (1, 1)


def test_a_character_is_held_by_one_token():
  assert [spans.holding(['ab', '', 'c'], at) for at in range(3)] == [0, 0, 2]


@pytest.mark.parametrize(
  ('pieces', 'phrases', 'tokens'),
  [
    (['send', '(', 'to', '="', 'a"', ')'], 1, 2),
    # A token that goes beyond the phrase begins the next one.
    (['send', '(', 'to', '="', 'a"', ')'], 2, 3),
    (['(x', '=1', ')'], 1, 1),
    (['one', ',', ' two'], 1, 2),
    (['one', ', ', 'two'], 2, 3),
  ],
)
def test_a_step_has_the_tokens_that_its_phrases_have_whole(
  pieces, phrases, tokens
):
  assert spans.phrases(pieces, searched.MARK, phrases) == tokens


def test_any_character_can_end_a_phrase():
  assert spans.phrases(['a', 'bc', 'd'], '.', 3) == 2
