"""Faults are what they say, and which of them a test notices is told."""

import ast
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments import mutation
from experiments.command import Refused
from experiments.mutants import operators, references

ROOT = pathlib.Path(__file__).parents[2]
TOY = '''\
"""A module."""

from jaxrl_llm import other


def at_least(x: int, low: int = 0) -> int:
  """The larger one, 1 and 1."""
  if not isinstance(x, int):
    raise ValueError(f'{x + 1} is no number')
  return max(x, low)


def unseen(x):
  return x + 1


def doubled(x):
  return at_least(x, low=1) * other.two()
'''
TESTS = """\
from jaxrl_llm import toy


def test_larger():
  assert toy.at_least(1, 3) == 3


def test_doubled():
  assert toy.doubled(1) == 2
  assert toy.doubled(4) == 8
"""


@pytest.fixture
def root(tmp_path):
  """A checkout of a module, what it needs, and its tests."""
  files = {
    'jaxrl_llm/toy.py': TOY,
    'jaxrl_llm/other.py': 'def two():\n  return 2\n',
    'tests/toy_test.py': TESTS,
    'pyproject.toml': '',
    'ignored/data': '',
    '.gitignore': 'ignored/\n',
  }
  root = tmp_path / 'checkout'
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
  subprocess.run(['git', 'init', '-q', root], check=True)
  return root


def changed(source, operator):
  """The sources that changes of a kind make."""
  return [
    ast.unparse(ast.parse(m.applied(source)))
    for m in operators.mutants(source)
    if m.operator == operator
  ]


@pytest.mark.parametrize(
  ('operator', 'source', 'wanted'),
  [
    ('comparison', 'x = a < b <= c', ['x = a <= b <= c', 'x = a < b < c']),
    ('comparison', 'x = a in b', ['x = a not in b']),
    ('arithmetic', 'x = a * (b - c)', ['x = a / (b - c)', 'x = a * (b + c)']),
    ('arithmetic', 'x = a ** 2 & b', ['x = a ** 2 | b', 'x = a * 2 & b']),
    ('constant', 'x = f(0, -1, 0.5)', [
      'x = f(1, -1, 0.5)', 'x = f(0, 0, 0.5)', 'x = f(0, -1, 1.5)',
    ]),
    ('arithmetic', 'x += a', ['x -= a']),
    ('arithmetic', 'x = a * 1.0', []),
    ('constant', 'x = f(True)', ['x = f(False)']),
    ('and, or', 'x = a and b', ['x = a or b']),
    ('sign', 'x = -a', ['x = a']),
    ('negation', 'x = not a', ['x = a']),
    ('negation', 'x = b & ~a', ['x = b & a']),
    ('negation', 'x = a if b else c', ['x = a if not b else c']),
    ('opposite', 'x = jnp.minimum(a, b)', ['x = jnp.maximum(a, b)']),
    ('opposite', 'x = max(a)', ['x = min(a)']),
    ('opposite', 'x = f(jax.ops.segment_min)', [
      'x = f(jax.ops.segment_max)'
    ]),
    ('stop_gradient', 'x = jax.lax.stop_gradient(a) + b', ['x = a + b']),
    ('swapped branches', 'x = jnp.where(m, a, 0)', ['x = jnp.where(m, 0, a)']),
    ('dropped where', 'x = jnp.where(m, a, 0)', ['x = a']),
    ('dropped clip', 'x = jnp.clip(a, 0, b)', ['x = a']),
    ('keyword', 'x = f(a, axis=1, keepdims=b)', [
      'x = f(a, keepdims=b)', 'x = f(a, axis=1)',
    ]),
    ('dropped statement', 'def f(x):\n  x = g(x)\n  return x', [
      'def f(x):\n    pass\n    return x',
    ]),
    ('dropped statement', 'def f(x):\n  check(x)\n  return x', [
      'def f(x):\n    pass\n    return x',
    ]),
    ('dropped statement', 'def f(x):\n  if x:\n    raise y\n  return x', [
      'def f(x):\n    pass\n    return x',
    ]),
  ],
)  # fmt: skip
def test_each_kind_makes_the_change_it_should(operator, source, wanted):
  assert changed(source, operator) == wanted


@pytest.mark.parametrize(
  'source',
  [
    '"""Adds 1 + 1."""',
    'def f(x: int | None = None) -> a + 1:\n  return x',
    'def f(x):\n  raise ValueError(x + 1, f"{x + 1}")',
    'def f(x):\n  return "a" + x',
    '@g(frozen=True)\nclass A:\n  x: Literal[1]',
    'class A:\n  def __repr__(self):\n    return 1 + self.x',
    'class A(Protocol):\n  x: int = 1\n  def f(self, x=1): ...',
    'def f(x):\n  del x',
    'def f(x):\n  y = g(x)\n  return y',
  ],
)
def test_what_no_test_should_notice_stays(source):
  assert operators.mutants(source) == []


def test_a_change_leaves_every_other_character_where_it_was():
  source = 'é = [1 +  2,  # why\n     a]\n'
  (mutant,) = [
    m for m in operators.mutants(source) if m.operator == 'arithmetic'
  ]
  assert mutant.applied(source) == 'é = [(1 - 2),  # why\n     a]\n'


def test_equal_changes_of_a_definition_have_names_of_their_own():
  mutants = operators.mutants('def f(x):\n  return x[0] + x[0]')
  names = [m.name for m in mutants if m.operator == 'constant']
  assert names == ['f: constant: 0 -> 1', 'f: constant: 0 -> 1 #1']


def test_a_default_that_every_caller_gives_is_dead(root):
  path = 'jaxrl_llm/toy.py'
  known = references.References(root, ('jaxrl_llm', 'tests'))
  # The one call outside of tests gives it.
  assert known.dead_defaults(path) == {('at_least', 'low')}
  names = [m.name for _, m in mutation.mutants_of(root, [path], known)]
  assert 'at_least: constant: 0 -> 1' not in names
  (root / path).write_text(TOY + '\n\nlater = [at_least]\n')
  known = references.References(root, ('jaxrl_llm', 'tests'))
  assert known.dead_defaults(path) == set()


def test_mentions_are_followed_through_imports(root):
  known = references.References(root, ('jaxrl_llm', 'tests'))
  users = known.users(references.Definition('jaxrl_llm/other.py', 'two'))
  assert {d.name: n for d, n in users.items()} == {
    'two': 0,
    'doubled': 1,
    'test_doubled': 2,
  }


@pytest.fixture(scope='module')
def package():
  return references.References(ROOT, ('jaxrl_llm', 'tests'))


def test_tests_are_tried_from_the_nearest_to_the_furthest(package):
  path = 'jaxrl_llm/objectives/surrogates.py'
  places = mutation.mutants_of(ROOT, [path], package)
  mutant = next(m for _, m in places if m.place == '_ratio')
  own, others, oracles, every = mutation.stages(path, mutant, package)
  assert own.tests[0].startswith('tests/objectives/surrogates_test.py::')
  assert all('surrogates_test' not in name for name in others.tests)
  assert '[ppo-' in oracles.keyword
  assert '[ppo]' in every.keyword


def test_more_changes_of_a_seed_are_those_and_others():
  first, *more = operators.mutants('x = [0, 1, 2, 3]')
  places = [(name, m) for name in 'ab' for m in (first, *more)]
  few, many = (mutation.sample(places, n, seed=0) for n in (4, 7))
  assert many[:4] == few
  assert [name for name, _ in few] == ['a', 'b', 'a', 'b']
  assert mutation.sample(places, 4, seed=1) != few


def test_what_is_drawn_outlives_an_edit():
  places = [('a', m) for m in operators.mutants('x = [0, 1, 2, 3, 4]')]
  drawn = mutation.sample(places, 2, seed=0)
  kept = [place for place in places if place in drawn or place == places[-1]]
  assert mutation.sample(kept, 2, seed=0) == drawn


def tried(root):
  """The verdict on every change of the toy."""
  with mutation.copied(root) as tree:
    known = references.References(tree, ('jaxrl_llm', 'tests'))
    places = mutation.mutants_of(tree, ['jaxrl_llm/toy.py'], known)
    return list(mutation.run(tree, places, known))


def files_of(root):
  return {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}


def test_survivors_are_told_and_the_checkout_stays_as_it_is(root):
  before = files_of(root)
  found = {
    line['mutant'].partition(': ')[2]: (line['verdict'], line['test'])
    for line in tried(root)
  }
  doubled = 'tests/toy_test.py::test_doubled'
  larger = 'tests/toy_test.py::test_larger'
  assert found == {
    'at_least: dropped statement: if not isinstance(x, int): raise '
    "ValueError(f'{x + 1} is ... -> pass": ('survived', ''),
    'at_least: negation: not isinstance(x, int) -> isinstance(x, int)': (
      'killed',
      larger,
    ),
    'at_least: opposite: max -> min': ('killed', larger),
    'unseen: arithmetic: x + 1 -> x - 1': ('survived', ''),
    'unseen: constant: 1 -> 2': ('survived', ''),
    'doubled: arithmetic: at_least(x, low=1) * other.two() -> '
    'at_least(x, low=1) / other.two()': ('killed', doubled),
    'doubled: keyword: at_least(x, low=1) -> at_least(x)': (
      'survived',
      '',
    ),
    'doubled: constant: 1 -> 2': ('killed', doubled),
  }
  assert files_of(root) == before


def test_a_test_that_fails_anyway_ends_the_run(root):
  (root / 'tests/toy_test.py').write_text(TESTS.replace('== 2', '== 3'))
  with pytest.raises(Refused, match='test_doubled fails without any change'):
    tried(root)


def test_a_change_that_hangs_runs_out_of_time(root, monkeypatch):
  monkeypatch.setattr(mutation, '_HANGS', 1.0)
  text = 'def emptied(x):\n  while x:\n    x -= 1\n  return x\n'
  (root / 'jaxrl_llm/toy.py').write_text(text)
  (root / 'tests/toy_test.py').write_text(
    'from jaxrl_llm import toy\n\n\n'
    'def test_emptied():\n  assert toy.emptied(2) == 0\n'
  )
  (line,) = (x for x in tried(root) if 'dropped' in x['mutant'])
  assert line['verdict'] == 'timeout'


def test_nothing_is_left_after_ctrl_c(root, tmp_path):
  """No copy, and no process."""
  scratch, running = tmp_path / 'scratch', tmp_path / 'running'
  scratch.mkdir()
  (root / 'tests/toy_test.py').write_text(
    'import os, pathlib, time\nfrom jaxrl_llm import toy\n\n\n'
    'def test_it():\n'
    f'  pathlib.Path({str(running)!r}).write_text(str(os.getpid()))\n'
    '  time.sleep(60)\n'
  )
  program = (
    'import pathlib\nfrom tests.experiments import mutation_test\n'
    f'mutation_test.tried(pathlib.Path({str(root)!r}))\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', program],
    cwd=ROOT,
    env=os.environ | {'TMPDIR': str(scratch)},
    stderr=subprocess.PIPE,
  )
  deadline = time.monotonic() + 60
  while not (running.exists() and running.read_text()):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=60)
  assert list(scratch.iterdir()) == []
  with pytest.raises(ProcessLookupError):
    os.kill(int(running.read_text()), 0)


KILLED, SURVIVED, EQUAL = (
  {'mutant': f'a.py: f: {n}', 'module': 'a.py', 'verdict': v, 'seconds': s}
  for n, v, s in (
    (1, 'killed', 1.0), (2, 'survived', 9.0), (3, 'survived', 2.0),
  )
)  # fmt: skip


def write(folder, lines):
  (folder / 'mutation.jsonl').write_text('\n'.join(map(json.dumps, lines)))
  same = {'mutant': EQUAL['mutant'], 'reason': 'x * 1 is x'}
  (folder / 'mutation_same.jsonl').write_text(json.dumps(same))
  return mutation.draw(folder).read_text()


def test_page_has_the_score_survivors_and_reasons(tmp_path):
  page = write(tmp_path, [KILLED, SURVIVED, EQUAL])
  assert '| `a.py` | 3 | 1 | 1 | 1 | 50.0 % |' in page
  assert '1 were noticed when each was tried first,\n50.0 %' in page
  assert '- `a.py: f: 2`: survived' in page
  assert '- `a.py: f: 3`: x * 1 is x' in page
  assert 'Half of them took 2.0 s' in page


def test_the_newest_verdict_counts(tmp_path):
  now = SURVIVED | {'verdict': 'killed'}
  page = write(tmp_path, [KILLED, SURVIVED, EQUAL, now])
  assert '| `a.py` | 3 | 2 | 1 | 0 | 100.0 % |' in page
  assert '1 were noticed when each was tried first,\n50.0 %' in page


def test_every_reason_is_of_a_change_that_could_be_made(package):
  results = ROOT / 'experiments/results'
  places = mutation.mutants_of(ROOT, mutation.MODULES, package)
  keys = {mutation.key_of(*place) for place in places}
  assert set(mutation.reasons(results)) <= keys
