"""Characters and the tokens that they are in."""

from jaxrl_llm.plans import spans


def test_tokens_that_hold_a_part_of_a_mark_stay():
  assert spans.inside(['<a', '>b', 'c', 'd<', '/a>'], 3, 6) == (2, 3)
  assert spans.inside(['<>', 'a'], 1, 1) == (1, 1)


def test_a_character_is_held_by_one_token():
  assert [spans.holding(['ab', '', 'c'], at) for at in range(3)] == [0, 0, 2]
