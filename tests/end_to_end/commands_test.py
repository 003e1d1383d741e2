"""Eval, export and dry run on one short run, and inputs that cannot work."""

import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import command, runs, surgery
from experiments import eval as eval_command
from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.training import writers
from tests.end_to_end import processes, tiny


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run of two iterations, exported at its end."""
  workdir = tmp_path_factory.mktemp('runs') / 'trained'
  flags = ('--config.steps=2', '--export', f'--workdir={workdir}')
  sets = "--config.eval.sets=('more=sort:length=3:rows=5',)"
  done = processes.run('train', *flags, sets, '--config.eval.saved=3')
  assert done.returncode == 0, done.stderr
  assert 'before' in done.stdout and 'accuracy' in done.stdout
  return workdir


def test_a_run_folder_holds_what_the_readme_promises(trained):
  for name in ('metrics.jsonl', 'samples.jsonl', 'curve.png', 'checkpoints'):
    assert (trained / name).exists(), name
  assert list((trained / 'tensorboard').iterdir())
  record = json.loads((trained / 'config.json').read_text())
  assert record['seed'] == 0 and record['versions']['jax'] == jax.__version__
  first, *_, last = writers.read(trained / 'metrics.jsonl')
  assert first['step'] == 0 and last['step'] == 2
  for line in (first, last):
    assert {'eval/accuracy', 'eval/pass@1', 'eval/pass@2'} <= line.keys()
    assert {'eval/more/accuracy', 'eval/more/pass@2/low'} <= line.keys()


def test_answers_in_evaluation_are_kept(trained):
  lines = writers.read(trained / 'eval_samples.jsonl')
  for step in (0, 2):
    own = [line for line in lines if line['step'] == step]
    found = [(x['set'], x['question'], x['greedy']) for x in own]
    expected = [
      (name, question, greedy)
      for name in ('held_out', 'more')
      for greedy in (True, False)
      for question in range(3)
      for _ in range(1 if greedy else 2)
    ]
    assert found == expected
  keys = {'prompt', 'response', 'answer', 'scores', 'valid', 'truncated'}
  assert keys <= lines[0].keys() and isinstance(lines[0]['response'], str)


def test_samples_of_an_iteration_are_of_several_prompts(trained):
  lines = writers.read(trained / 'samples.jsonl')
  of_one = [line['prompt'] for line in lines if line['step'] == 1]
  assert len(of_one) == 2 * len(set(of_one)) == 8
  for line in lines:
    names = ('tokens', 'logp', 'advantage', 'weight', 'entropy', 'ratio')
    assert {len(line[name]) for name in names} == {line['length']}
    assert all(logp <= 0 for logp in line['logp'])
    # Of tokens that nothing was learned from, the learner says nothing.
    for name in ('entropy', 'ratio'):
      told = [value is not None for value in line[name]]
      assert told == [weight > 0 for weight in line['weight']]
    assert all(entropy > 0 for entropy in line['entropy'] if entropy)
    assert all(0.5 < ratio < 2 for ratio in line['ratio'] if ratio)
  assert '<script>' in (trained / 'report.html').read_text()


def test_a_run_is_evaluated_on_all_of_other_questions(trained):
  parts, state = runs.restore(trained)
  rows = []
  found = parts.measure(
    state.params,
    jax.random.key(0),
    samples=0,
    record=rows.extend,
    sets=parts.encoded(['sort:length=2:rows=6', 'b=sort:length=3:rows=5']),
  )
  parts.close()
  assert {name.split('/')[0] for name in found} == {'sort', 'b'}
  assert [row['set'] for row in rows] == ['sort'] * 6 + ['b'] * 5
  assert {len(row['answer']) for row in rows} == {2, 3}
  lines = eval_command.table(found).splitlines()
  assert lines[1].startswith('sort/accuracy') and '[' in lines[1]


def test_a_second_start_compiles_nothing(trained, tmp_path):
  flags = ('--config.steps=2', f'--workdir={tmp_path / "again"}')
  done = processes.run('train', *flags)
  assert done.returncode == 0, done.stderr
  [line] = [x for x in done.stdout.splitlines() if x.startswith('programs: ')]
  loaded, compiled = map(int, re.findall(r'\d+', line))
  assert compiled == 0 and 10 < loaded < 200


def test_export_is_the_newest_checkpoint(trained):
  config, exported = hf.load(trained / 'export')
  parts, state = runs.restore(trained)
  parts.close()
  assert config == parts.model
  jax.tree.map(np.testing.assert_array_equal, exported, state.params)


def test_an_export_can_be_read_and_says_how_it_came_about(trained):
  folder = trained / 'export'
  modes = {path.stat().st_mode for path in folder.iterdir()}
  assert modes == {(trained / 'config.json').stat().st_mode}
  generation = json.loads((folder / 'generation_config.json').read_text())
  assert generation['temperature'] == 1.0 and generation['top_k'] == 0
  said = (folder / 'README.md').read_text()
  for words in ('`grpo`, DeepSeekMath', '2 of 2, seed 0', '| accuracy | '):
    assert words in said, said


def test_a_finished_run_is_exported_again(trained, tmp_path):
  workdir = tmp_path / 'again'
  shutil.copytree(trained, workdir)
  weights = workdir / 'export' / 'model.safetensors'
  whole = weights.read_bytes()
  weights.write_bytes(whole[:-4])
  flags = ('--config.steps=2', '--export', f'--workdir={workdir}')
  done = processes.run('train', *flags)
  assert done.returncode == 0 and 'exported to' in done.stdout, done.stderr
  assert weights.read_bytes() == whole


def test_an_older_checkpoint_is_not_taken_for_the_newest(
  trained, tmp_path, caplog
):
  workdir = tmp_path / 'damaged'
  shutil.copytree(trained, workdir)
  files = (workdir / 'checkpoints' / '2').rglob('*')
  largest = max(files, key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:100])
  with caplog.at_level('WARNING', logger='absl'):
    parts, state = runs.restore(workdir)
  parts.close()
  assert int(state.step) == 1
  [said] = [x for x in caplog.messages if x.startswith('checkpoint 2 in')]
  assert f'checkpoint 2 in {workdir / "checkpoints"} is damaged' in said
  assert 'reading that of iteration 1' in said


def test_export_refuses_a_folder_that_is_there(trained):
  done = processes.run('export', f'--workdir={trained}')
  assert done.returncode == 1
  assert done.stderr.startswith('error:') and 'not empty' in done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_a_behaviour_is_weakened_in_a_few_rows_of_the_gates(trained, tmp_path):
  lines = writers.read(trained / 'samples.jsonl')
  pattern = re.compile(lines[0]['response'][:1])
  session, state = runs.restore(trained)
  told, said = surgery.operated(
    session, state, lines, pattern, share=0.1, scale=2.0
  )
  session.export(told, tmp_path / 'edited')
  session.close()
  _, edited = hf.load(tmp_path / 'edited')
  _, before = hf.load(trained / 'export')
  gates = [tree['layers'].pop('gate')['kernel'] for tree in (edited, before)]
  jax.tree.map(np.testing.assert_array_equal, edited, before)
  moved = np.any(gates[0] != gates[1], axis=1)
  assert moved.sum() == round(0.1 * moved.size)
  assert f'{moved.sum()} rows of gates were moved by 2 times' in said
  count = sum(bool(pattern.search(line['response'])) for line in lines)
  assert said.startswith(f'{count} of {len(lines)} responses match')


@pytest.mark.slow
def test_an_edited_policy_is_written_below_its_run(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  lines = [{'prompt': 'sort 21=', 'response': x} for x in ('12', '21')]
  responses = tmp_path / 'responses.jsonl'
  responses.write_text('\n'.join(map(json.dumps, lines)))
  flags = (f'--workdir={workdir}', f'--responses={responses}')
  done = processes.run('surgery', *flags, '--behaviour=^1')
  assert done.returncode == 0, done.stderr
  assert f'written to {workdir}/edited' in done.stdout
  hf.load(workdir / 'edited')
  done = processes.run(
    'surgery', *flags[1:], f'--workdir={tmp_path}/absent', '--behaviour=^1'
  )
  assert done.returncode == 1 and 'is no run folder' in done.stderr
  done = processes.run(
    'surgery',
    *flags,
    '--behaviour=^1',
    '--scale=0',
    f'--output={tmp_path}/other',
  )
  assert done.returncode == 1 and '--scale=0 edits nothing' in done.stderr


def test_eval_of_a_run_equals_its_last_held_out_evaluation(trained, tmp_path):
  output = tmp_path / 'eval.json'
  done = processes.run(
    'eval', f'--workdir={trained}', '--samples=2', f'--output={output}'
  )
  assert done.returncode == 0, done.stderr
  assert '95 % interval' in done.stdout
  found = json.loads(output.read_text())
  last = writers.read(trained / 'metrics.jsonl')[-1]
  assert found['step'] == 2
  assert found['questions'] == 8 + 5
  assert len(output.with_suffix('.jsonl').read_text().splitlines()) == 13 * 3
  for name in ('accuracy', 'pass@1', 'pass@2', 'more/accuracy'):
    assert found[name] == last[f'eval/{name}']


@pytest.mark.slow
def test_eval_takes_back_what_ends_a_thought(trained, tmp_path):
  """A digit of an answer stands for the end of a thought."""

  def answers(*flags):
    output = tmp_path / f'{len(flags)}.json'
    own = (f'--workdir={trained}', '--samples=0', f'--output={output}')
    done = processes.run('eval', *own, *flags)
    assert done.returncode == 0, done.stderr
    lines = output.with_suffix('.jsonl').read_text().splitlines()
    return [json.loads(line)['response'] for line in lines]

  before = answers()
  end = max(before)[0]
  after = answers('--waits=1', '--wait=rt', f'--thought_end={end}')
  assert len(before) == len(after) and before != after
  for plain, longer in zip(before, after):
    thought, found, _ = plain.partition(end)
    if found and len(thought) + len('rt') < 6:
      assert longer.startswith(f'{thought}rt'), (plain, longer)
    else:
      assert longer == plain


@pytest.mark.slow
def test_waits_that_take_nothing_back_are_told(trained, tmp_path):
  output = tmp_path / 'eval.json'
  flags = (f'--workdir={trained}', '--samples=0', f'--output={output}')
  done = processes.run('eval', *flags, '--waits=2')
  assert done.returncode == 1 and not output.exists()
  [line] = done.stderr.splitlines()
  assert "--waits=2 took nothing back: no answer holds '</think>'" in line
  assert 'say with --thought_end' in line


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    ({'waits': -1}, "-1 times 'Wait' before '</think>': the times must be 0"),
    ({'waits': 1, 'wait': ''}, "1 times '' before '</think>'"),
    ({'waits': 1, 'thought_end': ''}, 'neither text empty'),
    ({'wait': 'Hm'}, '--wait=Hm would do nothing: --waits is 0; use --waits=1'),
    ({'thought_end': 'So'}, '--thought_end=So would do nothing'),
  ],
)
def test_waits_that_mean_nothing_are_refused_at_once(given, said):
  with flagsaver.as_parsed(**{name: str(x) for name, x in given.items()}):
    # Not parsed: flags of other commands in this process are required.
    flags.FLAGS.mark_as_parsed()
    try:
      with pytest.raises(command.Refused) as refused:
        eval_command.main()
    finally:
      flags.FLAGS.unparse_flags()
  assert said in str(refused.value)


def test_dry_run_compiles_and_writes_nothing(tmp_path):
  workdir = tmp_path / 'nothing'
  done = processes.run('train', '--dry_run', f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  assert 'trained parameters' in done.stdout and 'learn' in done.stdout
  assert not workdir.exists()


def test_a_run_whose_questions_changed_does_not_go_on(tmp_path):
  path = jsonl(tmp_path, *GOOD)
  workdir = tmp_path / 'run'
  flags = (
    f'--workdir={workdir}',
    f'--config.data.path={path}',
    '--config.data.held_out=1',
    '--config.sample.prompts=2',
    '--config.warm_start.steps=0',
    '--config.eval.every=0',
  )
  done = processes.run('train', *flags, '--config.steps=1')
  assert done.returncode == 0, done.stderr
  record = json.loads((workdir / 'config.json').read_text())
  assert [*record['files']] == [path]
  jsonl(tmp_path, *GOOD, json.dumps({'prompt': 'sort 9=', 'answer': '9'}))
  done = processes.run('train', *flags, '--config.steps=2')
  assert done.returncode == 1
  assert f'began with other files: {path} has changed' in done.stderr
  assert 'Traceback' not in done.stderr
  with pytest.raises(ValueError, match=f'{path} has changed'):
    runs.restore(workdir)
  jsonl(tmp_path, *GOOD)
  done = processes.run('train', *flags, '--config.steps=2')
  assert done.returncode == 0, done.stderr


def refused(tmp_path, **settings):
  """The message with which a run of these settings is refused."""
  config = tiny.get_config()
  config.warm_start.steps = 0
  config.update_from_flattened_dict(settings)
  with pytest.raises((ValueError, KeyError, OSError)) as caught:
    assembly.assemble(config, tmp_path / 'run')
  return str(caught.value)


def jsonl(tmp_path, *lines):
  path = tmp_path / 'questions.jsonl'
  path.write_text('\n'.join(lines))
  return str(path)


GOOD = [json.dumps({'prompt': f'sort {i}=', 'answer': f'{i}'}) for i in '123']


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'model.path': 'no/such/folder/here'}, ['no/such/folder/here']),
    ({'data.path': 'sorted'}, ["did you mean 'sort'"]),
    ({'data.path': 'absent.jsonl'}, ['absent.jsonl']),
    ({'recipe.minibatches': 3}, ['4 groups', '3 minibatches', 'use 2 or 4']),
    ({'learn.microbatches': 3}, ['16 rows', '3 microbatches', 'use 2 or 4']),
    ({'sample.max_prompt': 4}, ['exceed', 'max_prompt=4', 'too_long=drop']),
    ({'verify.names': ('exakt',)}, ['exakt', 'exact']),
    ({'verify.weights': (1.0, 2.0)}, ['2 weights', '1 verifiers']),
    ({'optimizer.schedule': 'cosin'}, ['cosin', 'cosine']),
    ({'mesh.data': 99}, ['99 devices']),
    ({'sample.prompts': 65}, ['65', '64']),
  ],
)
def test_a_setting_that_cannot_work_is_named(settings, words, tmp_path):
  if 'sample.prompts' in settings:
    # Only drawing finds out, once the dataset is known.
    config = tiny.get_config()
    config.warm_start.steps = 0
    config.update_from_flattened_dict(settings)
    parts, params = assembly.assemble(config, tmp_path / 'run')
    with pytest.raises(ValueError) as caught:
      parts.draw(parts.init(params).method['curriculum'], jax.random.key(0))
    parts.close()
    message = str(caught.value)
  else:
    message = refused(tmp_path, **settings)
  for word in words:
    assert word in message


def test_a_malformed_line_is_named_with_its_file(tmp_path):
  path = jsonl(tmp_path, *GOOD, '{"prompt": ')
  message = refused(tmp_path, **{'data.path': path, 'data.held_out': 1})
  assert f'{path}:4' in message


def test_an_empty_file_is_refused(tmp_path):
  path = jsonl(tmp_path)
  message = refused(tmp_path, **{'data.path': path, 'data.held_out': 1})
  assert 'empty' in message


def test_long_prompts_are_dropped_where_the_setting_says_so(tmp_path):
  long = json.dumps({'prompt': 'sort 1234567890123456=', 'answer': '1'})
  config = tiny.get_config()
  config.warm_start.steps = 0
  path = jsonl(tmp_path, *GOOD, long)
  config.update_from_flattened_dict(
    {'data.path': path, 'data.held_out': 1, 'data.too_long': 'drop'}
  )
  parts, _ = assembly.assemble(config, tmp_path / 'run')
  parts.close()
  kept = [*parts.train.rows, *parts.held_out.rows]
  assert len(kept) == 3


def test_tensors_that_do_not_fit_are_listed(tmp_path):
  config = tiny.get_config()
  config.warm_start.steps = 0
  parts, params = assembly.assemble(config, tmp_path / 'run')
  parts.close()
  folder = pathlib.Path(shutil.copytree(parts.source, tmp_path / 'broken'))
  import safetensors.numpy

  path = folder / 'model.safetensors'
  tensors = safetensors.numpy.load_file(path)
  tensors['model.extra.weight'] = tensors.pop('model.norm.weight')
  safetensors.numpy.save_file(tensors, path)
  message = refused(tmp_path, **{'model.path': str(folder)})
  assert 'model.extra.weight' in message and 'model.norm.weight' in message
  assert parameters.table(parts.model)  # the one that was loaded before


def test_an_unsupported_architecture_names_the_supported_ones(tmp_path):
  folder = tmp_path / 'other'
  folder.mkdir()
  (folder / 'config.json').write_text(json.dumps({'model_type': 'gpt2'}))
  message = refused(tmp_path, **{'model.path': str(folder)})
  assert 'gpt2' in message and 'qwen3' in message


def test_chat_messages_use_the_template_of_the_tokenizer(tmp_path):
  config = tiny.get_config()
  config.warm_start.steps = 0
  parts, _ = assembly.assemble(config, tmp_path / 'first')
  parts.close()
  folder = pathlib.Path(shutil.copytree(parts.source, tmp_path / 'chat'))
  template = "{% for m in messages %}{{ m['content'] }}{% endfor %}!"
  settings = json.loads((folder / 'tokenizer_config.json').read_text())
  settings['chat_template'] = template
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
  chats = [
    json.dumps({'prompt': [{'role': 'user', 'content': i}], 'answer': i})
    for i in '123'
  ]
  config.update_from_flattened_dict(
    {
      'model.path': str(folder),
      'data.path': jsonl(tmp_path, *chats),
      'data.held_out': 1,
    }
  )
  parts, _ = assembly.assemble(config, tmp_path / 'run')
  parts.close()
  row = parts.train.tokens[0][parts.train.mask[0]]
  question = parts.train.rows[0]['prompt'][0]['content']
  assert parts.tokenizer.decode(row).endswith(f'{question}!')
