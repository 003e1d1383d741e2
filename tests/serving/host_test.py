"""Programs that do all that a program may do wrong."""

import contextlib

import pytest

from jaxrl_llm.serving import engine as engine_lib
from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import programs
from tests.serving.letters import Letters

# Of an extra.
pytest.importorskip('openai')
host_lib = pytest.importorskip('jaxrl_llm.serving.host')

ROOM = engine_lib.Room(99, 99, 9)


def write(asks, width):
  said = tuple(map(ord, 'yes|'))
  drawn = engine_lib.Drawn(said, {'logp': [-1.0] * len(said)}, False)
  return [drawn for _ in asks]


def played(spec, rows, **limits):
  """Why episodes ended and what they earned."""
  host = host_lib.Host(spec, programs.Limits(workers=2, **limits))
  chat = Letters()
  ledgers = [ledger_lib.Ledger(lambda tools: chat, n) for n in range(len(rows))]
  engine = engine_lib.Engine(write, ROOM, (197,), 2)
  with contextlib.closing(host):
    found = host.play(engine, ledgers, rows)
  return {
    row['how']: (each.stop, each.reward) for row, each in zip(rows, found)
  }


def test_each_way_to_end_has_a_name():
  hows = ('fine', 'hang', 'raise', 'endless', 'nan', '1e300', 'silent')
  rows = [{'prompt': 'p', 'how': how} for how in hows]
  spec = 'tests.serving.agents:misbehave'
  assert played(spec, rows, seconds=3.0, requests=3) == {
    'fine': ('done', 1.0),
    'hang': ('seconds', None),
    'raise': ('failed', None),
    # It had what it may have, and earned nothing with it.
    'endless': ('requests', 0.0),
    'nan': ('failed', None),
    '1e300': ('failed', None),
    'silent': ('failed', 1.0),
  }


def test_a_failure_is_told_with_what_was_refused(caplog, monkeypatch):
  monkeypatch.setattr(programs, 'WARN_EVERY', 0)
  rows = [{'prompt': 'p', 'how': 'impossible'}]
  spec = 'tests.serving.agents:misbehave'
  assert played(spec, rows) == {'impossible': ('failed', None)}
  assert '1 of 1 episodes' in caplog.text and 'HTTP Error 400' in caplog.text
  assert 'it was refused: n=2' in caplog.text


@pytest.mark.parametrize(
  ('spec', 'words'),
  [
    ('nothing', 'package.module:name'),
    ('no_such_module:f', 'no_such_module'),
    ('tests.serving.agents:nobody', 'nobody'),
    ('tests.serving.letters:Letters', "'tests.serving.letters:Letters'"),
  ],
)
def test_no_program_is_refused_before_a_run(spec, words):
  with pytest.raises(ValueError, match=words):
    host_lib.Host(spec, programs.Limits())


@pytest.mark.parametrize('name', ['workers', 'seconds', 'rows', 'bytes'])
def test_a_limit_is_positive(name):
  with pytest.raises(ValueError, match=f'serve.{name}=0'):
    programs.Limits(**{name: 0}).checked()
  assert programs.Limits(answer=0).checked().answer == 0


def test_what_a_write_raises_ends_the_run():
  def broken(asks, width):
    raise MemoryError('no room')

  host = host_lib.Host('tests.serving.agents:misbehave', programs.Limits())
  engine = engine_lib.Engine(broken, ROOM, (197,), 2)
  with contextlib.closing(host), pytest.raises(MemoryError):
    chat = Letters()
    rows = [{'prompt': 'p', 'how': 'fine'}]
    host.play(engine, [ledger_lib.Ledger(lambda tools: chat)], rows)
