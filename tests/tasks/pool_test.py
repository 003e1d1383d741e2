"""The process pool: limits, replacement, and a clean end."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from jaxrl_llm.tasks.pool import SHOWN_BYTES, Pool


def gone(pid: int) -> bool:
  """Whether a process has ended (a zombie of another parent has, too)."""
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except (FileNotFoundError, ProcessLookupError):
    return True
  return state.split()[0] == 'Z'


def wait_until(condition, seconds=10.0):
  end = time.monotonic() + seconds
  while not condition() and time.monotonic() < end:
    time.sleep(0.02)
  assert condition()


def test_workers_do_not_import_jax(hostile):
  with Pool(workers=1) as pool:
    assert pool.map([(hostile, 'jax', {})]) == [('ok', 0.0, '')]


def test_timeout_ends_what_the_verifier_started(hostile, tmp_path):
  file = tmp_path / 'pid'
  with Pool(workers=1, seconds=0.5) as pool:
    outcome = pool.map([(hostile, 'child', {'file': str(file)})])
  assert outcome[0][0] == 'timeouts'
  wait_until(lambda: gone(int(file.read_text())))


def test_worker_killed_while_idle_is_replaced(hostile):
  with Pool(workers=1) as pool:
    pool.map([(hostile, 'fine', {})])
    [worker] = pool._workers
    os.kill(worker.process.pid, signal.SIGKILL)
    wait_until(lambda: gone(worker.process.pid))
    assert pool.map([(hostile, 'fine', {})]) == [('ok', 1.0, '')]


def test_row_that_cannot_be_sent_costs_itself_alone(hostile):
  with Pool(workers=1) as pool:
    rows = [{'value': lambda: 0}, {}]
    kinds = [kind for kind, *_ in pool.map([(hostile, 'a', r) for r in rows])]
  assert kinds == ['crashes', 'ok']


def test_interrupted_call_leaves_no_stale_answer(hostile, monkeypatch):
  with Pool(workers=1) as pool:
    finished = Pool._finished
    monkeypatch.setattr(
      Pool, '_finished', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
      pool.map([(hostile, 'fine', {'value': 5})])
    monkeypatch.setattr(Pool, '_finished', finished)
    assert pool.map([(hostile, 'fine', {'value': 6})]) == [('ok', 6.0, '')]


def test_gigabytes_of_output_are_cut_and_cost_their_row_alone(hostile, capfd):
  with Pool(workers=2, seconds=0.5) as pool:
    jobs = [(hostile, word, {}) for word in ('flood', 'fine', 'print')]
    kinds = [kind for kind, *_ in pool.map(jobs)]
  shown = capfd.readouterr().err
  assert kinds == ['timeouts', 'ok', 'ok']
  assert 'flood' in shown and SHOWN_BYTES <= len(shown) < 1.1 * SHOWN_BYTES
  assert shown.count('further output of verifiers is left out') == 1


def test_output_that_is_closed_is_waited_for_without_spinning(hostile):
  with Pool(workers=1, seconds=5) as pool:
    pool.map([(hostile, 'fine', {})])
    start = time.process_time()
    assert pool.map([(hostile, 'mute', {})]) == [('ok', 1.0, '')]
    assert time.process_time() - start < 0.2


def test_a_long_error_is_told_in_short(hostile):
  with Pool(workers=1) as pool:
    [(kind, _, detail)] = pool.map([(hostile, 'long', {})])
  assert kind == 'errors' and len(detail) <= 2000 and 'RuntimeError' in detail


LIES = {
  'nothing': '',
  'half': '[',
  'a pickle': '\x80\x05N.',
  'a mebibyte': 'x' * (1 << 20),
  'nesting': '[' * 10_000,
  'a number': '7',
  'a short list': '[1]',
  'a word for a score': '["ok", "high", ""]',
  'no number': '["ok", NaN, ""]',
  'another kind': '["fine", 1, ""]',
}


@pytest.mark.parametrize('name', LIES)
def test_an_answer_that_is_none_costs_its_row_alone(hostile, name):
  with Pool(workers=1, seconds=5) as pool:
    jobs = [(hostile, 'lie', {'message': LIES[name]}), (hostile, 'fine', {})]
    (kind, score, _), fine = pool.map(jobs)
  assert (kind, score) == ('crashes', 0.0) and fine == ('ok', 1.0, '')


def test_close_leaves_no_process_and_refuses_work(hostile):
  pool = Pool(workers=2)
  pool.map([(hostile, 'fine', {})] * 4)
  pids = [worker.process.pid for worker in pool._workers]
  pool.close()
  pool.close()
  assert pids and not any(pathlib.Path(f'/proc/{p}').exists() for p in pids)
  with pytest.raises(ValueError, match='closed'):
    pool.map([(hostile, 'fine', {})])


# A shell ignores SIGINT for what it starts in the background, and its children
# inherit that.
SCRIPT = """
import signal, sys
from jaxrl_llm.tasks.pool import Pool
signal.signal(signal.SIGINT, signal.default_int_handler)
pool = Pool(workers=2, seconds=2)
pool.map([('hostile:act', 'print', {})] * 2)
print(*[w.process.pid for w in pool._workers], flush=True)
if sys.argv[1] == 'hang':
  pool.map([('hostile:act', 'hang', {})] * 2)
"""


def run_script(tmp_path, mode):
  environment = os.environ | {
    'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])
  }
  return subprocess.Popen(
    [sys.executable, '-c', SCRIPT, mode],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=environment,
    text=True,
  )


def test_forgotten_pool_ends_with_the_interpreter(hostile, tmp_path):
  with run_script(tmp_path, 'leave') as process:
    out, err = process.communicate(timeout=30)
  assert process.returncode == 0
  # What verifiers print does not mix with the output of the command.
  assert 'noise' not in out and 'noise' in err
  pids = out.split()
  assert pids and all(gone(int(pid)) for pid in pids)


# After SIGKILL nobody cleans up: the workers' own alarm ends them.
@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGKILL])
def test_killed_run_leaves_no_worker(hostile, tmp_path, stop):
  with run_script(tmp_path, 'hang') as process:
    pids = [int(pid) for pid in process.stdout.readline().split()]
    time.sleep(0.2)
    process.send_signal(stop)
    process.wait(timeout=30)
    assert process.returncode != 0 and pids
    if stop == signal.SIGINT:
      assert all(map(gone, pids))
    wait_until(lambda: all(map(gone, pids)))


def test_workers_may_be_ended_by_several_threads_at_once():
  """As where a run ends while a pool waits for them."""
  with Pool(2, 5.0) as workers:
    workers.map([('exact', '1', {'answer': '1'})] * 2)
    ended = list(workers._workers)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
      codes = list(threads.map(lambda worker: worker.kill(), ended * 4))
  assert codes == [-signal.SIGKILL] * 4 * len(ended)
