"""Sessions on model folders whose tokenizer and embedding do not agree."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.tools import Tools
from jaxrl_llm.training import loop, programs
from tests.end_to_end import tiny
from tests.training import folders


def assembled(folder, workdir, **changed):
  config = tiny.get_config()
  config.warm_start.steps = 0
  config.model.path = str(folder)
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  return assembly.assemble(config, workdir)


def sampled(parts, params):
  """The responses of an iteration that was learned from."""
  state, metrics, (rollouts, *_) = loop.iterate(parts, parts.init(params), 0)
  parts.close()
  assert np.isfinite(metrics['loss'])
  return rollouts


def test_a_padding_token_past_the_embedding_is_never_read(tmp_path):
  """As of Llama 2 with the [PAD] that recipes for it add."""
  tokenizer = folders.tokenizer_in(tmp_path / 'more', special=['[PAD]'])
  tokenizer.pad_token = '[PAD]'
  vocab = len(tokenizer) - 1
  folder = folders.model_in(tmp_path, special=['[PAD]'], vocab=vocab)
  tokenizer.save_pretrained(str(folder))
  parts, params = assembled(folder, tmp_path / 'run')
  assert parts.tokenizer.pad_token_id == parts.model.vocab == vocab
  parts.export(parts.init(params), tmp_path / 'export')
  exported = (tmp_path / 'export' / 'tokenizer_config.json').read_text()
  assert json.loads(exported)['pad_token'] == '[PAD]'
  rollouts = sampled(parts, params)
  for tokens in (
    rollouts.content.prompt,
    rollouts.content.response,
    parts.train.tokens,
  ):
    assert np.max(tokens) < vocab


def test_stop_strings_work_where_the_tokenizer_is_longer(tmp_path):
  """As of Gemma 3, whose text models have no row for the image token."""
  folder = folders.model_in(tmp_path, special=['<image>'], vocab=259)
  parts, params = assembled(folder, tmp_path / 'run', sample__stop=('ab',))
  assert len(parts.tokenizer) == parts.model.vocab + 1
  assert parts.answering.sampler.stop_table.shape[1] == parts.model.vocab
  sampled(parts, params)


def test_a_special_token_stops_a_response(tmp_path):
  special = [f'<{i}>' for i in range(40)]
  folder = folders.model_in(tmp_path, special=special)
  parts, params = assembled(
    folder, tmp_path / 'run', sample__stop=tuple(special)
  )
  ids = [parts.tokenizer.convert_tokens_to_ids(name) for name in special]
  rollouts = sampled(parts, params)
  response, length = (
    np.asarray(rollouts.content.response),
    np.asarray(rollouts.length),
  )
  stopped = ~np.asarray(rollouts.truncated)
  last = response[np.arange(len(length)), length - 1]
  ends = [*ids, parts.tokenizer.eos_token_id]
  np.testing.assert_array_equal(np.isin(last, ends), stopped)
  assert np.isin(last, ids).any()
  inner = np.arange(response.shape[1]) < length[:, None] - 1
  assert not np.isin(response, ends)[inner].any()


def test_an_end_named_only_by_the_models_configuration_stops(tmp_path):
  folder = folders.model_in(tmp_path)
  config = json.loads((folder / 'config.json').read_text())
  (folder / 'config.json').write_text(json.dumps(config | {'eos_token_id': 77}))
  parts, _ = assembled(folder, tmp_path / 'run')
  parts.close()
  ends = (parts.tokenizer.eos_token_id, 77)
  assert parts.answering.sampler.stop_tokens == ends


def test_questions_that_a_recipe_cannot_learn_from_are_refused(tmp_path):
  """With their number, and before anything is sampled."""
  shown = {'prompt': 'sort 1=', 'answer': '1', 'demonstration': '1'}
  bare = [{'prompt': f'sort {i}=', 'answer': i} for i in '239']
  path = tmp_path / 'train.jsonl'
  path.write_text('\n'.join(map(json.dumps, [shown, *bare[:2]])))
  held_out = tmp_path / 'held_out.jsonl'
  held_out.write_text(json.dumps(bare[2]))
  for recipe in ('dr_po', 'hnpg', 'seppo', 'dr_irl'):
    config = tiny.get_config(recipe)
    config.warm_start.steps = 0
    config.data.path, config.data.held_out_path = str(path), str(held_out)
    with pytest.raises(ValueError, match='2 of 3 questions have no text'):
      assembly.assemble(config, tmp_path / recipe)


def test_text_with_tokens_past_the_embedding_is_refused_by_place(tmp_path):
  folder = folders.model_in(tmp_path, special=['<image>'], vocab=259)
  good = {'prompt': 'sort 1=', 'answer': '1', 'demonstration': '1'}
  cases = {
    'prompt': {'prompt': 'a<image>'},
    'demonstration': {'demonstration': '1<image>'},
    'response': {'chosen': '<image>', 'rejected': '1'},
  }
  for what, bad in cases.items():
    path = tmp_path / f'{what}.jsonl'
    pair = {'chosen': '1', 'rejected': '2'} if what == 'response' else {}
    lines = [good | pair | {'prompt': f'sort {i}='} for i in '12']
    lines.insert(1, good | pair | {'prompt': 'x'} | bad)
    path.write_text('\n'.join(map(json.dumps, lines)))
    other = good | pair | {'prompt': 'sort 9='}
    path.with_name('held_out.jsonl').write_text(json.dumps(other))
    with pytest.raises(ValueError, match=rf'{what}\.jsonl:2: .*<image>.* 258;'):
      assembled(
        folder,
        tmp_path / what,
        recipe__samples=2,
        data__path=str(path),
        data__held_out_path=str(path.with_name('held_out.jsonl')),
        data__responses='recorded' if pair else 'sampled',
        warm_start__steps=1 if what == 'demonstration' else 0,
      )


def test_the_seed_of_the_run_reaches_parts_that_draw_by_themselves(tmp_path):
  folder = folders.model_in(tmp_path)
  parts, _ = assembled(folder, tmp_path / 'run', seed=7)
  parts.close()
  assert parts.spec.seed == 7


def at(parts, temperature):
  """The session with responses sampled at another temperature."""
  sampling = parts.answering.sampling.replace(temperature=temperature)
  answering = dataclasses.replace(parts.answering, sampling=sampling.checked())
  return dataclasses.replace(parts, answering=answering)


def learned_at(parts, state, step):
  """An iteration, and how what it scores differs from what was sampled."""
  tools = Tools(parts, state, loop.key_for(0, step, loop.Purpose.TASKS))
  rollouts = tools.generate(
    tools.draw(), jax.random.key(step), parts.spec.samples
  )
  gap = np.max(np.abs(tools.score(rollouts).logp - rollouts.logp))
  state, metrics, _ = loop.iterate(parts, state, step)
  return state, metrics, gap


def test_another_temperature_compiles_nothing_and_keeps_the_ratio_at_one(
  tmp_path,
):
  parts, params = assembled(
    folders.model_in(tmp_path), tmp_path / 'run', model__lora_rank=2
  )
  colder = [at(parts, temperature) for temperature in (2.0, 1.0, 0.5)]
  with contextlib.closing(parts):
    state = parts.init(params)
    # The second iteration takes over the arrays that the first one made.
    for step in range(2):
      state, _, _ = learned_at(parts, state, step)
    before, entropies = programs.count(), []
    for step, here in enumerate(colder, start=2):
      state, metrics, gap = learned_at(here, state, step)
      assert metrics['policy/kl'] == 0
      # Two programs make one sum in float32.
      assert gap < 1e-4 and metrics['sampler/gap_max'] < 1e-4
      entropies.append(metrics['policy/entropy'])
    assert (programs.count() - before).loaded == 0
  assert entropies[0] > entropies[1] > entropies[2]


def answered(parts, state, rows):
  """What evaluation writes, and log-probs of rows, of the policy as it is."""
  said: list[dict] = []
  parts.evaluate(state, parts.config.steps, said.extend)
  tools = Tools(parts, state, loop.key_for(0, 0, loop.Purpose.TASKS))
  return said, np.asarray(tools.score(rows).logp)


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 2])
def test_an_export_says_what_the_policy_says_though_its_source_is_bfloat16(
  tmp_path, rank
):
  source = folders.model_in(tmp_path)
  half, export = tmp_path / 'half', tmp_path / 'export'
  hf.save(half, *hf.load(source), source=source, dtype='bfloat16')
  parts, params = assembled(half, tmp_path / 'run', model__lora_rank=rank)
  # A tenth of what bfloat16 tells apart of weights around 0.2.
  moved = jax.tree.map(lambda x: x + (1e-3 if rank else 1e-4), params)
  with contextlib.closing(parts):
    state, _, (rows, *_) = loop.iterate(parts, parts.init(moved), 0)
    expected, logp = answered(parts, state, rows)
    written = parts.export(state, export)
    parts.export(state, tmp_path / 'rounded', dtype='bfloat16')
  assert written.dtype == 'float32' and 0 < written.kept == written.changed
  error = {}
  for folder in (export, tmp_path / 'rounded', half):
    again, params = assembled(folder, tmp_path / f'of_{folder.name}')
    with contextlib.closing(again):
      said, found = answered(again, again.init(params), rows)
    error[folder.name] = np.abs(found - logp)[np.asarray(rows.loss_mask)].max()
    assert said == expected or folder != export
  assert error['export'] < 1e-5
  assert min(error['rounded'], error['half']) > 10 * error['export']


def test_a_temperature_of_nothing_is_refused_for_learning(tmp_path):
  parts, params = assembled(
    folders.model_in(tmp_path), tmp_path / 'run', sample__temperature=0.0
  )
  with (
    contextlib.closing(parts),
    pytest.raises(ValueError, match='temperature 0 must be positive'),
  ):
    loop.iterate(parts, parts.init(params), 0)


def test_draws_by_domain_need_several_before_a_warm_start_is_made(tmp_path):
  config = tiny.get_config('sec')
  with pytest.raises(ValueError, match='questions are of one.*data.level=0'):
    assembly.assemble(config, tmp_path)
  assert not (tmp_path / 'warm_start').exists()
  config.data.level, config.warm_start.steps = 0, 0
  config.sample.max_prompt = 24
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  parts.close()
  assert set(parts.spec.task_domains) == {0, 1, 2}
  assert state.method['curriculum']['values'].shape == (3,)


@pytest.mark.parametrize(
  ('name', 'value', 'words'),
  [
    ('optimizer.warmup', 10**6, 'optimizer.warmup of 1000000 steps'),
    ('sample.top_p', 1.5, '1.5'),
  ],
)
def test_what_cannot_work_is_refused_before_a_warm_start_is_made(
  name, value, words, tmp_path
):
  config = tiny.get_config()
  config.update_from_flattened_dict({name: value})
  with pytest.raises(ValueError, match=words):
    assembly.assemble(config, tmp_path)
  assert config.warm_start.steps and not (tmp_path / 'warm_start').exists()


def test_a_response_with_room_for_its_beginning_alone_is_refused(tmp_path):
  config = tiny.get_config('hbpo')
  config.sample.max_response = 49
  with pytest.raises(ValueError, match='sample.max_response=49 leaves none'):
    assembly.assemble(config, tmp_path)


def test_sources_are_drawn_and_told_apart_by_their_weights(tmp_path):
  config = tiny.get_config()
  config.data.path = 'sort:weight=1,reverse:weight=3'
  parts, _ = assembly.assemble(config, tmp_path, abstract=True)
  parts.close()
  curriculum = parts.recipe.curriculum.init(parts.spec)
  tasks, _ = parts.draw(curriculum, jax.random.key(0))
  asked = [parts.train.rows[task]['prompt'] for task in tasks.tolist()]
  assert sum(prompt.startswith('sort') for prompt in asked) == 1
  rows = SimpleNamespace(
    domain=parts.train.domain[tasks], valid=np.ones(4, bool)
  )
  credit = SimpleNamespace(components=np.ones((4, 1)))
  found = parts.of_sources(rows, credit)
  assert found['source/sort/share'] == 0.25
  assert found['source/reverse/accuracy'] == 1


def test_weights_that_a_curriculum_would_not_read_are_refused(tmp_path):
  config = tiny.get_config('sec')
  config.data.path = 'sort:weight=1,reverse:weight=3'
  with pytest.raises(ValueError, match='the weights of data.path would do no'):
    assembly.assemble(config, tmp_path, abstract=True)
