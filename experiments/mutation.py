"""Puts small faults into the code, one at a time, and sees if a test notices.

  python -m experiments.mutation
      300 changes, spread over the modules whose arithmetic is the method
  ... --modules=jaxrl_llm/numerics.py,jaxrl_llm/rewards --sample=0
      every change of these
  ... --list
      the changes, without a run; + has a verdict
  ... --again
      those that survived once more, after a test was added
  ... --render
      only write the page

A change that no test notices has survived: a test is missing, or both forms
mean the same. In that case experiments/results/mutation_same.jsonl says why, a
line {mutant, reason}. Results are lines {mutant, module, verdict, test,
seconds, git_commit} of mutation.jsonl, the newest of a change counts, and
Ctrl-C keeps them; mutation.md is the page of them.

Tests of a change are those of its module, those of others that reach its
definition, the oracles of the nearest entries, and what every recipe must
satisfy for one of these. They run in a copy of the tree, in forks of a process
that has imported jax. Published tools do not do: they run a whole selection of
tests for every change, and each would pay for starting jax.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from absl import flags

from experiments import command
from experiments.benchmarks import markdown
from experiments.mutants import operators, references

MODULES = (
  *('jaxrl_llm/numerics.py', 'jaxrl_llm/credit.py', 'jaxrl_llm/reference.py'),
  *('jaxrl_llm/update.py', 'jaxrl_llm/control.py', 'jaxrl_llm/grouping.py'),
  *('jaxrl_llm/advantages', 'jaxrl_llm/objectives', 'jaxrl_llm/selection'),
  *('jaxrl_llm/rewards', 'jaxrl_llm/training/step.py'),
)
# Other commands have flags of these names too, and tests import several.
_MODULES = flags.DEFINE_list(
  'modules', list(MODULES), 'Files and folders to change.'
)
_SAMPLE = flags.DEFINE_integer(
  'sample', 300, 'How many changes, as many of each module; 0 is all.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Which changes are drawn.', allow_override=True
)
_LIST = flags.DEFINE_bool(
  'list', False, 'Print the changes alone.', allow_override=True
)
_AGAIN = flags.DEFINE_bool('again', False, 'Run again what survived.')
_RENDER = flags.DEFINE_bool(
  'render', False, 'Only write the page.', allow_override=True
)
_RESULTS = command.results_flag()

ROOT = pathlib.Path(command.here()).parent
# What is read for mentions, and what a change of a module is tried on.
_FOLDERS = ('jaxrl_llm', 'tests')
ENTRIES = 'jaxrl_llm/recipes/'
_ORACLES = 'tests/recipes/entries_test.py'
_EVERY = 'tests/battery_test.py'
# Tests of many things at once, which say little about one for their time.
_BROAD = (_ORACLES, _EVERY, 'tests/recipes', 'tests/end_to_end', 'tests/fuzz')
# How many tests of other modules, and entries, are tried.
_OTHERS, _NEAREST = 6, 2
# Seconds of a processor after which a stage starts no further test, and after
# which a change hangs: a minute more than all stages.
_OWN_SECONDS, _SECONDS, _HANGS = 60.0, 15.0, 165.0

Place = tuple[str, operators.Mutant]


class Stage(NamedTuple):
  """Tests that run together.

  Attributes:
    tests: files, or names of tests in files.
    keyword: which of them, as pytest's `-k` selects; '' is all.
    seconds: of a processor; after these no further one starts.
  """

  tests: list[str]
  keyword: str
  seconds: float


def main() -> int:
  results = pathlib.Path(_RESULTS.value)
  if _RENDER.value:
    print(f'wrote {draw(results)}')
    return 0
  if _SAMPLE.value < 0:
    raise command.Refused(f'--sample={_SAMPLE.value} must be 0 or more')
  if _LIST.value:
    done = verdicts(results)
    for path, mutant in _chosen(ROOT, references.References(ROOT, _FOLDERS)):
      seen = '+' if key_of(path, mutant) in done else ' '
      print(f'{seen} {path}:{mutant.line}: {mutant.name}')
    return 0
  same = reasons(results)
  with copied(ROOT) as tree:
    known = references.References(tree, _FOLDERS)
    done = verdicts(results)
    if _AGAIN.value:
      wanted = {key for key in survivors(done) if key not in same}
      places = mutants_of(tree, _MODULES.value, known)
      chosen = left = [p for p in places if key_of(*p) in wanted]
    else:
      chosen = _chosen(tree, known)
      left = [p for p in chosen if key_of(*p) not in done]
    with open(results / 'mutation.jsonl', 'a') as file:
      for line in run(tree, left, known):
        file.write(json.dumps(line) + '\n')
        file.flush()
  keys = {key_of(*place) for place in chosen}
  done = {key: x for key, x in verdicts(results).items() if key in keys}
  print(table(done, same))
  for key in survivors(done):
    if key not in same:
      print(f'survived: {key}')
  print(f'wrote {draw(results)}')
  return 0


# Which changes.


def _chosen(root, known) -> list[Place]:
  places = mutants_of(root, _MODULES.value, known)
  return sample(places, _SAMPLE.value, _SEED.value)


def mutants_of(
  root: pathlib.Path, modules: Iterable[str], known: references.References
) -> list[Place]:
  """Every change of these files and folders, with the file it is in.

  Raises:
    Refused: naming what is not there.
  """
  found = []
  for module in modules:
    if not (root / module).exists():
      raise command.Refused(f'--modules: no file or folder {module!r}')
    paths = sorted((root / module).rglob('*.py')) or [root / module]
    for path in paths:
      name = path.relative_to(root).as_posix()
      dead = known.dead_defaults(name)
      text = path.read_text(encoding='utf-8')
      found += [(name, m) for m in operators.mutants(text, dead)]
  return found


def sample(places: list[Place], number: int, seed: int) -> list[Place]:
  """As many changes of each module, or all of one that has too few.

  More of the same seed are those and others. 0 is all, in order.
  """
  if not number:
    return places
  by_module = collections.defaultdict(list)
  for place in places:
    by_module[place[0]].append(place)
  for own in by_module.values():
    # By what each is, so that what is drawn outlives an edit of the rest.
    own.sort(
      key=lambda p: hashlib.sha1(f'{seed} {key_of(*p)}'.encode()).digest()
    )
  rounds = max(map(len, by_module.values()), default=0)
  drawn = [
    own[i] for i in range(rounds) for own in by_module.values() if i < len(own)
  ]
  return drawn[:number]


def key_of(path: str, mutant: operators.Mutant) -> str:
  return f'{path}: {mutant.name}'


# Which tests.


def stages(
  path: str, mutant: operators.Mutant, known: references.References
) -> list[Stage]:
  """The tests of a change, from the nearest to the furthest."""
  distance = known.users(references.Definition(path, mutant.place))
  own = path.replace('jaxrl_llm/', 'tests/', 1).replace('.py', '_test.py')
  nearest = sorted(distance, key=lambda d: (distance[d], d))
  tests = [d for d in nearest if d.name.startswith('test_')]
  mine = [t for t in known.definitions.get(own, ()) if t.startswith('test_')]
  first = [d.name for d in tests if d.path == own]
  others = [d for d in tests if d.path != own and not d.path.startswith(_BROAD)]
  found = [
    Stage(
      [f'{own}::{name}' for name in dict.fromkeys([*first, *mine])],
      '',
      _OWN_SECONDS,
    ),
    Stage([f'{d.path}::{d.name}' for d in others[:_OTHERS]], '', _SECONDS),
  ]
  entries = [
    d.name
    for d in nearest
    if d.path.startswith(ENTRIES)
    and not d.name.startswith('_')
    and not d.path.endswith('__main__.py')
  ]
  if entries and _ORACLES in known.definitions:
    cases = ' or '.join(f'[{name}-' for name in entries[:_NEAREST])
    keyword = f'test_entry_is_its_oracle and ({cases})'
    found.append(Stage([_ORACLES], keyword, _SECONDS))
    keyword = f'[{entries[0]}] or [{entries[0]}-'
    found.append(Stage([_EVERY], keyword, _SECONDS))
  return [stage for stage in found if stage.tests]


# The run.


def run(
  tree: pathlib.Path, places: list[Place], known: references.References
) -> Iterator[dict]:
  """Tries changes in a copy of a checkout, and gives the verdict on each.

  Raises:
    Refused: a test that noticed a change fails without it, too.
  """
  from jaxrl_llm.training import progress

  commit, sound = command.commit(), set()
  with contextlib.closing(Forks(tree)) as forks:
    for path, mutant in progress.bar(places, desc='mutation'):
      source = (tree / path).read_text(encoding='utf-8')
      tests = stages(path, mutant, known)
      answer = forks.run(path, mutant.applied(source), tests)
      test = answer['test']
      function = test.partition('[')[0]
      if '::' in test and function not in sound:
        _check_sound(forks, path, source, test)
        sound.add(function)
      yield {
        'mutant': key_of(path, mutant),
        'module': path,
        **answer,
        'git_commit': commit,
      }


def _check_sound(forks, path, source, test) -> None:
  """Refuses to go on with a test that fails without a change."""
  answer = forks.run(path, source, [Stage([test], '', _SECONDS)])
  if answer['verdict'] != 'survived':
    raise command.Refused(f'{test} fails without any change')


@contextlib.contextmanager
def copied(root: pathlib.Path) -> Iterator[pathlib.Path]:
  """A copy, for as long as it lasts, of the files that git does not ignore."""
  words = 'git ls-files -z --cached --others --exclude-standard'.split()
  text = subprocess.check_output(words, cwd=root, text=True)
  with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder)
    for name in filter(None, text.split('\0')):
      if (root / name).is_file():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, tree / name)
    yield tree


class Forks:
  """The process that runs tests, `experiments.mutants.forks`, and its replies.

  Args:
    tree: a copy of the checkout, in which files are changed.
  """

  def __init__(self, tree: pathlib.Path):
    self._process = subprocess.Popen(
      [sys.executable, '-P', command.here('mutants', 'forks.py')],
      cwd=tree,
      env=os.environ | {'PYTHONPATH': str(tree)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    stdin, stdout = self._process.stdin, self._process.stdout
    assert stdin is not None and stdout is not None  # pipes, as asked for
    self._stdin, self._stdout = stdin, stdout
    self._answer()

  def run(self, path: str, text: str, tests: Iterable[Stage]) -> dict:
    """The verdict of tests on a file with another text.

    Raises:
      RuntimeError: the tests could not be run.
    """
    request = {
      'path': path,
      'text': text,
      'stages': [stage._asdict() for stage in tests],
      'limit': _HANGS,
    }
    self._stdin.write(json.dumps(request) + '\n')
    self._stdin.flush()
    answer = self._answer()
    if answer['verdict'] == 'broken':
      raise RuntimeError(f'no tests of {path}: {answer["test"]}')
    return answer

  def _answer(self) -> dict:
    line = self._stdout.readline()
    if not line:
      raise RuntimeError('the process that runs tests has ended')
    return json.loads(line)

  def close(self) -> None:
    # As Ctrl-C does, upon which it ends the fork that runs.
    self._process.send_signal(signal.SIGINT)
    self._stdin.close()
    self._process.wait()


# Results.


def _lines(path: pathlib.Path) -> list[dict]:
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def verdicts(results: pathlib.Path) -> dict[str, dict]:
  """The newest line of every change."""
  return {x['mutant']: x for x in _lines(results / 'mutation.jsonl')}


def reasons(results: pathlib.Path) -> dict[str, str]:
  """Why changes mean the same, by change."""
  lines = _lines(results / 'mutation_same.jsonl')
  return {x['mutant']: x['reason'] for x in lines}


def survivors(done: dict[str, dict]) -> list[str]:
  return [key for key, line in done.items() if line['verdict'] == 'survived']


def table(done: dict[str, dict], same: dict[str, str]) -> str:
  """Score by module: noticed changes of those that mean something else."""
  head = ('module', 'changes', 'noticed', 'mean the same', 'survived', 'score')
  by_module = collections.defaultdict(list)
  for key, line in sorted(done.items()):
    by_module[line['module']].append((key, line))
    by_module['all'].append((key, line))
  total = by_module.pop('all', [])
  rows = [_row(f'`{name}`', own, same) for name, own in by_module.items()]
  return markdown.table(head, [*rows, _row('all', total, same)])


def _row(name, lines, same):
  survived = survivors(dict(lines))
  equal = sum(key in same for key in survived)
  noticed = len(lines) - len(survived)
  score = _percent(noticed, len(lines) - equal)
  return name, len(lines), noticed, equal, len(survived) - equal, score


def _percent(part: int, whole: int) -> str:
  return f'{100 * part / whole:.1f} %' if whole else '-'


def draw(results: pathlib.Path) -> pathlib.Path:
  """Writes mutation.md of what was run."""
  lines, same = _lines(results / 'mutation.jsonl'), reasons(results)
  done = verdicts(results)
  first: dict[str, dict] = {}
  for line in lines:
    first.setdefault(line['mutant'], line)
  before = len(first) - len(survivors(first))
  equal = sum(key in same for key in survivors(done))
  seconds = sorted(line['seconds'] for line in first.values())
  left = [key for key in survivors(done) if key not in same]
  page = _PAGE.format(
    table=table(done, same),
    changes=len(done),
    before=before,
    first=_percent(before, len(first) - equal),
    newest=_percent(len(done) - len(survivors(done)), len(done) - equal),
    median=seconds[len(seconds) // 2] if seconds else 0.0,
    timeouts=sum(line['verdict'] == 'timeout' for line in done.values()),
    survived=_listed((key, 'survived') for key in left),
    same=_listed((key, same[key]) for key in survivors(done) if key in same),
  )
  path = results / 'mutation.md'
  path.write_text(page)
  return path


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
  lines = [f'- `{key}`: {text}' for key, text in sorted(pairs)]
  return '\n'.join(lines) or 'None.'


_PAGE = """\
# Which small faults the tests notice

`python -m experiments.mutation` puts a small fault into a copy of the code, one
at a time, and runs the tests that are nearest to it. Of {changes} faults,
drawn evenly over the modules, {before} were noticed when each was tried first,
{first} of those that mean something else. By the newest try of each, after
tests were added, it is {newest}, which the table counts. Faults of lines that
are no longer in the code are left out, and so are those that showed a line to
do nothing, which was deleted. {timeouts} of them ran out of time, which counts
as noticed. Half of them took {median:.1f} s of one processor or less. A module
of which few were tried may hold more that nothing notices.

{table}

## Survived

{survived}

## Mean the same

{same}
"""


if __name__ == '__main__':
  command.run(main)
