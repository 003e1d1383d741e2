"""Demonstrations encoded: spans, counts, and how well they are known."""

import json

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import recorded
from jaxrl_llm.problems.text import assembly, transcripts
from jaxrl_llm.tasks import data
from tests.end_to_end import tiny
from tests.problems.text import templates
from tests.training import folders

CHAT = {'special': folders.CONTROL, 'chat_template': folders.CHAT}
USER = {'role': 'user', 'content': 'Hi'}


def said(text, **more):
  return {'role': 'assistant', 'content': text} | more


def config_of(folder=None, **changed):
  config = tiny.get_config('sft')
  config.warm_start.steps = 0
  config.data.responses = 'demonstrated'
  config.recipe.samples = 1
  config.eval.samples = 0
  if folder is not None:
    config.model.path = str(folder)
    config.sample.max_prompt = 64
    config.sample.max_response = 64
    config.data.held_out = 1
    config.data.answer_field = ''
    config.verify.names = config.verify.weights = ()
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  return config


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  """A decoder with a chat template, whose turns end with a token of its own."""
  folder = folders.model_in(tmp_path_factory.mktemp('chat'), **CHAT)
  path = folder / 'generation_config.json'
  end = folders.tokenizer_in(folder.parent / 'again', **CHAT)
  ids = end.convert_tokens_to_ids('<|end|>')
  path.write_text(json.dumps({'eos_token_id': [end.eos_token_id, ids]}))
  return folder


def assembled(model, tmp_path, *records, **changed):
  file, held_out = tmp_path / 'chats.jsonl', tmp_path / 'held_out.jsonl'
  file.write_text('\n'.join(map(json.dumps, records)))
  held_out.write_text(json.dumps({'prompt': 'other', 'completion': 'x'}))
  changed = {'data__path': str(file), 'sample__prompts': 1} | changed
  changed |= {'data__held_out_path': str(held_out)}
  return assembly.assemble(config_of(model, **changed), tmp_path)


def texts(parts, task):
  """The prompt of a row, and its runs of tokens: (to be said, text)."""
  rollouts, _ = recorded.rows(parts.train.prompts([task]))
  mask = np.asarray(rollouts.response_mask[0])
  response = np.asarray(rollouts.content.response[0])[mask]
  action = np.asarray(rollouts.action_mask[0])[mask]
  cuts = np.flatnonzero(np.diff(action)) + 1
  prompt = parts.train.tokens[task][parts.train.mask[task]]
  decode = parts.tokenizer.decode
  runs = zip(np.split(action, cuts), np.split(response, cuts), strict=True)
  return decode(prompt), [(bool(own[0]), decode(ids)) for own, ids in runs]


def test_every_turn_of_the_assistant_is_said_and_nothing_else(model, tmp_path):
  talk = [USER, said('Yes?'), USER, said('No.', weight=0), USER, said('Bye')]
  system = {'data__system': 'Be brief.'}
  parts, _ = assembled(
    model, tmp_path, {'messages': talk}, {'prompt': 'a', 'completion': 'b'},
    **system,
  )  # fmt: skip
  parts.close()
  prompt, runs = texts(parts, 0)
  begin = '<|turn|>system\nBe brief.<|end|>\n'
  ask = '<|turn|>user\nHi<|end|>\n<|turn|>assistant\n'
  assert prompt == begin + ask
  assert runs == [
    (True, 'Yes?<|end|>'),
    (False, f'\n{ask}No.<|end|>\n{ask}'),
    (True, 'Bye<|end|>'),
  ]
  # With a message of the system, a text is one of a conversation.
  ask = '<|turn|>user\na<|end|>\n<|turn|>assistant\n'
  assert texts(parts, 1) == (begin + ask, [(True, 'b<|end|>')])


def test_a_text_behind_a_text_meets_no_template_where_it_is_not_asked(
  model, tmp_path
):
  record = {'prompt': 'a', 'completion': ' b'}
  parts, _ = assembled(model, tmp_path, record, data__chat='never')
  parts.close()
  end = parts.tokenizer.eos_token
  assert texts(parts, 0) == ('<|bos|>a', [(True, f' b{end}')])


def test_what_is_odd_is_counted_and_said(model, tmp_path, caplog):
  records = [
    {'messages': [USER, said('Yes')]},
    {'messages': [USER]},
    {'messages': [USER, said('Yes', weight=0)]},
    {'prompt': 'a', 'completion': 'b' * 99},
    {'prompt': 'c', 'completion': ''},
  ]
  parts, _ = assembled(model, tmp_path, *records)
  parts.close()
  assert parts.train.counts == {
    'data/records': 5,
    'data/untrained': 2,
    'data/divided': 0,
    'data/empty': 1,
    'data/truncated': 1,
  }
  assert 'of 5 records: 2 untrained, 1 empty, 1 truncated' in caplog.text
  assert len(parts.train) == 3 and len(texts(parts, 1)[1][0][1]) == 64


def test_turns_that_a_template_writes_anew_have_rows_of_their_own(tmp_path):
  template = folders.CHAT.replace(
    '{{ m.content }}',
    "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}",
  )
  folder = folders.model_in(
    tmp_path, special=folders.CONTROL, chat_template=template
  )
  tokenizer = folders.tokenizer_in(
    tmp_path / 'again', special=folders.CONTROL, chat_template=template
  )
  end = tokenizer.convert_tokens_to_ids('<|end|>')
  path = folder / 'generation_config.json'
  path.write_text(json.dumps({'eos_token_id': end}))
  thought = '<think>hm</think>'
  talk = [USER, said(f'{thought}a'), USER, said(f'{thought}b')]
  parts, _ = assembled(folder, tmp_path, {'messages': talk})
  parts.close()
  assert parts.train.counts['data/divided'] == 1 and len(parts.train) == 2
  (first, one), (second, two) = texts(parts, 0), texts(parts, 1)
  assert one == [(True, f'{thought}a<|end|>')]
  assert two == [(True, f'{thought}b<|end|>')]
  assert second.startswith(f'{first}a<|end|>')
  assert parts.train.rows[1]['prompt'] == talk[:3]


@pytest.mark.parametrize(
  ('records', 'changed', 'words'),
  [
    ([{'messages': [USER]}], {}, 'none of the 1 records of .* to be said'),
    (
      [{'messages': [USER, said('a<|end|>')]}],
      {},
      r"chats.jsonl:1: message 1, of the assistant, holds '<\|end\|>'",
    ),
    ([{'prompt': 'a'}], {}, 'chats.jsonl:1: a demonstration needs either'),
    (
      [{'prompt': 'a', 'completion': 'b'}],
      {'recipe__samples': 2},
      'recipe.samples is 2, and a demonstration',
    ),
    (
      [{'prompt': 'a', 'completion': 'b'}],
      {'data__responses': 'sampled'},
      'sft learns from what the data say; set data.responses=demonstrated',
    ),
  ],
)
def test_what_cannot_be_learned_is_refused(
  records, changed, words, model, tmp_path
):
  if changed.get('data__responses'):
    changed |= {'verify__names': ('exact',), 'verify__weights': (1.0,)}
  with pytest.raises(ValueError, match=words):
    assembled(model, tmp_path, *records, **changed)


def test_epochs_say_how_long_a_run_is(tmp_path):
  """Of 64 records, 4 an iteration."""
  parts, _ = assembly.assemble(config_of(steps=0, data__epochs=1.51), tmp_path)
  parts.close()
  assert parts.config.steps == 25
  config = config_of(steps=0, data__epochs=1.0)
  recipe = assembly.recipe_of(config)
  assert assembly.timed(config_of(), recipe, 64).steps == 12
  other = assembly.recipe_of(tiny.get_config('sec'))
  with pytest.raises(ValueError, match='draws records as it sees fit'):
    assembly.timed(config, other, 64)


def test_held_out_numbers_are_means_over_tokens_of_every_record_once(tmp_path):
  """Five records in batches of four: the last batch wraps around."""
  config = config_of(data__held_out=5, learn__microbatches=2)
  parts, params = assembly.assemble(config, tmp_path)
  found = parts.rated(parts.init(params))
  rollouts, _ = recorded.rows(parts.held_out.prompts(np.arange(5)))
  needs = frozenset({'log_probs'})
  stats = jax.device_get(parts.program.scorer(params, rollouts, needs))
  parts.close()
  mask = np.asarray(rollouts.action_mask)
  best = np.argmax(stats.log_probs, -1) == np.asarray(rollouts.content.response)
  np.testing.assert_allclose(found['nll'], -stats.logp[mask].mean(), rtol=1e-5)
  np.testing.assert_allclose(found['token_accuracy'], best[mask].mean())


def test_a_text_is_learned_from_its_second_token_on():
  tokenizer = templates.words()
  end = tokenizer.eos_token_id
  config = config_of(sample__max_prompt=4, sample__max_response=8)
  texts = ['the cat sat', 'cat', f'the cat{tokenizer.eos_token}']
  dataset = data.Dataset(
    'some',
    [{'prompt': text, 'text': text} for text in texts],
    np.zeros(3, int),
    ('s',),
  )
  found = transcripts.encode(dataset, config, tokenizer, ())
  for row, text in enumerate(texts):
    ids = tokenizer(text)['input_ids']
    ids = ids if ids[-1] == end else [*ids, end]
    prompt = found.tokens[row][found.mask[row]]
    mask = found.columns['recorded_mask'][row, 0]
    assert prompt.tolist() == ids[:1]
    assert found.columns['recorded'][row, 0][mask].tolist() == ids[1:]
    assert (found.columns['recorded_action'][row, 0] == mask).all()
  assert found.counts['data/untrained'] == 0
