import jax
import numpy as np
import pytest

from jaxrl_llm.training import hosts


@pytest.mark.parametrize('seconds', ['', '0', '-5', '1.5', 'long'])
def test_a_heartbeat_that_is_no_number_of_seconds_is_refused(
  monkeypatch, seconds
):
  monkeypatch.setenv('JAX_HEARTBEAT_SECONDS', seconds)
  with pytest.raises(ValueError, match='JAX_HEARTBEAT_SECONDS.*whole seconds'):
    hosts.initialize()


@pytest.mark.parametrize(
  'environment',
  [{'JAX_NUM_PROCESSES': '2'}, {'JAX_PROCESS_ID': '0'}]
  + [{'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': 'first'}],
)
def test_half_of_a_description_is_refused(monkeypatch, environment):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', '127.0.0.1:1')
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(ValueError, match='must both be numbers'):
    hosts.initialize()


@pytest.mark.parametrize(
  ('error', 'is_lost'),
  [
    # What processes said when another one was killed.
    (
      jax.errors.JaxRuntimeError(
        'UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/'
        'pair.cc:547] Connection closed by peer [127.0.0.1]:59621'
      ),
      True,
    ),
    (
      jax.errors.JaxRuntimeError(
        'INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: '
        'Task 1 heartbeat timeout.'
      ),
      True,
    ),
    (ValueError('UNKNOWN: Gloo all-gather failed: timed out'), True),
    # Mistakes of another kind that sound alike.
    (
      jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: connection buffers'),
      False,
    ),
    (ValueError('connection.txt is no folder'), False),
    (OSError('UNKNOWN: Connection refused'), False),
  ],
  ids=lambda x: str(x)[:24],
)
def test_the_loss_of_a_process_is_told_from_other_errors(error, is_lost):
  assert hosts.lost(error) == is_lost


def test_a_process_alone_raises_what_went_wrong():
  told = []
  with pytest.raises(OSError, match='full'), hosts.ending_at_once(told.append):
    raise OSError('full')
  assert told == []


def test_texts_of_two_processes_are_joined(monkeypatch):
  """The other process has the same texts here."""

  def gathered(x, tiled):
    assert tiled
    return np.concatenate([x, x])

  assert hosts.texts(['a', ''], 2) == ['a', '']
  monkeypatch.setattr(hosts.jax, 'process_count', lambda: 2)
  monkeypatch.setattr(hosts.multihost_utils, 'process_allgather', gathered)
  mine = ['a', 'zwölf\n']
  assert hosts.texts(mine, 4) == mine * 2
  # The last one has a row less.
  assert hosts.texts(mine, 3) == [*mine, 'a']
  assert hosts.texts([], 0) == []
