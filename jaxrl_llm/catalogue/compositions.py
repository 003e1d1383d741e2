"""What comes out where parts of a recipe are replaced, and what differs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from jaxrl_llm import compose, parts, presets, recipes, spelling
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.catalogue.columns import INDENT, aligned


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
    'given by you': ', '.join(given(recipe.plan)) or '-',
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
    ['flags of a run', *(INDENT + shlex.quote(flag) for flag in flags)],
  ]
  return '\n\n'.join('\n'.join(section) for section in sections)


def changed(name: str, changes: Mapping[str, str]) -> recipe_lib.Recipe:
  """A recipe or preset with other parts in its slots, and other numbers."""
  preset = presets.find(name)
  entry = recipes.get(preset.recipe)
  values, slots = _values_and_slots(entry, preset.changes | {**changes})
  return compose.compose(entry.factory(**values), **slots)


def _values_and_slots(entry, changes):
  """Hyper-parameters as values, and slots as texts."""
  slots = {k: text for k, text in changes.items() if k in compose.SLOTS}
  values = {}
  for key, text in changes.items():
    if key in slots or key == _KL:
      continue
    if key not in entry.defaults:
      if key.partition(':')[0] in compose.SLOTS:
        raise ValueError(unequal(f'{key}:{text}'))
      known = [*compose.SLOTS, *entry.defaults]
      raise KeyError(
        f'{key!r} is neither a slot nor a hyper-parameter of {entry.name}. '
        f'{spelling.suggestion(key, known)}'
      )
    values[key] = _value(key, text, entry.defaults[key])
    parts.check_kind(key, values[key], type(entry.defaults[key]))
  if _KL in changes:
    if 'costs' in slots:
      raise ValueError('kl is one of the costs; give kl or costs, not both')
    slots['costs'] = _in_form(entry.factory(**values), changes[_KL])
  return values, slots


def _value(key, text, default):
  try:
    node = parts.parsed(text)
  except ValueError:
    raise ValueError(
      f'{key}={text} is no value; write one such as {key}={default!r}'
    ) from None
  return parts.value(node)


def unequal(word: str) -> str:
  """What is wrong with a change without =, and what it may have meant."""
  slot, _, part = word.partition(':')
  if slot in compose.SLOTS:
    meant = [f'{slot}={part or "PART"}']
  else:
    meant = [f'{x}={word}' for x in compose.SLOTS if word in parts.fitting(x)]
  meant = meant or ['SLOT=PART or HYPER_PARAMETER=VALUE']
  return f'{word!r} is no change; write {" or ".join(meant)}'


# What stands in place of a slot: the form of the cost of that name.
_KL = 'kl'


def _in_form(recipe: recipe_lib.Recipe, form: str) -> str:
  """The costs, the distance from the reference in a form, at its own weight."""
  if _KL not in recipe.objective.costs:
    name, _, weight = form.partition(':')
    raise ValueError(
      'no cost is the distance from a reference here, whose form kl would be; '
      f'write costs={name}:{weight or "WEIGHT"}'
    )
  try:
    parts.call(parts.parsed(form))
  except ValueError:
    name, _, weight = form.partition(':')
    raise ValueError(
      f'kl={form} cannot be read; kl is a form alone, at the weight that it '
      f'has. Write kl={name or "NAME"}, and kl_weight={weight or "NUMBER"} for '
      'another weight, or all costs as costs=NAME:WEIGHT, NAME:WEIGHT'
    ) from None
  before = parts.told('costs', recipe.objective.costs[_KL].fn)
  costs = compose.told(recipe)['costs']
  return costs.replace(f'{before}:', f'{form}:', 1)


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
    f'{INDENT}{slot:{wide[0]}}  {a:{wide[1]}}  {b}' for slot, a, b in rows
  ]


def given(plan) -> list[str]:
  """What a run must bring: settings, verifiers, numbers of the data."""
  settings = {'environment': 'environment', 'teacher': 'teacher.paths'}
  terms = plan.contract
  numbers = [f'data field {name}' for name in terms.columns]
  scores = [f'verifier {name}' for name in terms.scores]
  asked = [f'--config.{settings[guest]}' for guest in sorted(terms.asks)]
  return asked + scores + numbers


def told(preset: presets.Preset) -> str:
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
