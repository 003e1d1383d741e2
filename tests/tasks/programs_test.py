"""Programs are judged by what they compute, and by nothing else."""

import pytest

from jaxrl_llm.tasks import programs, verify
from tests.tasks import hostile_programs

pytestmark = pytest.mark.usefixtures('namespaces')

DOUBLE = {'tests': ['assert f(2) == 4', 'assert f([1]) == [1, 1]']}
ECHO = {
  'tests': [
    {'input': '1 2\n', 'output': '3\n'},
    {'input': '40\n2\n', 'output': '42'},
  ]
}
ADD = 'import sys\nprint(sum(map(int, sys.stdin.read().split())))'


def test_a_program_is_right_where_all_its_tests_hold():
  cases = [
    ('def f(x): return x + x', DOUBLE, 1),
    ('def f(x): return 4', DOUBLE, 0),
    ('f = lambda x: x * 2', DOUBLE, 1),
    ('def f(x): return x * 3', DOUBLE, 0),
    ('def f(x): return x +', DOUBLE, 0),
    ('', DOUBLE, 0),
    (ADD, ECHO, 1),
    ('print(3)', ECHO, 0),
    (f'{ADD}\nraise SystemExit(1)', ECHO, 0),
    ("def f(x):\n  print('working')\n  return x * 2", DOUBLE, 1),
  ]
  responses, rows, right = zip(*cases)
  assert programs.score(responses, rows, seconds=20) == list(right)


def test_no_hostile_program_gets_credit():
  # 816254 is what no program can find but by knowing it.
  row = {'tests': ['assert f(3) == 816254', 'assert f(4) == 9']}
  texts = [
    *hostile_programs.CHEATS.values(),
    *hostile_programs.SIGNALS.values(),
    hostile_programs.HUNGER['endless_loop'],
    hostile_programs.HUNGER['endless_output'],
    hostile_programs.PROCESSES['fork_bomb'],
  ]
  texts = [text.replace('PID', '1') for text in texts]
  scores = programs.score(texts, [row] * len(texts), seconds=0.4)
  assert scores == [0] * len(texts)
  assert programs.score(
    ['def f(x): return {3: 816254, 4: 9}[x]'], [row], seconds=60
  ) == [1]


def test_expected_values_stay_outside():
  row = {'tests': ['assert f(3) == 816254']}
  [(end, stdin, expected)] = programs.tests(row)
  assert '816254' not in end + stdin and expected == (816254,)


@pytest.mark.parametrize(
  ('response', 'program'),
  [
    ('print(1)', 'print(1)'),
    ('So:\n```python\nx = 1\n```\nDone.', 'x = 1\n'),
    ('```\na\n```\nno, better\n```py\nb\n```', 'b\n'),
    ('```python\na\n```\nIt prints\n```text\n1\n```', 'a\n'),
    ('```bash\npip\n```\n```python\na\n', 'a\n'),
    ('```python\ns = "```"\n```\n', 's = "```"\n'),
    ('', ''),
  ],
)
def test_the_program_is_the_last_python_block(response, program):
  assert programs.program(response) == program


@pytest.mark.parametrize(
  'tests',
  [
    None,
    [],
    'assert f(1) == 1',
    [3],
    [{'input': '1'}],
    ['f(1) == 1'],
    ['assert f(1)'],
    ['assert f(1) == g(1)'],
    ['assert f(1) == 1; assert f(2) == 2'],
    ['assert f(1) <= 1'],
    ['assert f(1) =='],
    ['\0'],
  ],
)
def test_a_row_without_usable_tests_is_an_error(tests):
  with pytest.raises(ValueError, match='tests|the test'):
    programs.tests({'tests': tests})


def test_all_tests_share_the_time_of_a_response():
  slow = 'import time\ndef f(x):\n  time.sleep(0.3)\n  return x'
  row = {'tests': [f'assert f({i}) == {i}' for i in range(1000)]}
  verdict = programs.score([slow], [row], seconds=0.8)
  assert verdict == [0]


def test_programs_are_verified_in_worker_processes():
  with verify.Verifiers(['code:30', 'tests=code:30'], seconds=60) as verifiers:
    assert verifiers.names == ('code', 'tests')
    texts = ['def f(x): return x * 2', 'def f(x): return x']
    verdict = verifiers.score(texts, [DOUBLE] * 2)
    broken = verifiers.score(texts[:1], [{}])
  assert verdict.components.tolist() == [[1, 1], [0, 0]] and verdict.ok.all()
  assert not broken.ok[0] and broken.counts['verify/errors'] == 2


@pytest.mark.parametrize(
  ('name', 'seconds', 'words'),
  [
    ('code', 3.0, 'raise verify.seconds above 3'),
    ('code:9', 5.0, 'raise verify.seconds above 9'),
    ('code:0', 5.0, 'bad seconds'),
    ('code:nan', 5.0, 'bad seconds'),
  ],
)
def test_limits_that_cannot_work_are_refused(name, seconds, words):
  with pytest.raises(ValueError, match=words):
    verify.Verifiers([name], seconds=seconds)


def test_a_right_program_earns_by_how_much_faster_it_is():
  loop = 'def f(n): return sum(3 * i for i in range(n))'
  short = 'def f(n): return 3 * n * (n - 1) // 2'
  slow = f'{loop}\ng = f\ndef f(n): return [g(n) for _ in range(9)][0]'
  row = {'reference': loop, 'tests': [f'assert f({10**6}) == 1499998500000']}
  texts = [short, slow, 'def f(n): return 7', 'f = 1 / 0', 'def f(n:']
  quick, same, *wrong = programs.faster(texts, [row] * 5, seconds=30, repeats=2)
  assert quick > 1.5 and same == 0.0
  assert wrong == [0.0, -0.5, -1.0]


@pytest.mark.parametrize('reference', [None, 'def f(x): return 1'])
def test_a_reference_that_is_missing_or_wrong_is_refused(reference):
  with pytest.raises(ValueError, match="needs 'reference'"):
    programs.faster(['f = 1'], [DOUBLE | {'reference': reference}], seconds=20)


@pytest.mark.parametrize(
  ('start', 'before', 'after', 'wanted'),
  [
    ((1, 1, 1), (5, 5, 5), (3, 3, 3), 1.0),
    ((1, 1, 1), (2, 2, 2), (9, 9, 9), -1.0),
    ((1, 1, 1), (99, 99, 99), (1, 1, 1), 3.0),
    # Rounds are farther apart than the programs are.
    ((1, 1, 1), (5, 5, 5), (3, 9, 4.8), 0.0),
    # A machine that is busy for a round slows all that run in it.
    ((1, 2, 4), (5, 10, 20), (3, 6, 12), 1.0),
    # A single slow round, or run, is not what varies.
    ((1, 1, 1), (5, 5, 50), (3, 3, 30), 1.0),
    ((1, 1, 1), (5, 5, 5), (3, 3, 30), 1.0),
  ],
)
def test_a_difference_within_noise_earns_nothing(start, before, after, wanted):
  assert programs.speed_up(start, before, after) == pytest.approx(wanted)
