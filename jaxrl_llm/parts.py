"""Parts of recipes, by name: what fits a slot, and how it is told in text.

    fitting(slot)      name -> function or class
    named(slot, text)  'clip(0.2, high=0.28)' -> the function, bound
    told(slot, part)   the reverse

What fits is read off the modules of a joint: their public functions that are
called with the arrays of the joint, and, for references and controllers, their
classes of plain fields. Text is parsed, never evaluated.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_llm import control, reference, spelling
from jaxrl_llm.advantages import (
  baselines,
  critics,
  group,
  implicit,
  prompts,
  risk,
  segments,
  steps,
  subsets,
  targets,
  tokens,
)
from jaxrl_llm.objectives import (
  adaptive,
  aggregate,
  barrier,
  base,
  costs,
  distillation,
  feedback,
  gates,
  grouped,
  preference,
  ranked,
  regions,
  sequence,
  surrogates,
)
from jaxrl_llm.reads import reads_of, statistics

_ROWS = ('rewards', 'group', 'valid')
_TOKENS = ('logp', 'old_logp', 'advantages', 'mask')
# Where the parts of a slot live, and what its functions are called with.
_HOMES = {
  'advantage': (
    (
      *(group, baselines, implicit, prompts, segments),
      *(steps, subsets, targets, tokens),
    ),
    (_ROWS, ('rewards', 'rollouts')),
  ),
  'surrogate': (
    (surrogates, sequence, adaptive, ranked, barrier),
    (_TOKENS,),
  ),
  'gate': ((base, gates, regions), (_TOKENS,)),
  'keep': ((regions,), (_TOKENS,)),
  'aggregate': ((aggregate,), (('mask', 'keep', 'group'),)),
  'costs': ((costs, distillation), (('stats', 'batch'),)),
  'link': ((preference,), (('chosen', 'rejected', 'gap'),)),
  'score': ((grouped, feedback), (('logp', 'old_logp', 'mask'),)),
  'reference': ((reference,), ()),
  'controller': ((control,), ()),
}
# Stages that set advantages whatever those were before. Nothing in their form
# tells them from stages that refine.
ESTIMATORS = (
  tokens.GAE,
  tokens.AdaptiveGAE,
  critics.PenalisedGAE,
  critics.SteeredGAE,
  segments.ActionGAE,
  baselines.BetaTracker,
  baselines.RoleBaseline,
  risk.MixedValueAtRisk,
)
# What a critic says; a cost that reads it trains the critic.
CRITIC = frozenset({'values', 'after_values'})
_KINDS = {'float': float, 'int': int, 'str': str, 'bool': bool}
# What somebody writes who takes a hyper-parameter for a weight.
_WEIGHED = re.compile(r'\s*(\w+)\s*[:=]\s*([-+.\w]+)\s*')
_PLAIN = (*_KINDS.values(), tuple)


# What fits.


@functools.cache
def fitting(slot: str) -> Mapping[str, Callable]:
  """What fits a slot, by name.

  Args:
    slot: of `compose.SLOTS`, or 'controller' for the weights of costs.
  """
  modules, forms = _HOMES[slot]
  found = [
    part
    for module in modules
    for part in vars(module).values()
    if getattr(part, '__module__', '') == module.__name__
    and _fits(slot, part, forms)
  ]
  found += ESTIMATORS if slot == 'advantage' else ()
  by_name = {name_of(part): part for part in found}
  if len(by_name) < len(found):
    raise ValueError(f'two parts that fit {slot} have one name: {found}')
  return types.MappingProxyType(by_name)


def _fits(slot, part, forms) -> bool:
  if part.__name__.startswith('_'):
    return False
  if isinstance(part, type):
    return (
      not forms
      and dataclasses.is_dataclass(part)
      and all(field.type in _KINDS for field in dataclasses.fields(part))
    )
  if not inspect.isfunction(part) or arguments(part) not in forms:
    return False
  inputs = reads_of(part)
  if _required(part) - inputs:
    return False
  match slot:
    case 'costs':
      return not statistics(inputs) & CRITIC
    case 'keep':
      return inputs == {'sampler_logp'}
    case 'surrogate':
      return bool(inputs) or _reads_advantages(part)
    case 'aggregate':
      arrays = jnp.ones((1, 2)), jnp.ones(1), jnp.zeros(1, jnp.int32)
      read = {name: arrays[-1] for name in inputs}
      return jax.eval_shape(part, *arrays, **read).shape == (1, 2)
  return True


def _reads_advantages(surrogate) -> bool:
  x, mask = jnp.zeros((1, 2)), jnp.ones((1, 2), bool)
  traced = jax.make_jaxpr(surrogate)(x, x, x, mask).jaxpr
  advantages = traced.invars[_TOKENS.index('advantages')]
  return any(advantages in step.invars for step in traced.eqns)


def _required(part) -> frozenset[str]:
  return frozenset(
    name
    for name, parameter in inspect.signature(part).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
    and parameter.default is parameter.empty
  )


def arguments(part: Callable) -> tuple[str, ...]:
  """The arrays that a function is called with by position."""
  signature = inspect.signature(kind_of(part))
  return tuple(
    name
    for name, parameter in signature.parameters.items()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
  )


def of_rows(part: Callable) -> bool:
  """Whether an estimator gives a row one advantage, see `credit.estimate`."""
  return arguments(part) == _ROWS


def kind_of(part) -> Callable:
  """The function of a partial of one, the class of a stage."""
  if dataclasses.is_dataclass(part) and not isinstance(part, type):
    return type(part)
  return part.func if isinstance(part, functools.partial) else part


def fits(slot: str, part) -> bool:
  """Whether a part is one of those that fit a slot."""
  return kind_of(part) in fitting(slot).values()


def name_of(part) -> str:
  """The name of a part in text: EMA is ema, AdaptiveKL adaptive_kl."""
  kind = kind_of(part)
  if not isinstance(kind, type):
    if hasattr(kind, '__name__'):
      return kind.__name__
    kind = type(kind)  # Of an object that is called.
  return re.sub(r'(?<=[a-z])(?=[A-Z])', '_', kind.__name__).lower()


def summary(part: Callable) -> str:
  """Its hyper-parameters and the first line of its docstring."""
  told = inspect.getdoc(part) or ''
  line = told.split('\n')[0].removeprefix('Stage: ')
  return f'({_listed(settable(part))}) {line}' if settable(part) else line


def settable(part: Callable) -> dict[str, Any]:
  """Hyper-parameters and their defaults, `dataclasses.MISSING` for none."""
  if isinstance(part, type):
    return {field.name: field.default for field in dataclasses.fields(part)}
  return {
    name: parameter.default
    for name, parameter in inspect.signature(part).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
    and isinstance(parameter.default, _PLAIN)
  }


def _listed(known) -> str:
  return ', '.join(
    name if default is dataclasses.MISSING else f'{name}={default!r}'
    for name, default in known.items()
  )


# What a text names.


def parsed(text: str) -> ast.expr:
  """The text as an expression.

  Raises:
    ValueError: it is none.
  """
  try:
    return ast.parse(text.strip(), mode='eval').body
  except (SyntaxError, ValueError, MemoryError, RecursionError):
    raise _unreadable(text) from None


def _unreadable(text):
  form = 'NAME or NAME(HYPER_PARAMETER=VALUE)'
  if weighed := _WEIGHED.fullmatch(text):
    name, number = weighed.groups()
    form = f'{name}({number}), for only costs have weights behind a colon'
  return ValueError(f'{text!r} cannot be read; write {form}')


def value(node: ast.expr):
  """The number, text or tuple that an expression writes out.

  Raises:
    ValueError: it is anything else.
  """
  if isinstance(node, ast.Name) and node.id == 'inf':
    return math.inf
  try:
    found = ast.literal_eval(node)
  except (ValueError, TypeError, MemoryError, RecursionError):
    found = None
  if not isinstance(found, _PLAIN):
    raise ValueError(
      f'{ast.unparse(node)} is no value; write a number, inf, a text in '
      'quotes, or a tuple of those'
    )
  return found


def call(node: ast.expr) -> tuple[str, list, dict[str, Any]]:
  """NAME or NAME(values): the name, and its values with and without names.

  Raises:
    ValueError: the expression is neither.
  """
  word, given, values = node, [], {}
  if isinstance(node, ast.Call):
    word = node.func
    given = [value(each) for each in node.args]
    values = {str(each.arg): value(each.value) for each in node.keywords}
  if not isinstance(word, ast.Name):
    raise _unreadable(ast.unparse(node))
  return word.id, given, values


def bound(part: Callable, given: Sequence, values: Mapping[str, Any]):
  """A part with hyper-parameters: a partial of a function, or an instance.

  Raises:
    ValueError: naming those that there are.
  """
  known, name = settable(part), name_of(part)
  has = f'it has {_listed(known)}' if known else 'it has none'
  if len(given) > len(known):
    raise ValueError(f'{name} is given {len(given)} hyper-parameters; {has}')
  placed = dict(zip(known, given))
  for key in values:
    if key not in known:
      raise ValueError(f'{name} has no hyper-parameter {key!r}; {has}')
    if key in placed:
      raise ValueError(f'{name} is given {key} twice; give it once')
  values = placed | dict(values)
  kinds = {key: type(default) for key, default in known.items()}
  if isinstance(part, type):
    kinds = {f.name: _KINDS[str(f.type)] for f in dataclasses.fields(part)}
  for key, default in known.items():
    if key in values:
      check_kind(f'{name}: {key}', values[key], kinds[key])
    elif default is dataclasses.MISSING:
      raise ValueError(f'{name} must be given {key}; {has}')
  if isinstance(part, type):
    return part(**values)
  return functools.partial(part, **values) if values else part


def check_kind(name: str, found, kind: type) -> None:
  """Refuses a value of another kind; an int is a float, a bool is neither."""
  whole = kind is float and type(found) is int
  if not whole and type(found) is not kind:
    raise ValueError(f'{name} is {found!r}; use a value of {kind.__name__}')


def told(slot: str, part) -> str:
  """A part as text; '' where none names it, or it has parts of its own."""
  if isinstance(part, gates.Product):
    factors = told(slot, part.first), told(slot, part.second)
    return ' * '.join(factors) if all(factors) else ''
  values = getattr(part, 'keywords', {})
  if dataclasses.is_dataclass(part):
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
  if not all(isinstance(x, _PLAIN) for x in values.values()):
    return ''
  if not fits(slot, part):
    return ''
  listed = f'({_listed(values)})' if values else ''
  return name_of(part) + listed


def unknown(slot: str, name: str, more: Sequence[str] = ()) -> ValueError:
  """The error of a name that nothing has, with the nearest that there is."""
  near = spelling.nearest(name, [*fitting(slot), *more])
  known = sorted(fitting(slot))
  hint = f'Did you mean {near!r}?' if near else f'Known: {known}'
  return ValueError(f'unknown {slot} {name!r}. {hint}')
