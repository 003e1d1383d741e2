"""A family of the user's own through the commands, from a config file."""

import json
import os
import subprocess
import sys
import textwrap

import jax
import pytest
import transformers

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.policies.language.hf import families
from jaxrl_llm.training import writers
from tests.end_to_end import processes
from tests.training import folders

FAMILY = textwrap.dedent("""
  import transformers

  from jaxrl_llm.policies.language.hf import families


  class MineConfig(transformers.LlamaConfig):
    model_type = 'mine'


  def fields(source):
    return {'activation': source.hidden_act, 'qk_norm': True}


  transformers.AutoConfig.register('mine', MineConfig, exist_ok=True)
  families.FAMILIES['mine'] = families.Family('MineForCausalLM', fields)
""")
CONFIG = textwrap.dedent("""
  import family
  from tests.end_to_end import tiny


  def get_config():
    config = tiny.get_config('grpo')
    config.steps = 2
    config.warm_start.steps = 0
    config.model.path = 'model'
    return config
""")


@pytest.fixture
def folder(tmp_path):
  """Where a user works: a module, a config file that imports it, a model."""
  (tmp_path / 'family.py').write_text(FAMILY)
  (tmp_path / 'mine.py').write_text(CONFIG)
  known: dict = {}
  exec(FAMILY, known)  # What importing it does, of which nothing stays.
  description = known['MineConfig'](
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
  )
  model = hf.config_of(description)
  params = parameters.init(model, jax.random.key(0))
  tokenizer = folders.tokenizer_in(tmp_path / 'tokenizer')
  hf.save(
    tmp_path / 'model', model, params, source=description, tokenizer=tokenizer
  )
  yield tmp_path
  del families.FAMILIES['mine']
  transformers.CONFIG_MAPPING._extra_content.pop('mine')


def run(folder, module, *flags):
  done = subprocess.run(
    [sys.executable, '-m', f'experiments.{module}', *flags],
    cwd=folder,
    text=True,
    capture_output=True,
    env=os.environ | {'PYTHONPATH': f'{processes.ROOT}'},
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout + done.stderr


@pytest.mark.slow
def test_a_family_in_a_module_of_the_user_is_trained_resumed_and_exported(
  folder,
):
  """And its checkpoints are where the first command said, elsewhere."""
  flags = '--config=mine.py', '--workdir=run', '--quiet'
  run(folder, 'train', *flags, '--checkpoints=elsewhere')
  kept = sorted(path.name for path in (folder / 'elsewhere').iterdir())
  assert kept == ['1', '2'] and not (folder / 'run/checkpoints').exists()
  said = run(folder, 'train', *flags, '--config.steps=3', '--export')
  assert 'going on from iteration 2' in said
  steps = [x['step'] for x in writers.read(folder / 'run/metrics.jsonl')]
  assert steps == [0, 1, 2, 3]
  assert '3' in {path.name for path in (folder / 'elsewhere').iterdir()}
  run(folder, 'export', '--workdir=run', '--output=again')
  for name in ('run/export', 'again'):
    assert (
      json.loads((folder / name / 'config.json').read_bytes())['model_type']
      == 'mine'
    )
    model, params = hf.load(folder / name)
    assert model.qk_norm and len(jax.tree.leaves(params)) > 5
