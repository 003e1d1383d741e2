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
import pathlib
import re
import runpy
import sys
from collections.abc import Sequence

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import (
  compositions,
  descriptions,
  grid,
  papers,
  peers,
  situations,
)
from jaxrl_llm.catalogue.columns import aligned

_OF_FILE = re.compile(r'(.+\.py):(\w+)')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one command; 0 on success, 2 with one line on a bad request."""
  parser = argparse.ArgumentParser(
    prog='python -m jaxrl_llm.recipes',
    description=f'{__doc__}\n{compositions.fitting()}',
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
      return descriptions.overview()
    case ['table']:
      papers.PAGE.write_text(papers.page(), encoding='utf-8')
      return f'wrote {len(recipes.names())} recipes to {papers.PAGE.resolve()}'
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
      return compositions.comparison(first, second)
    case ['diff', *others]:
      raise KeyError(f'diff compares two recipes, not {len(others)}: diff A B')
    case ['search', *wanted]:
      return descriptions.search(wanted)
    case ['for', *have]:
      known = ' '.join(have)
      raise KeyError(f'say what you have by a flag: for --have={known}')
    case ['compose', *rest]:
      return _answer(rest)
    case [name]:
      return descriptions.description(name)
    case [name, *changes] if all('=' in change for change in changes):
      return compositions.composition(
        name, dict(x.split('=', 1) for x in changes)
      )
    case [_, *changes] if not {*changes} & {*recipes.names()}:
      wrong = next(change for change in changes if '=' not in change)
      raise ValueError(compositions.unequal(wrong))
  raise KeyError(
    f'one recipe at a time, not {list(words)}; or: diff A B, search WORDS, for'
  )
