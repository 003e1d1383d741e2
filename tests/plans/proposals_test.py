"""Questions in what was proposed."""

from jaxrl_llm.plans import proposals


def test_tags_hold_question_and_answer():
  text = 'so <question> 1+1= </question>\n<answer>2</answer>.'
  assert proposals.tagged(text) == ('1+1=', '2')
  assert proposals.tagged('<question>1+1=</question>') is None
