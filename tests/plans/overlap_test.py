"""Words that texts share."""

from jaxrl_llm.plans import overlap


def test_texts_share_words_with_those_beside_them():
  texts = ['a b', 'b  b c d', '', '', 'x', '']
  found = overlap.among(texts, 2)
  assert found.tolist() == [[1, 0.5], [0.5, 1], [1, 1], [1, 1], [1, 0], [0, 1]]
