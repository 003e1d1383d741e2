"""Which runs learn from recorded responses, and what they are refused."""

import json

import jax
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.plans import recorded, recorded_beside
from jaxrl_llm.problems.text import assembly, recordings
from jaxrl_llm.tasks import tokens
from jaxrl_llm.training import loop
from tests.end_to_end import tiny
from tests.training import folders


def config_of(recipe='dpo', **changed):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.responses = 'recorded'
  config.recipe.samples = 2
  with config.unlocked():
    config.update_from_flattened_dict(
      {name.replace('__', '.'): value for name, value in changed.items()}
    )
  return config


def test_a_recipe_gets_the_plan_of_records_of_its_size():
  recipe = recordings.planned(recipes.build('lipo', samples=4))
  assert recipe.plan == recorded.Recorded(4)


@pytest.mark.parametrize(
  ('recipe', 'refused'),
  [
    ('sampler_truncated', True),
    ('unlikeliness', True),
    ('dpo', False),
    ('kto', False),
    ('grpo', False),
  ],
)
def test_what_is_measured_on_own_samples_is_refused(recipe, refused):
  """Ratios to a sampler, how likely a response was."""
  built = recipes.build(recipe)
  if refused:
    with pytest.raises(ValueError, match='data.responses=sampled'):
      recordings.planned(built)
  else:
    assert (
      recordings.planned(built).plan.contract
      == recorded.Recorded(built.plan.contract.samples).contract
    )


def test_own_samples_may_stand_beside_recorded_ones():
  recipe = recordings.planned(recipes.build('hypo', samples=3))
  assert recipe.plan == recorded_beside.BesideOwn(3)
  assert recipe.plan.contract.samples == 6 and recordings.count(recipe) == 3


def test_a_plan_with_a_way_of_its_own_is_refused():
  with pytest.raises(ValueError, match='Refill of the recipe samples'):
    recordings.planned(recipes.build('dapo'))


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'data__responses': 'written'}, "'written' must be one of"),
    ({'data__too_long': 'cut'}, "must be 'stop' or 'drop'"),
    ({'data__responses': 'sampled', 'verify__names': (),
      'verify__weights': ()}, 'verify.names is empty'),
    ({'verify__names': ()}, '1 weights for 0 verifiers'),
  ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings, words, tmp_path):
  with pytest.raises(ValueError, match=words):
    assembly.assemble(config_of(**settings), tmp_path)


def _of_records(records, tmp_path):
  """A run on pairs, with another like the first held out."""
  held_out = tmp_path / 'held_out.jsonl'
  held_out.write_text(json.dumps(records[0] | {'prompt': 'e'}))
  file = tmp_path / 'pairs.jsonl'
  file.write_text('\n'.join(map(json.dumps, records)))
  config = config_of(
    data__path=str(file),
    data__held_out_path=str(held_out),
    data__answer_field='',
    verify__names=(),
    verify__weights=(),
  )
  parts, _ = assembly.assemble(config, tmp_path)
  return parts


def test_what_is_odd_in_the_data_is_counted_and_said(tmp_path, caplog):
  records = [
    {'prompt': 'a', 'chosen': '1', 'rejected': '2'},
    {'prompt': 'b', 'chosen': '1', 'rejected': '1'},
    {'prompt': 'c', 'chosen': '', 'rejected': '1'},
    {'prompt': 'd', 'chosen': '1' * 99, 'rejected': '1'},
  ]
  parts = _of_records(records, tmp_path)
  assert parts.train.counts == {
    'data/records': 4,
    'data/identical': 1,
    'data/empty': 1,
    'data/truncated': 1,
  }
  assert 'of 4 records: 1 identical, 1 empty, 1 truncated' in caplog.text


def test_held_out_ratings_are_those_of_every_record_once(tmp_path):
  """Five records in batches of four: the last batch wraps around."""
  config = config_of(data__held_out=5, learn__microbatches=2)
  parts, params = assembly.assemble(config, tmp_path)
  moved = jax.tree.map(lambda x: x * 1.1, params)
  state = parts.init(params).replace(params=moved)
  found = parts.rated(state)
  wins, margins = [], []
  for task in range(5):
    rollouts, scores = recorded.rows(parts.held_out.prompts([task]))
    now, before = (
      np.asarray(parts.program.scorer(p, rollouts, frozenset()).logp).sum(1)
      for p in (moved, params)
    )
    h = now - before
    chosen = int(np.argmax(scores.components[:, 0]))
    margins.append(h[chosen] - h[1 - chosen])
    wins.append(margins[-1] > 0)
  parts.close()
  np.testing.assert_allclose(found['preference/accuracy'], np.mean(wins))
  np.testing.assert_allclose(
    found['preference/margin'], np.mean(margins), rtol=1e-3, atol=1e-5
  )


def test_responses_that_bring_their_end_get_no_second_one(tmp_path):
  end = tokens.EOS
  pairs = [
    {'prompt': 'a', 'chosen': f'1{end}', 'rejected': '2'},
    {'prompt': 'b', 'chosen': end, 'rejected': '1'},
    {'prompt': 'c', 'chosen': '1', 'rejected': f'1{end}'},
  ]
  parts = _of_records(pairs, tmp_path)
  lengths = parts.train.columns['recorded_mask'].sum(-1)
  assert lengths.tolist() == [[2, 2], [1, 2], [2, 2]]
  assert parts.train.counts['data/empty'] == 1
  assert parts.train.counts['data/identical'] == 1


def test_pairs_that_are_all_alike_are_refused(tmp_path):
  lines = [
    {'prompt': f'sort {i}1=', 'chosen': f'1{i}', 'rejected': f'1{i}'}
    for i in range(2, 8)
  ]
  path = tmp_path / 'alike.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))
  config = config_of(
    data__path=str(path), data__held_out=2, data__answer_field=''
  )
  with pytest.raises(ValueError, match='each of 4 records .* the same tokens'):
    assembly.assemble(config, tmp_path)


def labelled(folder, count=12):
  """A file of labelled words, right and wrong, and settings that read it."""
  lines = [
    {'prompt': f'sort {i}1=', 'completion': f'1{i}'[::sign], 'label': sign > 0}
    for i in range(2, 2 + count // 2)
    for sign in (1, -1)
  ]
  path = folder / 'labelled.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))
  return {
    'data__path': str(path),
    'data__held_out': 3,
    'data__answer_field': '',
    'verify__names': (),
    'verify__weights': (),
  }


@pytest.mark.parametrize('recipe', ['kto', 'unary_reward_model'])
def test_single_labelled_responses_are_learned_from(recipe, tmp_path):
  config = config_of(
    recipe, **labelled(tmp_path), optimizer__learning_rate=1e-2
  )
  config.recipe.samples = 1
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  before = parts.rated(state)
  for step in range(30):
    state, metrics, _ = loop.iterate(parts, state, step)
    assert metrics['bad_steps'] == 0 and metrics['grad/norm'] > 0
    assert metrics['rows/valid'] == 1
  after = parts.rated(state)
  parts.close()
  assert after['preference/margin'] > before['preference/margin']
  assert metrics['preference/accuracy'] > 0.9
  if recipe == 'unary_reward_model':
    # At ratings of 0 it is log 2; rather more for a model that knows nothing.
    assert after['rating/nll'] < before['rating/nll']
    assert 0 <= after['rating/accuracy'] <= 1


def test_held_out_single_responses_are_compared_within_their_batches(tmp_path):
  """Six records in batches of four: the last is filled up."""
  config = config_of('unary_reward_model', **labelled(tmp_path))
  config.recipe.samples = 1
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  found = parts.rated(state)
  assert len(parts.held_out) == 6
  ratings, labels = [], []
  for task in range(6):
    rollouts, scores = recorded.rows(parts.held_out.prompts([task]))
    stats = parts.program.scorer(params, rollouts, frozenset({'after_values'}))
    ratings.append(stats.after_values[0, int(rollouts.length[0]) - 1])
    labels.append(scores.components[0, 0])
  parts.close()
  ratings, labels = np.array(ratings), np.array(labels)
  margins = []
  for batch in (slice(0, 4), slice(4, 6)):
    r, l = ratings[batch], labels[batch]
    margins.append(np.mean(r[l == 1]) - np.mean(r[l == 0]))
  np.testing.assert_allclose(
    found['preference/margin'], np.mean(margins), rtol=1e-3, atol=1e-6
  )
  signed = np.where(labels == 1, ratings, -ratings)
  np.testing.assert_allclose(
    found['rating/nll'], np.mean(np.log1p(np.exp(-signed))), rtol=1e-4
  )


def test_single_responses_are_no_pairs(tmp_path, caplog):
  with pytest.raises(ValueError, match='such as kto or unary_reward_model'):
    assembly.assemble(config_of('dpo', **labelled(tmp_path)), tmp_path)
  parts, _ = assembly.assemble(config_of('kto', **labelled(tmp_path)), tmp_path)
  parts.close()
  assert 'and recipe.samples=2: most rows of a batch are empty' in caplog.text


def test_a_text_beside_messages_goes_through_the_chat_template(tmp_path):
  """As the same question in a message does."""
  said = [{'role': 'assistant', 'content': 'b'}]
  pair = {'chosen': said, 'rejected': [said[0] | {'content': 'c'}]}
  asked = ['a', [{'role': 'user', 'content': 'a'}], 'a']
  records = [pair | {'prompt': prompt} for prompt in asked]
  records[2] |= {'chosen': 'b', 'rejected': 'c'}
  held_out = tmp_path / 'held_out.jsonl'
  held_out.write_text(json.dumps(pair | {'prompt': 'e'}))
  file = tmp_path / 'pairs.jsonl'
  file.write_text('\n'.join(map(json.dumps, records)))
  folder = folders.model_in(
    tmp_path, special=folders.CONTROL, chat_template=folders.CHAT
  )
  config = config_of(
    model__path=str(folder),
    data__path=str(file),
    data__held_out_path=str(held_out),
    data__answer_field='',
    data__chat='never',
    sample__max_prompt=64,
    sample__prompts=1,
    verify__names=(),
    verify__weights=(),
  )
  parts, _ = assembly.assemble(config, tmp_path)
  parts.close()
  text, message, plain = (
    parts.tokenizer.decode(tokens[mask])
    for tokens, mask in zip(parts.train.tokens, parts.train.mask)
  )
  assert text == message and message.startswith('<|turn|>user\na<|end|>')
  assert plain.endswith('a') and '<|turn|>' not in plain


def test_examples_before_recorded_responses_are_refused():
  config = tiny.get_config('dpo')
  config.data.shots, config.data.responses = 2, 'recorded'
  with pytest.raises(ValueError, match='data.shots=2 puts examples before'):
    recordings.load(config, None, None)


def test_behind_messages_a_response_ends_its_turn_and_the_sampler_stops(
  tmp_path,
):
  """Nothing but the template says with what: no file names that token."""
  chat = {'special': folders.CONTROL, 'chat_template': folders.CHAT}
  folder = folders.model_in(tmp_path, **chat)
  tokenizer = folders.tokenizer_in(tmp_path / 'again', **chat)
  [end] = tokenizer('<|end|>', add_special_tokens=False)['input_ids']
  asked = [{'role': 'user', 'content': 'Hi'}]
  records = [
    {'prompt': asked, 'chosen': 'a', 'rejected': 'b<|end|>'},
    {'prompt': 'a<|end|>', 'chosen': 'a', 'rejected': 'b'},
  ]
  file, away = tmp_path / 'pairs.jsonl', tmp_path / 'away.jsonl'
  file.write_text('\n'.join(map(json.dumps, records * 2)))
  away.write_text(json.dumps(records[0] | {'prompt': 'other'}))
  config = config_of(
    model__path=str(folder),
    data__path=str(file),
    data__held_out_path=str(away),
    data__answer_field='',
    sample__max_prompt=32,
    verify__names=(),
    verify__weights=(),
  )
  parts, _ = assembly.assemble(config, tmp_path / 'run')
  parts.close()
  assert {end, tokenizer.eos_token_id} <= {*parts.answering.sampler.stop_tokens}
  columns = parts.train.columns
  lengths = columns['recorded_mask'].sum(axis=-1)
  for row, record in zip(range(len(parts.train)), parts.train.rows):
    in_messages = isinstance(record['prompt'], list)
    expected = end if in_messages else tokenizer.eos_token_id
    last = columns['recorded'][row, range(2), lengths[row] - 1]
    assert last.tolist() == [expected] * 2
