"""Questions as arrays: columns of numbers, and other words for a prompt."""

import dataclasses

import numpy as np
import pytest

from jaxrl_llm.problems.text import questions, shots
from jaxrl_llm.tasks import data, tokens
from tests.end_to_end import tiny
from tests.problems.text import templates


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return tokens.toy_tokenizer(tmp_path_factory.mktemp('tokenizer'))


@pytest.fixture(scope='module')
def chatty():
  """A tokenizer with a template for tools and thinking."""
  return templates.tokenizer('qwen3')


def encoded(tokenizer, records, columns=(), places=(), length=16, **settings):
  config = tiny.get_config()
  config.sample.max_prompt = length
  config.data.update(settings)
  dataset = data.Dataset(
    'some', records, np.zeros(len(records), int), ('s',), places=places
  )
  return questions.encode(dataset, config, tokenizer, columns)


def said(tokenizer, found, row=0):
  return tokenizer.decode(found.tokens[row][found.mask[row]])


def text_of(tokenizer, prompts, row):
  ids = np.asarray(prompts.tokens[row])[np.asarray(prompts.mask[row])]
  return tokenizer.decode(ids.tolist(), skip_special_tokens=True)


def test_columns_are_numbers_of_every_prompt(tokenizer):
  records = [{'prompt': f'q{i}', 'hops': i, 'v': i / 2} for i in range(4)]
  found = encoded(tokenizer, records, ('hops', 'v'))
  prompts = found.prompts(np.array([2, 0, 2]))
  np.testing.assert_array_equal(prompts.extras['hops'], [2, 0, 2])
  np.testing.assert_array_equal(prompts.extras['v'], [1, 0, 1])
  assert not encoded(tokenizer, records).prompts(np.array([1])).extras


@pytest.mark.parametrize('value', [None, 'three'])
def test_a_record_without_the_number_is_named(tokenizer, value):
  records = [{'prompt': 'q0', 'hops': 1}, {'prompt': 'q1', 'hops': value}]
  with pytest.raises(ValueError, match="number 'hops' .* for 'q1'"):
    encoded(tokenizer, records, ('hops',))


@pytest.mark.parametrize(
  ('prompt', 'words'),
  [
    (' ', "the prompt ' ' has no tokens"),
    ([{'role': 'user', 'content': 'a'}], 'no chat template'),
  ],
)
def test_a_prompt_that_cannot_be_asked_is_refused(prompt, words):
  tokenizer = templates.words()
  tokenizer.chat_template = None
  with pytest.raises(ValueError, match=words):
    encoded(tokenizer, [{'prompt': 'a'}, {'prompt': prompt}])


def test_columns_follow_the_prompts_that_are_kept(tokenizer):
  records = [{'prompt': 'q' * 99, 'hops': 7}, {'prompt': 'q', 'hops': 8}]
  config = tiny.get_config()
  config.data.too_long = 'drop'
  dataset = data.Dataset('some', records, np.zeros(2, int), ('s',))
  found = questions.encode(dataset, config, tokenizer, ('hops',))
  np.testing.assert_array_equal(found.columns['hops'], [8])


def test_other_words_keep_the_task_and_its_numbers(tokenizer):
  records = [{'prompt': f'q{i}', 'hops': i} for i in range(3)]
  found = encoded(tokenizer, records, ('hops',))
  prompts = found.reworded(np.array([2, 2]), ['a', 'bc'])
  assert [text_of(tokenizer, prompts, row) for row in range(2)] == ['a', 'bc']
  assert prompts.task.tolist() == [2, 2]
  np.testing.assert_array_equal(prompts.extras['hops'], [2, 2])


def test_other_words_over_the_budget_are_refused(tokenizer):
  found = encoded(tokenizer, [{'prompt': 'q'}])
  fit = found.fit(np.zeros(3, int), ['ab', 'x' * 99, 'c'])
  assert fit == [True, False, True]
  with pytest.raises(ValueError, match='exceeds sample.max_prompt=16'):
    found.reworded(np.array([0]), ['x' * 99])


USER = {'role': 'user', 'content': 'hi'}
OWN = [{'role': 'system', 'content': 'mine'}, USER]
TOOLS = [{'type': 'function', 'function': {'name': 'f'}}]


def test_a_system_message_of_the_record_wins_and_is_said_once(chatty, caplog):
  records = [{'prompt': p} for p in (OWN, 'hi', [USER], OWN)]
  found = encoded(chatty, records, length=99, system='ours')
  texts = [said(chatty, found, row) for row in range(4)]
  assert [t.count('system\n') for t in texts] == [1, 1, 1, 1]
  assert ['ours' in t for t in texts] == [False, True, True, False]
  assert ['mine' in t for t in texts] == [True, False, False, True]
  [line] = [r.getMessage() for r in caplog.records]
  assert line.startswith('2 of 4 prompts of some have a system message of')


def test_a_system_message_that_nobody_gets_is_refused(chatty):
  own, other = (
    encoded(chatty, [{'prompt': p}], length=99, system='ours')
    for p in (OWN, [USER])
  )
  questions.check((own, other), chatty, 999)
  with pytest.raises(ValueError, match='data.system would do nothing: every'):
    questions.check((own, own), chatty, 999)


@pytest.mark.parametrize('tools', [TOOLS, '[{"name": "f"}]'])
def test_tools_of_a_record_reach_its_prompt_alone(chatty, tools):
  records = [{'prompt': [USER], 'tools': tools}, {'prompt': [USER]}]
  records.append(records[1] | {'tools': None})
  found = encoded(chatty, records, length=120)
  assert '"name": "f"' in said(chatty, found, 0)
  assert said(chatty, found, 1) == said(chatty, found, 2)
  assert '# Tools' not in said(chatty, found, 1)


def test_tools_come_along_in_other_words(chatty):
  records = [{'prompt': [USER]}, {'prompt': [USER], 'tools': TOOLS}]
  found = encoded(chatty, records, length=160, system='ours')
  other = [{'role': 'user', 'content': [{'type': 'text', 'text': 'lo'}]}]
  prompts = found.reworded(np.array([1, 0]), [other, 'lo'])
  tokens, mask = np.asarray(prompts.tokens), np.asarray(prompts.mask)
  with_tools, without = (chatty.decode(t[m]) for t, m in zip(tokens, mask))
  assert '"name": "f"' in with_tools and '"name"' not in without
  for text in (with_tools, without):
    assert 'ours' in text and 'user\nlo' in text


def test_variables_of_the_template_are_a_setting(chatty):
  off = '{"enable_thinking": false}'
  found = encoded(
    chatty, [{'prompt': [USER]}], length=99, chat_template_kwargs=off
  )
  assert said(chatty, found).endswith('</think>\n\n')
  prompts = found.reworded(np.array([0]), [[USER]])
  np.testing.assert_array_equal(prompts.tokens, found.tokens)


@pytest.mark.parametrize(
  ('given', 'prompt', 'words'),
  [
    ('{', [USER], "'{' is no JSON"),
    ('[1]', [USER], 'must be a JSON object, as in'),
    ('{"thinking": 1}', [USER], "'thinking' would do nothing: the chat temp"),
    ('{"tokenize": true}', [USER], "'tokenize' is what the run itself gives"),
  ],
)
def test_variables_that_do_nothing_are_refused(chatty, given, prompt, words):
  with pytest.raises(ValueError, match=f'data.chat_template_kwargs.*{words}'):
    encoded(chatty, [{'prompt': prompt}], chat_template_kwargs=given)


def test_variables_of_a_template_that_nobody_uses_are_refused(chatty):
  off = '{"enable_thinking": false}'
  plain, chats, system = (
    encoded(
      chatty, [{'prompt': p}], length=99, chat_template_kwargs=off, **more
    )
    for p, more in (
      ('hi', {'chat': 'never'}),
      ([USER], {}),
      ('hi', {'system': 'ours'}),
    )
  )
  questions.check((plain, chats), chatty, 999)
  questions.check((system, system), chatty, 999)
  with pytest.raises(ValueError, match='kwargs.* do nothing: all prompts are'):
    questions.check((plain, plain), chatty, 999)


def test_a_text_is_the_message_of_a_user_where_there_is_a_template(chatty):
  message = [{'role': 'user', 'content': 'lo'}]
  written = chatty.apply_chat_template(
    message, tokenize=False, add_generation_prompt=True
  )
  records = [{'prompt': p} for p in (message, 'lo', written)]
  found = encoded(chatty, records, length=99)
  assert len({said(chatty, found, row) for row in range(3)}) == 1
  found = encoded(chatty, records, length=99, chat='never')
  assert said(chatty, found, 1) == 'lo' and said(chatty, found, 2) == written
  found = encoded(chatty, records[1:], length=99, chat='always')
  assert said(chatty, found, 1).count('user') == 2
  prompts = found.reworded(np.array([0]), ['lo'])
  assert np.array_equal(prompts.tokens, found.tokens[:1])


def test_a_chat_setting_that_cannot_be_is_refused(chatty, tokenizer):
  with pytest.raises(ValueError, match="'often' must be one of"):
    encoded(chatty, [{'prompt': 'a'}], chat='often')
  with pytest.raises(ValueError, match='no chat template'):
    encoded(tokenizer, [{'prompt': 'a'}], chat='always')


def test_tools_of_a_prompt_in_text_are_said(chatty, caplog):
  records = [{'prompt': 'hi', 'tools': TOOLS}, {'prompt': 'ho'}]
  encoded(chatty, records, chat='never')
  [line] = [r.getMessage() for r in caplog.records]
  assert line.startswith('1 of 2 prompts of some are text and come with tools')


def test_what_a_record_is_refused_for_names_its_place(chatty):
  places = ['a.jsonl:1', 'a.jsonl:7']
  bad = [
    {'prompt': [USER], 'tools': [1]},
    {'prompt': [USER | {'content': 7}]},
    {'prompt': [USER, {'role': 'assistant', 'tool_calls': TOOLS}]},
    {'prompt': ''},
  ]
  for record in bad:
    with pytest.raises(ValueError, match='^a.jsonl:7'):
      encoded(chatty, [{'prompt': [USER]}, record], places=places, length=99)


def test_control_tokens_in_what_people_wrote_are_said(chatty, caplog):
  forged = [USER | {'content': 'a<|im_end|>'}]
  encoded(chatty, [{'prompt': p} for p in ('x', forged, [USER])], length=99)
  [line] = [r.getMessage() for r in caplog.records]
  assert line.startswith('1 of 3 prompts of some hold control tokens')


def test_a_template_that_writes_the_date_is_said(caplog):
  dated = templates.tokenizer('qwen3')
  dated.chat_template += (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d')"
    ' %}{% endif %}{{ date_string }}'
  )
  encoded(dated, [{'prompt': 'hi'}], chat='never')
  given = '{"date_string": "1 May"}'
  found = encoded(
    dated, [{'prompt': [USER]}], length=99, chat_template_kwargs=given
  )
  assert said(dated, found).endswith('1 May') and not caplog.records
  encoded(dated, [{'prompt': [USER]}], length=99)
  [line] = [r.getMessage() for r in caplog.records]
  assert 'writes the date into the prompts of some' in line


def test_tokens_that_the_model_has_not_name_file_and_line(chatty):
  records = [{'prompt': p} for p in ('x', 'y', 'a<think>')]
  places = [f'a.jsonl:{line}' for line in (1, 2, 5)]
  found = encoded(chatty, records, places=places, chat='never')
  past = chatty.convert_tokens_to_ids('<think>')
  questions.check([found], chatty, past + 1)
  with pytest.raises(ValueError) as refused:
    questions.check([found], chatty, past)
  for word in ('a.jsonl:5: the prompt', "'<think>'", f'0 to {past - 1}'):
    assert word in str(refused.value)
  columns = {
    'recorded': np.array([[[1, 2]], [[1, past]], [[past, 3]]]),
    'recorded_mask': np.array([[[1, 1]], [[1, 1]], [[0, 1]]], bool),
  }
  found = dataclasses.replace(
    encoded(chatty, [records[0]] * 3, places=places, chat='never'),
    columns=columns,
  )
  with pytest.raises(ValueError, match='a.jsonl:2: a response .*<think>'):
    questions.check([found], chatty, past)


def shown(*pairs):
  return [shots.Shot(f'p:{i}', *pair) for i, pair in enumerate(pairs)]


def test_examples_stand_before_a_text_as_texts():
  examples = shown(('2+2=', '4'), ('Q: 1+1?\nA:\n', ' so 2\n#### 2\n'))
  found = shots.before('3+3=', examples)
  assert found == '2+2= 4\n\nQ: 1+1?\nA:\nso 2\n#### 2\n\n3+3='
  with pytest.raises(ValueError, match='example of p:0 is messages; give one'):
    shots.before('a', shown(([USER], 'b')))


def test_examples_are_turns_between_the_system_and_the_question(chatty):
  begun = [*OWN, {'role': 'assistant', 'content': 'So '}]
  examples = shown(('one', 'two'), (begun, 'be it'))
  dataset = data.Dataset(
    'some', [{'prompt': 'three'}, {'prompt': OWN}], np.zeros(2, int), ('s',)
  )
  config = tiny.get_config()
  config.sample.max_prompt, config.data.system = 99, 'ours'
  found = questions.encode(dataset, config, chatty, shown=examples)
  texts = [said(chatty, found, row) for row in range(2)]
  marks = [line for line in texts[0].split('\n') if line]
  turns = [line.partition('<|im_start|>')[2] for line in marks]
  assert [role for role in turns if role] == [
    *('system', 'user', 'assistant', 'user', 'assistant', 'user', 'assistant')
  ]
  assert 'ours' in texts[0] and 'So be it' in texts[0]
  assert 'mine' not in texts[0] and 'ours' not in texts[1]
  assert texts[1].index('mine') < texts[1].index('one') < texts[1].index('hi')
  # Other words for a question come behind the same examples.
  prompts = found.reworded(np.array([0]), ['four'])
  other = text_of(chatty, prompts, 0)
  assert 'So be it' in other and 'four' in other and 'three' not in other


def test_examples_are_taken_out_of_what_is_trained_on():
  rows = [{'prompt': f'q{i % 6}', 'answer': str(i % 6)} for i in range(9)]
  rows[0] |= {'solution': 'worked\n#### 0'}
  dataset = data.Dataset('some', rows, np.zeros(9, int), ('s',))
  examples, rest = shots.taken(dataset, 2, seed=0)
  asked = {shot.prompt for shot in examples}
  assert len(asked) == 2 and asked.isdisjoint(r['prompt'] for r in rest.rows)
  assert len(rest) == sum(row['prompt'] not in asked for row in rows)
  assert shots.taken(dataset, 2, seed=0)[0] == examples
  assert any(shots.taken(dataset, 2, seed=i)[0] != examples for i in (1, 2))
  assert shots.taken(dataset, 0, seed=0) == ((), dataset)
  every, _ = shots.taken(dataset, 5, seed=0)
  for shot in every:
    worked = shot.prompt == 'q0'
    assert shot.answer == ('worked\n#### 0' if worked else shot.prompt[1:])


def test_an_example_of_options_says_the_letter():
  row = {'prompt': 'q', 'answer': 1, 'choices': ['x', 'y']}
  rows = [row, row | {'prompt': 'r', 'answer': ['y', 'x']}]
  dataset = data.Dataset('some', rows, np.zeros(2, int), ('s',))
  answers = {
    shot.prompt: shot.answer
    for seed in range(9)
    for shot in shots.taken(dataset, 1, seed=seed)[0]
  }
  assert answers == {'q': 'B', 'r': 'y'}


@pytest.mark.parametrize(
  ('count', 'more', 'words'),
  [
    (2, {}, 'data.shots=2 leaves none of the 2 different questions of some'),
    (1, {'answer': ''}, r'some, question \d: data.shots shows questions with'),
  ],
)
def test_examples_that_cannot_be_shown_are_refused(count, more, words):
  rows = [{'prompt': p, 'answer': 'a', **more} for p in 'xy']
  dataset = data.Dataset('some', rows, np.zeros(2, int), ('s',))
  with pytest.raises(ValueError, match=words):
    shots.taken(dataset, count, seed=0)
