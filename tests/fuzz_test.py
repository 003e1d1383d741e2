"""Files that nobody wrote: a right result, or a clear error, whatever is in.

An error is clear if it is one that commands show in a line, and if its
message is ours: not that of a codec or of a JSON parser alone.
"""

import json
import math
import pathlib
import shutil
import struct

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import strategies as st

from experiments import command, runs, settings
from experiments.configs import base
from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.problems.text import assembly, questions
from jaxrl_llm.tasks import data, preferences, tokens
from jaxrl_llm.training import checkpoint, writers
from jaxrl_llm.training import workdir as workdir_lib
from tests.end_to_end import tiny
from tests.policies.language import families

VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
  ),
  max_leaves=6,
)
TEXTS = st.text(st.characters(codec=None), max_size=9)
DEEP = st.sampled_from([b'[' * 9000, b'{"a":' * 9000, b'9' * 9000])


def as_json(value) -> bytes:
  """JSON with whatever the text holds, lone surrogates too."""
  raw = json.dumps(value, ensure_ascii=False)
  return raw.encode(errors='surrogatepass')


FILES = st.binary(max_size=40) | VALUES.map(as_json) | DEEP


def fuzz(examples: int, **strategies):
  """`hypothesis.given` with a number of examples, whatever they cost."""

  def decorated(test):
    limited = hypothesis.settings(
      max_examples=examples,
      suppress_health_check=[*hypothesis.HealthCheck],
    )
    return limited(hypothesis.given(**strategies)(test))

  return decorated


def assert_clear(error: Exception) -> None:
  assert isinstance(error, command.USER_ERRORS), repr(error)
  assert not isinstance(error, UnicodeError | json.JSONDecodeError), repr(error)
  assert len(str(error)) > 20, repr(error)


RECORDS = st.fixed_dictionaries(
  {},
  optional={
    'prompt': VALUES
    | TEXTS
    | st.lists(
      st.fixed_dictionaries(
        {'role': TEXTS | VALUES, 'content': TEXTS | VALUES}
      ),
      max_size=2,
    ),
    'answer': VALUES,
    'extra': VALUES,
  },
)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  template = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
  )
  folder = tmp_path_factory.mktemp('tokenizer')
  return tokens.toy_tokenizer(folder, chat_template=template)


@fuzz(150, lines=st.lists(FILES | RECORDS.map(as_json), max_size=3))
def test_questions_are_read_or_refused_with_their_place(
  tmp_path_factory, tokenizer, lines
):
  path = tmp_path_factory.getbasetemp() / 'questions.jsonl'
  path.write_bytes(b'\n'.join(lines))
  try:
    dataset = data.load_records(path)
  except ValueError as error:
    assert_clear(error)
    assert str(path) in str(error)
    return
  assert len(dataset) == sum(bool(line.strip()) for line in lines)
  try:
    questions.encode(dataset, tiny.get_config(), tokenizer)
  except ValueError as error:
    assert_clear(error)


MESSAGES = st.lists(
  st.fixed_dictionaries(
    {'role': st.sampled_from(['user', 'assistant', 'system']) | VALUES},
    optional={'content': TEXTS | VALUES, 'tool_calls': VALUES},
  ),
  max_size=3,
)
PREFERENCES = st.fixed_dictionaries(
  {},
  optional={
    'prompt': TEXTS | MESSAGES | VALUES,
    'chosen': TEXTS | MESSAGES | VALUES,
    'rejected': TEXTS | MESSAGES | VALUES,
    'responses': st.lists(TEXTS | MESSAGES, max_size=3) | VALUES,
    'scores': st.lists(st.floats(0, 1), max_size=3) | VALUES,
    'completion': TEXTS | MESSAGES,
    'label': st.booleans() | VALUES,
  },
)


@fuzz(150, records=st.lists(PREFERENCES, min_size=1, max_size=2))
def test_preferences_are_read_or_refused_with_their_place(
  tmp_path_factory, records
):
  path = tmp_path_factory.getbasetemp() / 'preferences.jsonl'
  path.write_bytes(b'\n'.join(map(as_json, records)))
  try:
    dataset = preferences.load_records(path, samples=3, answer_field='')
  except ValueError as error:
    assert_clear(error)
    assert f'{path}:' in str(error)
    return
  for row in dataset.rows:
    assert row['prompt'] and len(row['responses']) == len(row['scores'])
    assert all(isinstance(said, str) for said in row['responses'])


@fuzz(
  30,
  lines=st.lists(
    FILES
    | st.integers(-1, 5).map(lambda step: as_json({'step': step}))
    | VALUES.map(lambda value: as_json({'step': value})),
    max_size=5,
  ),
  last=st.integers(0, 3),
)
def test_a_log_of_any_bytes_is_gone_on_with(tmp_path_factory, lines, last):
  path = tmp_path_factory.getbasetemp() / 'metrics.jsonl'
  path.write_bytes(b'\n'.join(lines))
  log = writers._Lines(path, last)
  log.append([{'step': last + 1}])
  log.close()
  steps = [line['step'] for line in writers.read(path)]
  assert steps[-1] == last + 1 and max(steps[:-1], default=last) <= last


@fuzz(100, content=FILES | VALUES.map(lambda v: as_json({'config': v})))
def test_the_record_of_a_run_is_read_or_refused(tmp_path_factory, content):
  folder = tmp_path_factory.getbasetemp() / 'record'
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_bytes(content)
  with pytest.raises(workdir_lib.WorkdirError) as refused:
    workdir_lib.check_config(folder, {'a setting': 'of the test'})
  assert_clear(refused.value)
  try:
    runs.config_of(folder)
  except (ValueError, TypeError) as error:
    assert_clear(error)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  """A model folder: its path, its parameters, the bytes of its weights."""
  folder = tmp_path_factory.mktemp('models') / 'model'
  source = families.hf_config('qwen3')
  config = hf.config_of(source)
  random = np.random.default_rng(0)
  flat = {
    path: random.normal(size=entry.shape).astype(np.float32)
    for path, entry in parameters.table(config).items()
  }
  hf.save(folder, config, traverse_util.unflatten_dict(flat), source=source)
  return folder, flat, (folder / 'model.safetensors').read_bytes()


def parts(raw: bytes) -> tuple[bytes, bytes]:
  """Header and tensors of a safetensors file."""
  end = 8 + struct.unpack('<Q', raw[:8])[0]
  return raw[8:end], raw[end:]


@st.composite
def broken(draw, raw: bytes) -> bytes:
  """A safetensors file whose header is not what it was."""
  header, body = parts(raw)
  kind = draw(st.sampled_from(['bytes', 'length', 'flipped', 'cut', 'field']))
  if kind == 'bytes':
    return draw(st.binary(max_size=64))
  if kind == 'length':
    length = draw(st.integers(0, len(header)) | st.integers(0, 2**64 - 1))
    return struct.pack('<Q', length) + header + body
  if kind == 'cut':
    return raw[: draw(st.integers(0, len(raw) - 1))]
  if kind == 'flipped':
    place = draw(st.integers(0, len(header) - 1))
    flipped = bytes([header[place] ^ draw(st.integers(1, 255))])
    return raw[: 8 + place] + flipped + raw[9 + place :]
  entries = json.loads(header)
  name = draw(st.sampled_from(sorted(entries.keys() - {'__metadata__'})))
  field = draw(st.sampled_from(['dtype', 'shape', 'data_offsets']))
  sizes = st.lists(st.integers(-1, 2**62), max_size=3)
  types = st.sampled_from(['F64', 'I32', 'BF16', 'F8_E4M3', 'F32 '])
  entries[name][field] = draw(VALUES | sizes | types)
  changed = json.dumps(entries).encode()
  return struct.pack('<Q', len(changed)) + changed + body


def assert_loads_or_refuses(folder, expected) -> None:
  try:
    _, params = hf.load(folder)
  except (ValueError, FileNotFoundError) as error:
    assert_clear(error)
    return
  for path, leaf in traverse_util.flatten_dict(params).items():
    np.testing.assert_array_equal(leaf, expected[path])


@fuzz(80, draw=st.data())
def test_weights_with_another_header_are_refused(model, draw):
  folder, expected, raw = model
  file = folder / 'model.safetensors'
  try:
    file.write_bytes(draw.draw(broken(raw)))
    assert_loads_or_refuses(folder, expected)
  finally:
    file.write_bytes(raw)


INDICES = st.dictionaries(
  st.text(max_size=4),
  st.text(max_size=6)
  | st.sampled_from(['model.safetensors', '/etc/passwd', '../x', '..', '.']),
)


@fuzz(60, content=FILES | VALUES.map(lambda v: as_json({'weight_map': v}))
      | INDICES.map(lambda v: as_json({'weight_map': v})))  # fmt: skip
def test_an_index_of_weights_is_read_or_refused(model, content):
  folder, expected, _ = model
  file = folder / 'model.safetensors.index.json'
  try:
    file.write_bytes(content)
    assert_loads_or_refuses(folder, expected)
  finally:
    file.unlink()


@fuzz(
  60, content=FILES, name=st.integers(0, 99), value=VALUES | st.integers(-2, 99)
)
def test_a_model_config_is_read_or_refused(model, content, name, value):
  folder, expected, _ = model
  file = folder / 'config.json'
  whole = file.read_bytes()
  fields = json.loads(whole)
  changed = fields | {sorted(fields)[name % len(fields)]: value}
  try:
    for raw in (content, as_json(changed)):
      file.write_bytes(raw)
      assert_loads_or_refuses(folder, expected)
  finally:
    file.write_bytes(whole)


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
  """Two checkpoints, and what is in the files of the newer one."""
  folder = tmp_path_factory.mktemp('checkpoints') / 'c'
  saver = checkpoint.Checkpointer(folder, asynchronous=False)
  for step in (1, 2):
    saver.save(step, {'x': jnp.arange(6.0) * step, 'n': jnp.int32(step)}, {})
  saver.close()
  files = sorted(p for p in (folder / '2').rglob('*') if p.is_file())
  return folder, {path: path.read_bytes() for path in files}


# Orbax leaves the other reads of a broken checkpoint unawaited.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@fuzz(40, draw=st.data())
def test_a_checkpoint_of_any_bytes_is_whole_or_passed_over(checkpoints, draw):
  folder, files = checkpoints
  path = draw.draw(st.sampled_from(list(files)))
  raw = files[path]
  place = draw.draw(st.integers(0, max(len(raw) - 1, 0)))
  try:
    path.write_bytes(
      raw[:place] + draw.draw(st.binary(max_size=8)) + raw[place + 4 :]
    )
    target = {'x': jnp.zeros(6), 'n': jnp.int32(0)}
    restored = checkpoint.load(folder, target)
  finally:
    path.write_bytes(raw)
  assert restored.step in (1, 2)
  np.testing.assert_array_equal(
    restored.state['x'], np.arange(6.0) * restored.step
  )
  assert restored.state['n'] == restored.step
  assert set(restored.damaged) == ({2} if restored.step == 1 else set())


def values_like(name: str):
  """Values of a setting's type, most of which mean nothing."""
  default = base.SETTINGS[name][0]
  if isinstance(default, bool):
    return st.booleans()
  if isinstance(default, int):
    return st.integers(-2, 70)
  if isinstance(default, float):
    return st.floats() | st.sampled_from([0.0, -1.0, math.nan, math.inf])
  words = st.text(max_size=4) | st.sampled_from(
    [
      'sort',
      'exact',
      'numeric',
      'format:(',
      'drop',
      'cosine',
      '/etc/passwd',
      '.',
    ]
  )
  return (
    words
    if isinstance(default, str)
    else st.lists(words, max_size=2).map(tuple)
  )


CHANGES = st.lists(
  st.sampled_from(sorted(base.SETTINGS)), min_size=1, max_size=3, unique=True
).flatmap(
  lambda names: st.fixed_dictionaries({n: values_like(n) for n in names})
)


@fuzz(25, changes=CHANGES)
def test_settings_make_a_session_or_are_refused(tmp_path_factory, changes):
  config = tiny.get_config()
  config.warm_start.steps = 0
  config.update_from_flattened_dict(changes)
  workdir = pathlib.Path(tmp_path_factory.mktemp('settings'))
  try:
    settings.check_values(config)
    made, _ = assembly.assemble(config, workdir, abstract=True)
    made.close()
  except Exception as error:
    assert_clear(error)
  finally:
    shutil.rmtree(workdir)
