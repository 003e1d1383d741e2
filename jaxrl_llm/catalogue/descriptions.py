"""What is said of all recipes, of those that have some words, and of one."""

from __future__ import annotations

import inspect
import itertools
import sys
import textwrap
from collections.abc import Sequence

from jaxrl_llm import parts, presets, recipes, registry
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.catalogue import compositions, meanings, papers
from jaxrl_llm.catalogue import pieces as pieces_lib
from jaxrl_llm.catalogue.columns import INDENT, aligned

# The family of recipes of a notebook, of text that was executed, and the like.
_NOWHERE = 'in no module'


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
  lines += aligned(
    {n: compositions.told(p) for n, p in presets.PRESETS.items()}
  )
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
    told[name] = compositions.told(preset), (compositions.told(preset),)
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
      text = textwrap.indent(piece.text, INDENT)
      return f'{piece.name}, a {piece.kind}\n{text}'
  if name in presets.PRESETS:
    return compositions.composition(name, {})
  entry = recipes.get(name)
  recipe = entry.factory()
  plain = recipe_lib.describe(recipe_lib.Recipe())
  slots = {
    f'{"*" if plain.get(slot) != value else " "} {slot}': value
    for slot, value in recipe_lib.describe(recipe).items()
  }
  limits = [INDENT + papers.limited(limit) for limit in entry.limits]
  sections = [
    [name, *textwrap.indent(entry.text, INDENT).split('\n')],
    aligned(about(entry)),
    ['hyper-parameters', *aligned(_numbers(entry))],
    ['slots (* differs from the plainest recipe)', *aligned(slots)],
    ['limits', *(limits or [f'{INDENT}none declared'])],
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
    'joints': papers.joints(entry),
    'needs': ', '.join(sorted(recipe.needs)) or '-',
    'given by you': ', '.join(compositions.given(recipe.plan)) or '-',
  }


def _numbers(entry: registry.Entry) -> dict[str, str]:
  """Defaults in a column, and what each number is behind them."""
  values = {key: repr(value) for key, value in entry.defaults.items()}
  wide = max(map(len, values.values()), default=0)
  said = meanings.meanings(entry)
  return {k: f'{v:{wide}}  {said[k]}'.rstrip() for k, v in values.items()}
