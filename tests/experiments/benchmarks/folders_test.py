import json

import jax
import numpy as np
import transformers

from experiments.benchmarks import cases, folders
from jaxrl_llm.policies.language import hf, parameters


def test_a_folder_of_ones_own_is_measured_in_float32_and_in_words(tmp_path):
  source = folders.description(cases.Model(1, 16, 2, 1, 8, 16, 32))
  config = hf.config_of(source)
  params = parameters.init(config, jax.random.key(0))
  own = tmp_path / 'own'
  hf.save(own, config, params, source=source, dtype='bfloat16')

  folder = folders.folder_of(str(own), tmp_path)

  assert json.loads((folder / 'config.json').read_text())['dtype'] == 'float32'
  (_, stored), (_, copied) = hf.load(own), hf.load(folder)
  jax.tree.map(np.testing.assert_array_equal, stored, copied)
  words = transformers.AutoTokenizer.from_pretrained(folder)
  assert words('t9 t31 t4')['input_ids'] == [9, 31, 4]
  assert len(words) == config.vocab


def test_a_model_named_twice_has_the_same_weights(tmp_path, monkeypatch):
  sizes = cases.Model(1, 16, 2, 1, 8, 16, 32)
  monkeypatch.setitem(cases.MODELS, 'tiny', sizes)

  one, other = (
    hf.load(folders.folder_of('tiny', tmp_path / place))[1]
    for place in ('one', 'other')
  )

  jax.tree.map(np.testing.assert_array_equal, one, other)
