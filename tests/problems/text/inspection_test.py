"""What is said of a template is what it does."""

import pytest

from jaxrl_llm.problems.text import dialogue, inspection
from tests.problems.text import templates


def found(name, *, template=None, end=None):
  tokenizer = templates.tokenizer(name)
  if template is not None:
    tokenizer.chat_template = template(tokenizer.chat_template)
  ends = [tokenizer.convert_tokens_to_ids(end)] if end else []
  reader = dialogue.Reader(tokenizer, ends)
  return inspection.inspect(dialogue.Templated(reader, {}))


@pytest.mark.parametrize(
  ('name', 'end', 'keeps', 'roles', 'tools', 'calls'),
  [
    ('qwen2.5', None, True, ('system', 'tool'), True, 2),
    ('qwen3', None, False, ('system', 'tool'), True, 2),
    ('llama3.2', None, True, ('system', 'tool'), True, 1),
    ('llama3', None, True, ('system',), True, 0),
    ('gemma', '<end_of_turn>', True, (), False, 0),
    ('gemma3', '<end_of_turn>', True, ('system',), False, 0),
    ('smollm2', None, True, ('system',), False, 0),
    ('llama2', None, True, ('system',), False, 0),
  ],
)
def test_families_are_told_apart(name, end, keeps, roles, tools, calls):
  report = found(name, end=end)
  report.check()
  assert set(report.roles) == {'user', 'assistant', *roles}
  assert (report.keeps, report.tools, report.calls) == (keeps, tools, calls)
  assert report.closes.endswith(end or templates.tokenizer(name).eos_token)
  said = '\n'.join(report.lines())
  assert 'as does a response' in said and 'BUT NOT' not in said


def test_a_history_that_is_written_anew_is_shown():
  assert "'<think>\\nhm" in found('qwen3').rewrites
  assert 'thoughts' in found('qwen3').lines()[1]


def test_a_template_whose_turns_do_not_end_is_refused_by_name():
  report = found('gemma')
  assert 'BUT NOT' in report.lines()[0]
  with pytest.raises(
    ValueError, match="with '<end_of_turn>', and a response ends with '<eos>'"
  ):
    report.check()
