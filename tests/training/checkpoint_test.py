import pathlib
import shutil
import signal
import time
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxrl_llm import types
from jaxrl_llm.training import checkpoint, writers
from jaxrl_llm.training import workdir as workdir_lib
from tests.training import snippets


def _state(seed: int) -> types.TrainState:
  keys = jax.random.split(jax.random.key(seed), 2)
  params = {
    'w': jax.random.normal(keys[0], (4, 8)),
    'half': jax.random.normal(keys[1], (8,), jnp.bfloat16),
  }
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  opt = tx.init(params)
  _, opt = tx.update(params, opt, params)
  return types.TrainState(
    params=params,
    opt=opt,
    reference=(),
    method={'key': jax.random.key(seed), 'seen': (jnp.ones(3, bool), None)},
    step=jnp.int32(seed),
  )


def _bytes(tree) -> list[bytes]:
  return [
    np.asarray(
      jax.random.key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    ).tobytes()
    for leaf in jax.tree.leaves(tree)
  ]


def _saved(folder, steps) -> None:
  saver = checkpoint.Checkpointer(folder, keep=len(steps), asynchronous=False)
  for step in steps:
    saver.save(step, _state(step), {'cursor': step})
  saver.close()


@pytest.fixture(scope='module')
def two_checkpoints(tmp_path_factory):
  folder = tmp_path_factory.mktemp('two') / 'checkpoints'
  _saved(folder, [1, 2])
  return folder


def _target():
  return jax.eval_shape(lambda: _state(0))


@pytest.mark.parametrize('asynchronous', [False, True])
def test_a_state_comes_back_byte_for_byte(tmp_path, asynchronous):
  saver = checkpoint.Checkpointer(tmp_path / 'c', asynchronous=asynchronous)
  assert saver.restore(_target()) is None
  state = _state(3)
  metadata = {'cursor': [1, 2], 'config': {'lr': 1e-3}}
  saver.save(3, state, metadata)
  saver.wait()
  restored = saver.restore(_target())
  saver.close()
  assert restored.step == saver.latest == 3
  assert restored.metadata == metadata
  chex.assert_trees_all_equal_structs(restored.state, state)
  chex.assert_trees_all_equal_shapes_and_dtypes(restored.state, state)
  assert _bytes(restored.state) == _bytes(state)


def test_donated_arrays_are_saved_as_they_were(tmp_path):
  saver = checkpoint.Checkpointer(tmp_path / 'c')
  advance = jax.jit(
    lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0
  )
  params = {'w': jnp.arange(1 << 16, dtype=jnp.float32)}
  expected = np.arange(1 << 16, dtype=np.float32)
  saver.save(1, params, {})
  params = advance(params)
  restored = saver.restore(params)
  saver.close()
  np.testing.assert_array_equal(restored.state['w'], expected)


def test_a_large_state_of_a_cpu_is_written_before_a_step_and_in_pieces(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(checkpoint, '_ONCE', 0)
  monkeypatch.setattr(checkpoint, '_FILE', 1 << 12)
  keys = jax.random.split(jax.random.key(0), 32)
  state = {str(i): jax.random.normal(k, (1024,)) for i, k in enumerate(keys)}
  saver = checkpoint.Checkpointer(tmp_path / 'c')
  saver.save(1, state, {})
  files = (tmp_path / 'c' / '1').rglob('*')
  sizes = [x.stat().st_size for x in files if x.is_file()]
  # Orbax's own choice is one file of all that is here.
  assert sum(size > 1 << 11 for size in sizes) > 8
  assert max(sizes) < 1 << 14
  chex.assert_trees_all_equal(saver.restore(state).state, state)
  saver.close()


def test_a_state_moves_to_another_mesh(tmp_path):
  def mesh(*shape):
    devices = jax.devices()[: shape[0] * shape[1]]
    axes = (AxisType.Auto,) * 2
    return jax.make_mesh(
      shape, ('data', 'model'), axis_types=axes, devices=devices
    )

  def sharding(mesh, spec):
    return lambda x: NamedSharding(
      mesh, PartitionSpec(*spec) if x.shape == (4, 8) else PartitionSpec()
    )

  state = _state(1)
  first = jax.tree.map(sharding(mesh(4, 2), ('data', 'model')), state)
  second = jax.tree.map(sharding(mesh(2, 1), ('model', 'data')), state)
  saver = checkpoint.Checkpointer(tmp_path / 'c')
  saver.save(1, jax.device_put(state, first), {})
  target = jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    state,
    second,
  )
  restored = saver.restore(target).state
  saver.close()
  assert _bytes(restored) == _bytes(state)
  assert jax.tree.map(lambda x: x.sharding, restored) == second


def test_a_part_can_be_read_while_a_run_is_saving(two_checkpoints):
  unfinished = two_checkpoints / '3.orbax-checkpoint-tmp'
  unfinished.mkdir()
  target = {'params': _target().params}
  restored = checkpoint.load(two_checkpoints, target, partial=True)
  assert unfinished.exists()
  unfinished.rmdir()
  assert restored.step == 2
  assert _bytes(restored.state['params']) == _bytes(_state(2).params)


def _damage(path: pathlib.Path, how: str) -> None:
  content = path.read_bytes()
  middle = len(content) // 2
  match how:
    case 'deleted':
      path.unlink()
    case 'emptied':
      path.write_bytes(b'')
    case 'truncated':
      path.write_bytes(content[:middle])
    case 'garbled':
      flipped = bytes(byte ^ 0x15 for byte in content[middle : middle + 4])
      path.write_bytes(content[:middle] + flipped + content[middle + 4 :])


# Orbax leaves the other reads of a broken checkpoint unawaited.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('how', ['deleted', 'emptied', 'truncated', 'garbled'])
def test_damage_to_any_file_is_harmless_or_noticed(
  two_checkpoints, tmp_path, how
):
  noticed = set()
  names = [
    path.relative_to(two_checkpoints)
    for path in (two_checkpoints / '2').rglob('*')
    if path.is_file()
  ]
  for name in names:
    folder = tmp_path / 'c'
    shutil.copytree(two_checkpoints, folder)
    _damage(folder / name, how)
    restored = checkpoint.load(folder, _target())
    assert restored.metadata == {'cursor': restored.step}
    assert _bytes(restored.state) == _bytes(_state(restored.step))
    chex.assert_trees_all_equal_dtypes(restored.state, _state(1))
    if restored.step == 1:
      assert set(restored.damaged) == {2}
      noticed.add(name.parts[1] + '/' + name.name)
    shutil.rmtree(folder)
  # Orbax can do without some of its files, but not without these; garbling
  # hits a byte of the second that does not matter.
  needed = {'record/metadata', 'state/_METADATA'}
  assert needed - noticed <= (
    {'state/_METADATA'} if how == 'garbled' else set()
  )


def test_damage_is_named_and_moved_aside_and_the_step_saved_again(
  two_checkpoints, tmp_path, caplog
):
  folder = tmp_path / 'c'
  shutil.copytree(two_checkpoints, folder)
  _damage(folder / '2' / 'state' / '_METADATA', 'truncated')
  saver = checkpoint.Checkpointer(folder)
  with caplog.at_level('WARNING', logger='absl'):
    assert saver.restore(_target()).step == 1
  assert 'checkpoint 2' in caplog.text and str(folder) in caplog.text
  assert saver.latest == 1
  assert (folder / 'corrupt' / '2.0').is_dir()
  saver.save(2, _state(2), {})
  assert saver.restore(_target()).step == 2
  saver.close()


def test_one_changed_bit_in_a_record_that_still_parses_is_noticed(
  two_checkpoints, tmp_path
):
  folder = tmp_path / 'c'
  shutil.copytree(two_checkpoints, folder)
  path = folder / '2' / 'record' / 'metadata'
  text = path.read_text()
  assert '"cursor": 2' in text
  path.write_text(text.replace('"cursor": 2', '"cursor": 3'))
  assert checkpoint.load(folder, _target()).step == 1


def test_no_readable_checkpoint_stops_the_run_and_loses_nothing(
  two_checkpoints, tmp_path
):
  folder = tmp_path / 'c'
  shutil.copytree(two_checkpoints, folder)
  for step in ('1', '2'):
    (folder / step / 'record' / 'metadata').unlink()
  saver = checkpoint.Checkpointer(folder)
  with pytest.raises(workdir_lib.WorkdirError, match='none of the checkpoints'):
    saver.restore(_target())
  saver.close()
  assert (folder / '1').is_dir() and (folder / '2').is_dir()


def test_another_kind_of_state_is_refused_by_name_and_not_moved(
  two_checkpoints,
):
  target = _target()
  params = {**target.params, 'w': jax.ShapeDtypeStruct((4, 9), jnp.float32)}
  with pytest.raises(workdir_lib.WorkdirError) as error:
    checkpoint.load(two_checkpoints, target.replace(params=params))
  assert 'params/w is float32[4, 8] there' in str(error.value)
  assert 'float32[4, 9] here' in str(error.value)


def test_old_checkpoints_go_and_multiples_stay(tmp_path):
  saver = checkpoint.Checkpointer(tmp_path / 'c', keep=2, keep_every=3)
  for step in range(1, 8):
    saver.save(step, {'x': jnp.ones(2)}, {})
  saver.close()
  steps = {path.name for path in (tmp_path / 'c').iterdir()}
  assert steps == {'3', '6', '7'}


def test_saving_a_step_again_changes_nothing(tmp_path):
  saver = checkpoint.Checkpointer(tmp_path / 'c', every=5)
  saver.save(4, {'x': jnp.ones(2)}, {})
  saver.save(4, {'x': jnp.zeros(2)}, {})
  restored = saver.restore({'x': jnp.ones(2)})
  saver.close()
  np.testing.assert_array_equal(restored.state['x'], 1.0)
  assert saver.due(10) and not saver.due(4)


@pytest.mark.parametrize('name', ['every', 'keep', 'keep_every'])
def test_a_count_that_is_too_small_is_refused(tmp_path, name):
  with pytest.raises(ValueError, match=f'{name} is -1'):
    checkpoint.Checkpointer(tmp_path / 'c', **{name: -1})


@pytest.mark.parametrize('dtype', ['bool', 'int8', 'bfloat16', 'float32'])
def test_a_fingerprint_tells_any_single_change(dtype):
  x = jnp.arange(24).reshape(2, 3, 4).astype(dtype)
  prints = {checkpoint._describe({'x': x})['x'][2]}
  for index in np.ndindex(x.shape):
    changed = x.at[index].set(x[index] == 0)
    if (changed != x).any():
      prints.add(checkpoint._describe({'x': changed})['x'][2])
  assert len(prints) == 1 + int((x != (x == 0).astype(dtype)).sum())


def test_large_arrays_are_fingerprinted_one_by_one_and_alike(monkeypatch):
  state = _state(3)
  expected, sizes = checkpoint._describe(state), []
  monkeypatch.setattr(checkpoint, '_LARGE', 100)

  def told(leaves):
    sizes.append([leaf.size for leaf in leaves])
    return [checkpoint._fingerprint(leaf) for leaf in leaves]

  monkeypatch.setattr(checkpoint, '_fingerprints', told)
  assert checkpoint._describe(state) == expected
  assert [32] in sizes and max(sum(each) for each in sizes[1:]) == 32


def test_a_target_of_shapes_holds_no_array():
  target = checkpoint.shapes(_state(3))
  assert not any(isinstance(x, jax.Array) for x in jax.tree.leaves(target))
  chex.assert_trees_all_equal_shapes_and_dtypes(target, _state(3))


_TRAINER = """
import sys
import jax.numpy as jnp
from jaxrl_llm.training import checkpoint
from jaxrl_llm.training import workdir as workdir_lib
workdir = sys.argv[1]
with workdir_lib.Lock(workdir):
  saver = checkpoint.Checkpointer(workdir + '/checkpoints')
  state = {'x': jnp.zeros((8, 4096)), 'step': jnp.int32(0)}
  restored = saver.restore(state)
  first = 1 if restored is None else restored.step + 1
  if restored is not None:
    assert (restored.state['x'] == restored.step).all()
    assert restored.state['step'] == restored.metadata['step'] == restored.step
  print('from', first, flush=True)
  for step in range(first, 100_000):
    state = {'x': jnp.full((8, 4096), float(step)), 'step': jnp.int32(step)}
    saver.save(step, state, {'step': step})
    print(step, flush=True)
"""


def test_a_kill_in_mid_save_costs_at_most_the_unfinished_step(tmp_path):
  last = 0
  for delay in (0.0, 0.017, 0.05):
    trainer = snippets.start(_TRAINER, tmp_path)
    first = trainer.stdout.readline()
    assert first, trainer.stderr.read()
    # The saves before the last one asked for were complete.
    assert int(first.split()[1]) >= last
    for _ in range(3):
      last = int(trainer.stdout.readline())
    time.sleep(delay)
    trainer.send_signal(signal.SIGKILL)
    trainer.communicate()


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
  saver = checkpoint.Checkpointer(tmp_path / 'c', asynchronous=False)

  def refuse(*_, **__):
    raise ValueError('Error writing "x": No space left on device [28]')

  monkeypatch.setattr(saver._manager, 'save', refuse)
  with pytest.raises(writers.DiskFull, match='no room left on the disk of'):
    saver.save(1, {'x': jnp.ones(2)}, {})
  saver.close()


@pytest.mark.parametrize('asynchronous', [False, True])
def test_a_checkpoint_that_does_not_fit_is_not_begun(
  tmp_path, monkeypatch, asynchronous
):
  saver = checkpoint.Checkpointer(tmp_path / 'c', asynchronous=asynchronous)
  state = {'x': jnp.ones(64), 'key': jax.random.key(0)}
  free = 64 * 4 + 8 + (1 << 20)
  monkeypatch.setattr(
    writers.shutil, 'disk_usage', lambda _: SimpleNamespace(free=free - 1)
  )
  with pytest.raises(writers.DiskFull, match='no room left'):
    saver.save(1, state, {})
  assert list((tmp_path / 'c').iterdir()) == []
  monkeypatch.setattr(
    writers.shutil, 'disk_usage', lambda _: SimpleNamespace(free=free)
  )
  saver.save(1, state, {})
  saver.close()
  assert checkpoint.load(tmp_path / 'c', state).step == 1


@pytest.mark.parametrize('lost', ['c', 'c/2'])
def test_checkpoints_deleted_under_a_run_are_followed_by_new_ones(
  tmp_path, lost
):
  saver = checkpoint.Checkpointer(tmp_path / 'c', asynchronous=True)
  for step in (1, 2):
    saver.save(step, {'x': jnp.full(4, step)}, {})
  saver.wait()
  shutil.rmtree(tmp_path / lost)
  saver.save(3, {'x': jnp.full(4, 3)}, {})
  saver.close()
  restored = checkpoint.load(tmp_path / 'c', {'x': jnp.zeros(4, int)})
  assert restored.step == 3 and restored.state['x'].tolist() == [3] * 4


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """gs:// paths, whose objects are files here: the transport alone is ours."""
  from etils.epath import backend
  from fsspec.implementations import local
  from orbax.checkpoint._src.path import gcs_utils

  root = tmp_path / 'bucket'
  root.mkdir()

  class Objects(local.LocalFileSystem):
    protocol = ('gcs', 'gs')

    @classmethod
    def _strip_protocol(cls, path):
      path = str(path).removesuffix('/')
      if path.startswith('gs://'):
        path = f'{root}/{path.removeprefix("gs://")}'
      return super()._strip_protocol(path)

    def glob(self, path, **options):
      found = super().glob(path, **options)
      return [each.removeprefix(f'{root}/') for each in found]

  objects = Objects()
  monkeypatch.setattr(
    type(backend.fsspec_backend), 'fs', lambda self, path: objects
  )

  def of_gcs(path):
    name, inside = gcs_utils.parse_gcs_path(path, add_trailing_slash=False)
    return {'driver': 'file', 'path': f'{root}/{name}/{inside}'}

  monkeypatch.setattr(gcs_utils, 'get_kvstore_for_gcs', of_gcs)
  monkeypatch.setattr(
    gcs_utils, 'is_hierarchical_namespace_enabled', lambda path: False
  )
  (root / 'some').mkdir()
  return root / 'some'


def test_checkpoints_in_a_bucket_are_those_of_a_folder(bucket, tmp_path):
  folder = 'gs://some/run'
  saver = checkpoint.Checkpointer(folder, keep=2, asynchronous=True)
  for step in (1, 2, 3):
    saver.save(step, _state(step), {'cursor': step})
  saver.close()
  assert [path.name for path in checkpoint.steps(folder)] == ['2', '3']
  assert sorted(path.name for path in (bucket / 'run').iterdir()) == ['2', '3']
  assert not pathlib.Path('gs:').exists()
  restored = checkpoint.load(folder, _state(0))
  assert restored.step == 3 and restored.metadata == {'cursor': 3}
  assert _bytes(restored.state) == _bytes(_state(3))
  # Its newest is damaged, and goes out of the way.
  for file in (bucket / 'run' / '3' / 'state').rglob('*'):
    if file.is_file():
      file.write_bytes(b'no')
  saver = checkpoint.Checkpointer(folder, keep=2)
  assert saver.restore(_state(0)).step == 2
  saver.close()
  assert checkpoint.load('gs://some/none', _state(0)) is None
  (bucket / 'run' / 'mine').mkdir()
  checkpoint.remove(folder)
  assert [path.name for path in (bucket / 'run').iterdir()] == ['mine']
