"""The words that questions are asked with again."""

import pytest

from jaxrl_llm.plans import phrases


def test_a_phrase_says_where_words_go():
  said = phrases.phrased('{hint}, then {prompt}', 'why?', hint='so')
  assert said == 'so, then why?'


def test_braces_of_words_and_of_the_phrase_stay():
  said = phrases.phrased(
    '{prompt} \\boxed{} {hint}', 'a{hint}b', hint='{prompt}'
  )
  assert said == 'a{hint}b \\boxed{} {prompt}'


def test_the_last_message_of_a_conversation_is_rewritten():
  talk = [
    {'role': 'system', 'content': 's'},
    {'role': 'user', 'content': 'q', 'name': 'n'},
  ]
  said = phrases.phrased('{prompt}+{hint}', talk, hint='h')
  assert said == [talk[0], {'role': 'user', 'content': 'q+h', 'name': 'n'}]
  assert talk[1]['content'] == 'q'


@pytest.mark.parametrize('phrase', ['{prompt}', '{hint}', 'hint'])
def test_a_phrase_that_leaves_something_out_is_refused(phrase):
  with pytest.raises(ValueError, match='leaves out {(hint|prompt)}; it is to'):
    phrases.phrased(phrase, 'q', hint='h')
