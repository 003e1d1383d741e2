"""A module of verifiers that misbehave, for every way a verifier can fail."""

import pytest

HOSTILE = """
import os, sys, time, signal, subprocess

def act(responses, rows):
  word = responses[0]
  if word == 'hang':
    time.sleep(1000)
  if word == 'deaf':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
      pass
  if word == 'raise':
    raise RuntimeError('no')
  if word == 'exit':
    sys.exit(1)
  if word == 'die':
    os._exit(7)
  if word == 'nan':
    return [float('nan')]
  if word == 'huge':
    return [1e300]
  if word == 'two':
    return [1.0, 1.0]
  if word == 'memory':
    return [len(bytearray(8 << 30))]
  if word == 'recurse':
    return act(responses, rows)
  if word == 'child':
    child = subprocess.Popen(['sleep', '1000'])
    with open(rows[0]['file'], 'w') as file:
      file.write(str(child.pid))
    time.sleep(1000)
  if word == 'jax':
    return ['jax' in sys.modules]
  if word == 'print':
    print('noise')
  if word == 'flood':
    while True:
      print('flood ' * 10_000)
  if word == 'long':
    raise RuntimeError('no' * 1_000_000)
  if word == 'lie':
    import gc
    from multiprocessing.connection import Connection
    [wire] = [o for o in gc.get_objects() if isinstance(o, Connection)]
    wire.send_bytes(rows[0]['message'].encode())
    time.sleep(1000)
  if word == 'mute':
    os.close(1), os.close(2)
    time.sleep(0.3)
  return [rows[0].get('value', 1.0)]
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
  (tmp_path / 'hostile.py').write_text(HOSTILE)
  monkeypatch.syspath_prepend(tmp_path)
  return 'hostile:act'
