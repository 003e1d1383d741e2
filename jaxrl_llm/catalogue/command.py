"""The papers in a terminal: list them, describe one, compare two, compose.

python -m jaxrl_llm.recipes              every recipe, one line each
python -m jaxrl_llm.recipes NAME         paper, hyper-parameters, slots; or what
                                         a learner, solver or optimizer does;
                                         or what another trainer's default is
python -m jaxrl_llm.recipes NAME surrogate=clip_weight costs=k2:0.01
                                         the same with other parts in its slots
                                         or other hyper-parameters; kl=k2 is the
                                         cost `kl` in that form, as it weighs
python -m jaxrl_llm.recipes search WORDS those that have all words in name,
                                         paper, joints or text
python -m jaxrl_llm.recipes for --have=verifier,pairs --want=hard
                                         what to begin with, and why
python -m jaxrl_llm.recipes diff A B     what differs between two
python -m jaxrl_llm.recipes mine.py:mine one that a file of yours registers, in
                                         any of these
python -m jaxrl_llm.recipes table        writes PAPERS.md here
python -m jaxrl_llm.recipes peers        writes docs/peers.md here
python -m jaxrl_llm.recipes choosing     writes docs/choosing.md here
python -m jaxrl_llm.recipes pairs        how many estimators and surrogates
                                         compose, and why others do not
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import itertools
import pathlib
import re
import runpy
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

from jaxrl_llm import (
  compose,
  parts,
  pipes,
  presets,
  recipes,
  registry,
  spelling,
)
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.catalogue import grid, meanings, peers, situations
from jaxrl_llm.catalogue import pieces as pieces_lib

TABLE = 'PAPERS.md'
STUDIES = pathlib.Path('experiments/ablations')
_OF_FILE = re.compile(r'(.+\.py):(\w+)')
_ARXIV = re.compile(r'\b\d{4}\.\d{5}\b')
_INDENT = '  '
# The family of recipes of a notebook, of text that was executed, and the like.
_NOWHERE = 'in no module'


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one command; 0 on success, 2 with one line on a bad request."""
  parser = argparse.ArgumentParser(
    prog='python -m jaxrl_llm.recipes',
    description=f'{__doc__}\n{fitting()}',
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    'words',
    nargs='*',
    metavar='NAME | NAME SLOT=PART ... | search WORDS | diff A B | for | table',
    help='see above',
  )
  for name, known in ('have', situations.HAVE), ('want', situations.WANT):
    told = '; '.join(f'{word}: {text}' for word, text in known.items())
    parser.add_argument(f'--{name}', default='', help=f'of for: {told}')
  asked = parser.parse_args(arguments)
  have, want = (
    [word.strip() for word in text.split(',') if word.strip()]
    for text in (asked.have, asked.want)
  )
  try:
    if (have or want) and asked.words != ['for']:
      raise KeyError('--have and --want belong to for, as in for --have=pairs')
    if asked.words == ['for']:
      print(recommended(have, want))
    else:
      print(_answer([_registered(word) for word in asked.words]))
  except (KeyError, ValueError) as error:
    print(error.args[0], file=sys.stderr)
    return 2
  return 0


def _registered(word: str) -> str:
  """The name of a recipe; FILE.py:NAME once the file has registered it.

  Raises:
    KeyError: no such file, or it registers nothing of that name.
  """
  match = _OF_FILE.fullmatch(word)
  if not match and word.endswith('.py'):
    raise KeyError(f'name a recipe of the file as well: {word}:NAME')
  if not match:
    return word
  file, name = match.groups()
  if not pathlib.Path(file).is_file():
    raise KeyError(f'no file at {file!r}')
  before = set(recipes.names())
  try:
    runpy.run_path(file, run_name='config')
  except Exception as error:
    why = f'{type(error).__name__}: {error}'
    raise KeyError(f'{file}: {" ".join(why.split())}') from error
  new = sorted(set(recipes.names()) - before)
  if name not in recipes.names():
    raise KeyError(f'{file} registers no {name!r}, but {new or "nothing"}')
  return name


def recommended(have: Sequence[str], want: Sequence[str]) -> str:
  """What to begin with in each situation that somebody is in."""
  told, found = [], situations.fitting(have, want)
  for row in found:
    about = {
      'begin with': f'{row.recipe}: {recipes.get(row.recipe).summary}',
      'because': row.why,
      'look next': row.others.replace('`', '') or '-',
    }
    told.append('\n'.join([row.told, *aligned(about)]))
  for word in want:
    if not any(word in row.want for row in found):
      told.append(f'{word}: {situations.unanswered(have, [word])}')
  return '\n\n'.join(told)


def _answer(words: Sequence[str]) -> str:
  match words:
    case []:
      return overview()
    case ['table']:
      path = pathlib.Path(TABLE)
      path.write_text(table(), encoding='utf-8')
      return f'wrote {len(recipes.names())} recipes to {path.resolve()}'
    case ['peers']:
      peers.PAGE.parent.mkdir(exist_ok=True)
      peers.PAGE.write_text(peers.page(), encoding='utf-8')
      return f'wrote the names of other trainers to {peers.PAGE.resolve()}'
    case ['choosing']:
      situations.PAGE.parent.mkdir(exist_ok=True)
      situations.PAGE.write_text(situations.page(), encoding='utf-8')
      return f'wrote what to begin with to {situations.PAGE.resolve()}'
    case ['pairs']:
      return grid.report()
    case ['diff', first, second]:
      return comparison(first, second)
    case ['diff', *others]:
      raise KeyError(f'diff compares two recipes, not {len(others)}: diff A B')
    case ['search', *wanted]:
      return search(wanted)
    case ['for', *have]:
      known = ' '.join(have)
      raise KeyError(f'say what you have by a flag: for --have={known}')
    case ['compose', *rest]:
      return _answer(rest)
    case [name]:
      return description(name)
    case [name, *changes] if all('=' in change for change in changes):
      return composition(name, dict(x.split('=', 1) for x in changes))
  raise KeyError(
    f'one recipe at a time, not {list(words)}; or: diff A B, search WORDS, for'
  )


def overview() -> str:
  """Every recipe on one line, by family: name, what it does, what it needs."""
  entries = [recipes.get(name) for name in recipes.names()]
  families: dict[str, dict[str, str]] = {}
  for entry in entries:
    needed = ', '.join(needs(entry))
    told = f'{entry.summary} [{needed}]' if needed else entry.summary
    module = entry.factory.__module__ or _NOWHERE
    families.setdefault(module, {})[entry.name] = told
  lines = []
  for module, family in sorted(families.items()):
    # That of a file that was run, or of a cell of a notebook, is not there.
    says = inspect.getdoc(sys.modules.get(module)) or ''
    head = [module.rpartition('.')[2], says.partition(chr(10))[0]]
    lines += [': '.join(filter(None, head)), *aligned(family), '']
  lines += [f'{len(entries)} recipes, behind each in brackets what it needs']
  lines += ['', 'presets']
  lines += aligned({n: _preset(p) for n, p in presets.PRESETS.items()})
  for kind, found in itertools.groupby(pieces_lib.pieces(), lambda p: p.kind):
    lines += ['', f'{kind}s', *aligned({p.name: p.summary for p in found})]
  return '\n'.join(lines)


def needs(entry: registry.Entry) -> list[str]:
  """What a run of it must have, in words: a model more, a guest, data."""
  recipe = entry.factory()
  terms = recipe.plan.contract
  return [
    *(['reference'] if 'ref_logp' in recipe.needs else []),
    *(['critic'] if parts.CRITIC & recipe.statistics else []),
    *sorted(terms.asks),
    *(f'verifier {name}' for name in sorted(terms.scores)),
    *(f'field {name}' for name in sorted(terms.columns)),
  ]


def search(words: Sequence[str]) -> str:
  """Entries and other methods that have all words, those in a name first.

  Words are found whatever their case, and within longer ones.

  Raises:
    KeyError: nothing has them, or there are none.
  """
  if not words:
    raise KeyError('search what? search WORDS')
  told = {}
  for entry in map(recipes.get, recipes.names()):
    paper = entry.paper
    about = (*paper.titles, paper.arxiv, *entry.joints, entry.text)
    told[entry.name] = entry.summary, about
  for piece in pieces_lib.pieces():
    told[piece.name] = piece.summary, (piece.kind, piece.text)
  for name, preset in presets.PRESETS.items():
    told[name] = _preset(preset), (_preset(preset),)
  wanted = [word.lower() for word in words]
  found = {
    name: summary
    for name, (summary, about) in told.items()
    if all(word in ' '.join((name, *about)).lower() for word in wanted)
  }
  if not found:
    raise KeyError(
      f'no recipe has {" and ".join(map(repr, words))}; try one word, or '
      'see the list without any'
    )
  named = [n for n in found if all(word in n.lower() for word in wanted)]
  order = dict.fromkeys([*named, *found])
  return '\n'.join(aligned({name: found[name] for name in order}))


def description(name: str) -> str:
  """All that an entry, or a method that is no recipe, says about itself."""
  for piece in pieces_lib.pieces():
    if name in (piece.name, piece.name.rpartition('.')[2]):
      text = textwrap.indent(piece.text, _INDENT)
      return f'{piece.name}, a {piece.kind}\n{text}'
  if name in presets.PRESETS:
    return composition(name, {})
  entry = recipes.get(name)
  recipe = entry.factory()
  plain = recipe_lib.describe(recipe_lib.Recipe())
  slots = {
    f'{"*" if plain.get(slot) != value else " "} {slot}': value
    for slot, value in recipe_lib.describe(recipe).items()
  }
  limits = [_INDENT + limited(limit) for limit in entry.limits]
  sections = [
    [name, *textwrap.indent(entry.text, _INDENT).split('\n')],
    aligned(about(entry)),
    ['hyper-parameters', *aligned(_numbers(entry))],
    ['slots (* differs from the plainest recipe)', *aligned(slots)],
    ['limits', *(limits or [f'{_INDENT}none declared'])],
  ]
  return '\n\n'.join('\n'.join(section) for section in sections)


def about(entry: registry.Entry) -> dict[str, str]:
  """Where an entry comes from and what it asks for; '-' for nothing."""
  paper, recipe = entry.paper, entry.factory()
  file, line = entry.place
  return {
    'code': f'{file}:{line}',
    'paper': '; also '.join(paper.titles),
    'arXiv': f'https://arxiv.org/abs/{paper.arxiv}' if paper.arxiv else '-',
    'confidence': paper.confidence,
    'joints': _joints(entry),
    'needs': ', '.join(sorted(recipe.needs)) or '-',
    'given by you': ', '.join(_given(recipe.plan)) or '-',
  }


def _numbers(entry: registry.Entry) -> dict[str, str]:
  """Defaults in a column, and what each number is behind them."""
  values = {key: repr(value) for key, value in entry.defaults.items()}
  wide = max(map(len, values.values()), default=0)
  said = meanings.meanings(entry)
  return {k: f'{v:{wide}}  {said[k]}'.rstrip() for k, v in values.items()}


def _values_and_slots(entry, changes):
  """Hyper-parameters as values, and slots as texts."""
  slots = {k: text for k, text in changes.items() if k in compose.SLOTS}
  values = {}
  for key, text in changes.items():
    if key in slots or key == _KL:
      continue
    if key not in entry.defaults:
      known = [*compose.SLOTS, *entry.defaults]
      raise KeyError(
        f'{key!r} is neither a slot nor a hyper-parameter of {entry.name}. '
        f'{spelling.suggestion(key, known)}'
      )
    values[key] = parts.value(parts.parsed(text))
    parts.check_kind(key, values[key], type(entry.defaults[key]))
  if _KL in changes:
    if 'costs' in slots:
      raise ValueError('kl is one of the costs; give kl or costs, not both')
    slots['costs'] = _in_form(entry.factory(**values), changes[_KL])
  return values, slots


# What stands in place of a slot: the form of the cost of that name.
_KL = 'kl'


def _in_form(recipe: recipe_lib.Recipe, form: str) -> str:
  """The costs, the distance from the reference in a form, at its own weight."""
  if _KL not in recipe.objective.costs:
    raise ValueError(
      'no cost is the distance from a reference here, whose form kl would be; '
      f'write costs={form}:WEIGHT'
    )
  before = parts.told('costs', recipe.objective.costs[_KL].fn)
  costs = compose.told(recipe)['costs']
  return costs.replace(f'{before}:', f'{form}:', 1)


def changed(name: str, changes: Mapping[str, str]) -> recipe_lib.Recipe:
  """A recipe or preset with other parts in its slots, and other numbers."""
  preset = presets.find(name)
  entry = recipes.get(preset.recipe)
  values, slots = _values_and_slots(entry, preset.changes | {**changes})
  return compose.compose(entry.factory(**values), **slots)


def composition(name: str, changes: Mapping[str, str]) -> str:
  """What comes out where slots and hyper-parameters of a recipe are changed."""
  preset = presets.find(name)
  entry = recipes.get(preset.recipe)
  changes = preset.changes | {**changes}
  values, slots = _values_and_slots(entry, changes)
  base = entry.factory()
  recipe = changed(name, changes)
  same = compose.same_as(recipe)
  about = {
    'is at its defaults': ', '.join(same) or 'no registered recipe',
    'needs': ', '.join(sorted(recipe.needs)) or '-',
    'given by you': ', '.join(_given(recipe.plan)) or '-',
  }
  flags = [f'--config.recipe.{key}={changes[key]}' for key in values]
  flags += [f'--config.slots.{slot}={text}' for slot, text in slots.items()]
  whole = ' '.join([entry.name, *(f'{k}={x}' for k, x in changes.items())])
  if preset.of:
    told = {'default of': preset.of, 'not the same': preset.apart or '-'}
    head = [name, *aligned({'is': whole} | told)]
  else:
    head = [whole]
  sections = [
    head,
    aligned(about),
    _differences(base, recipe, entry.name, 'now'),
    ['slots', *aligned(compose.told(recipe))],
    ['flags of a run', *(_INDENT + shlex.quote(flag) for flag in flags)],
  ]
  return '\n\n'.join('\n'.join(section) for section in sections)


def _preset(preset: presets.Preset) -> str:
  changes = (f'{key}={text}' for key, text in preset.changes.items())
  return f'{preset.of}: {" ".join([preset.recipe, *changes])}'


def fitting() -> str:
  """What fits each slot of a recipe, one line a part."""
  lines = ['slots, and what fits them beside the names of recipes:']
  for slot, meaning in compose.SLOTS.items():
    found = {k: parts.summary(x) for k, x in parts.fitting(slot).items()}
    lines += ['', f'{slot}: {meaning}', *aligned(found)]
  weights = {
    name: parts.summary(part)
    for name, part in parts.fitting('controller').items()
  }
  lines += ['', 'weights of costs: a number, or', *aligned(weights)]
  return '\n'.join(lines)


def _given(plan) -> list[str]:
  """What a run must bring: settings, verifiers, numbers of the data."""
  settings = {'environment': 'environment', 'teacher': 'teacher.paths'}
  terms = plan.contract
  numbers = [f'data field {name}' for name in terms.columns]
  scores = [f'verifier {name}' for name in terms.scores]
  asked = [f'--config.{settings[guest]}' for guest in sorted(terms.asks)]
  return asked + scores + numbers


def comparison(first: str, second: str) -> str:
  """The slots in which two recipes differ, side by side."""
  built = presets.build(first), presets.build(second)
  return '\n'.join(_differences(*built, first, second))


def _differences(one, other, first: str, second: str) -> list[str]:
  changes = recipe_lib.diff(one, other)
  if not changes:
    return [f'{first} and {second} have the same slots and values']
  rows = [('slot', first, second)]
  rows += [(slot, a or '-', b or '-') for slot, (a, b) in changes.items()]
  wide = [max(len(row[i]) for row in rows) for i in range(2)]
  return [
    f'{_INDENT}{slot:{wide[0]}}  {a:{wide[1]}}  {b}' for slot, a, b in rows
  ]


def table() -> str:
  """`PAPERS.md`: one row a recipe, and one for each method that is none."""
  columns = (
    'recipe',
    'paper',
    'arXiv',
    'joints',
    'defaults',
    'limits',
    'confidence',
    'studies',
    'deviates',
  )
  lines = [
    '# Papers',
    '',
    'Generated by `python -m jaxrl_llm.recipes table`; do not edit.',
    '',
    '* **recipe** leads to the file of its entry.',
    '* **joints**: `grpo: plan, cost` is most like `grpo`, of `reinforce`, '
    '`ppo`, `grpo` and\n  `dpo`, and has functions of its own in plan and '
    'cost. Other numbers, and what is left\n  out, do not count.',
    '* **limits**: special cases in which it is another recipe; tests compare '
    'loss and gradient.',
    '* **confidence**: how the formula is known. VERIFIED in the published '
    "text or code, VERIFIED-2\n  in a third party's, RECALLED from memory, "
    'ABSTRACT reconstructed from the abstract.',
    '* **studies** test what the paper claims; '
    '[their table](experiments/results/README.md) says how\n  each came out.',
    '* **deviates** names every known difference from the paper.',
    '',
    _row(columns),
    _row(['---'] * len(columns)),
    *(_row(_cells(recipes.get(name))) for name in recipes.names()),
    '',
    '## Methods that are no recipes',
    '',
    'Learners, solvers, optimizers and the like, functions and classes of '
    '`jaxrl_llm` with the\nsource that their docstrings name.',
    '',
    _row(('kind', 'name', 'what it is', 'source', 'studies')),
    _row(['---'] * 5),
    *map(_row, map(_told, pieces_lib.pieces())),
  ]
  return '\n'.join(lines) + '\n'


def _cells(entry: registry.Entry) -> list[str]:
  paper = entry.paper
  link = f'[{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})'
  return [
    f'[`{entry.name}`]({entry.place[0]})',
    '; also '.join(paper.titles),
    link if paper.arxiv else '',
    _joints(entry),
    _values(entry.defaults),
    '; '.join(map(limited, entry.limits)) or entry.unlimited,
    paper.confidence,
    _links(paper.arxiv),
    entry.deviates,
  ]


@functools.cache
def studies() -> dict[str, list[str]]:
  """Files of `experiments/ablations` here, by the arXiv ids they speak of."""
  found: dict[str, list[str]] = {}
  for path in sorted(STUDIES.glob('*.py')):
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    for arxiv in set(_ARXIV.findall(text or '')):
      found.setdefault(arxiv, []).append(path.as_posix())
  return found


def _links(arxiv: str) -> str:
  paths = map(pathlib.Path, studies().get(arxiv, ()))
  return ', '.join(f'[{path.stem}]({path.as_posix()})' for path in paths)


def _told(piece: pieces_lib.Piece) -> list[str]:
  links = map(_links, _ARXIV.findall(piece.source))
  found = ', '.join(filter(None, links))
  return [piece.kind, f'`{piece.name}`', piece.summary, piece.source, found]


def _joints(entry: registry.Entry) -> str:
  """'grpo: surrogate, aggregate'; a dash where no function differs."""
  joints = ', '.join(entry.joints) or '-'
  return f'{entry.base}: {joints}' if entry.base else joints


def _row(cells: Sequence[str]) -> str:
  escaped = (cell.replace('|', r'\|') for cell in cells)
  return f'| {" | ".join(escaped)} |'


def _values(values: Mapping[str, object]) -> str:
  return ', '.join(f'{key}={value!r}' for key, value in values.items())


def limited(limit: registry.Limit) -> str:
  """'grpo(kl_weight=0.0) at bound=inf, on-policy, up to scale'."""
  other = limit.other
  if limit.other_values:
    other += f'({_values(limit.other_values)})'
  conditions = [
    f'at {_values(limit.values)}' if limit.values else '',
    'on-policy' if limit.on_policy else '',
    'up to scale' if limit.up_to_scale else '',
  ]
  return ', '.join([other, *filter(None, conditions)]).replace(', at', ' at')


def aligned(pairs: Mapping[str, str]) -> list[str]:
  """Two columns, the second wrapped to the width of the terminal."""
  columns = shutil.get_terminal_size().columns
  wide = max(map(len, pairs), default=0)
  lines = []
  for key, text in pairs.items():
    head = f'{_INDENT}{key:{wide}}  '
    wrapped = textwrap.wrap(
      text, max(columns - len(head), 30), break_on_hyphens=False
    ) or ['']
    hang = '\n' + ' ' * len(head)
    lines.append(head + hang.join(wrapped))
  return lines


if __name__ == '__main__':
  with pipes.unread():
    sys.exit(main())
