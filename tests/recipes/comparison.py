"""An entry beside its oracle: the cases, what each says, where they differ."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm import recipes
from jaxrl_llm.reads import provided
from tests.oracles import parts
from tests.recipes import cases

for _file in (pathlib.Path(parts.__file__).parent / 'entries').glob('*.py'):
  importlib.import_module(f'tests.oracles.entries.{_file.stem}')
NAMES = sorted(parts.ENTRIES)
# Hyper-parameters that give a case its shape.
_SHAPES = ('samples', 'bins', 'labels')
# Parts of a recipe that no array of a step shows.
UNSEEN = frozenset({'curriculum', 'plan', 'update', 'epochs', 'minibatches'})
# Of differences: truncation is of the order of its square, rounding 1e-16 / it.
_STEP = 1e-5


# Hyper-parameters.


def numbers(name) -> range:
  """The cases of an entry: 0 has its own hyper-parameters, the rest others."""
  return range(1 + len(parts.ENTRIES[name].moved))


@functools.cache
def values_of(name, number) -> dict:
  """The hyper-parameters of a case.

  Groups have 4 rows, of which the best and the worst, the better and the
  worse, and all are different pairs.
  """
  entry, oracle = recipes.get(name), parts.ENTRIES[name]
  values = dict(entry.defaults)
  if values.get('samples', 1) > 1:
    values['samples'] = 4
  values |= oracle.values
  if number:
    keys = [key for key in entry.defaults if shown(name, key)]
    values |= {k: _moved(values[k], i) for i, k in enumerate(keys)}
    values |= oracle.moved[number - 1]
  return values


def _moved(value, number):
  """Another value that keeps its sign and its order of magnitude.

  Neighbours that are equal, such as two half-widths of a clip, differ then;
  what is off is on, and what is too small to be seen is larger.
  """
  if isinstance(value, int):
    return value + max(1, value // 2)
  if abs(value) < 0.02:
    return math.copysign(0.05 + 0.02 * (number % 4), value)
  if math.isinf(value):
    return 2.5
  return value * (0.8 - 0.1 * (number % 4))


@functools.cache
def shown(name, key) -> bool:
  """Whether a hyper-parameter should change what arrays of a step show.

  One that changes nothing at all is taken for one that should.
  """
  value = recipes.get(name).defaults[key]
  if key in _SHAPES or isinstance(value, bool | str | tuple):
    return False
  return not unseen(changed(name, key)[1])


def changed(name, key):
  """Another value of a hyper-parameter, and the slots it changes."""
  value = recipes.get(name).defaults[key]
  plain = recipes.build(name)
  for other in (_moved(value, 0), 2 * value, 27, 1, value * 1.01):
    other = type(value)(other)
    try:
      second = recipes.build(name, **{key: other})
    except ValueError:
      continue  # not a value that goes with the others
    if other != value:
      return other, recipe_lib.diff(plain, second)
  raise AssertionError(f'{name} takes no other {key}')


def unseen(slots) -> bool:
  """Whether all of these slots are of parts that no array shows."""
  places = {slot.split('.')[0] for slot in slots}
  return bool(places) and places <= UNSEEN


@functools.cache
def recipe_of(name, number) -> recipe_lib.Recipe:
  return recipes.build(name, **values_of(name, number))


# What an oracle says.


class Expected(NamedTuple):
  """All that is compared: f64 arrays by name, slopes by field of a policy."""

  arrays: dict[str, np.ndarray]
  loss: float
  slopes: dict[str, np.ndarray]

  @property
  def size(self) -> float:
    """The order of magnitude of the terms of the loss."""
    slopes = sum(np.abs(slope).sum() for slope in self.slopes.values())
    return abs(self.loss) + slopes


def case_of(name, number, values=None) -> parts.Case:
  """A case, with the reference that these hyper-parameters make of its past."""
  oracle, recipe = parts.ENTRIES[name], recipe_of(name, number)
  case = cases.case_of(
    recipe.plan.contract.samples,
    components=oracle.components,
    # The entry's own values meet rewards as the judge, the others an oracle.
    judged=oracle.judged and number > 0,
    answers=recipe.critic.shape,
    extras=provided(recipe.needs, 'plan'),
  )
  values = values or values_of(name, number)
  ref_logp = _given(oracle.reference, case.past, values)
  before = dataclasses.replace(case.before, ref_logp=ref_logp)
  if oracle.iterations == 3:
    first = dataclasses.replace(case, ref_logp=ref_logp, before=None)
    before = dataclasses.replace(before, before=first)
  return dataclasses.replace(case, ref_logp=ref_logp, before=before)


def _given(fn, first, values):
  """f(first, ...) with those hyper-parameters that it names."""
  known = list(inspect.signature(fn).parameters)[1:]
  return fn(first, **{key: values[key] for key in known})


@functools.cache
def expected(name, number) -> Expected:
  case, values = case_of(name, number), values_of(name, number)
  answer = _given(parts.ENTRIES[name].fn, case, values)
  found = _arrays(name, answer, case, values)
  return Expected(found, answer.loss(case.now), slopes(answer.loss, case))


def reads(name, number, key, *, by_slope=False) -> bool:
  """Whether the oracle's answer to a case depends on a hyper-parameter.

  Args:
    by_slope: look at the slopes of the loss, too, where nothing else differs.
  """
  values = values_of(name, number)
  other = values_of(name, 0 if number else 1)[key]
  if other == values[key]:
    return False
  values = values | {key: other}
  case, whole = case_of(name, number, values), expected(name, number)
  answer = _given(parts.ENTRIES[name].fn, case, values)
  found = _arrays(name, answer, case, values)
  if not all(close(found[k], x) for k, x in whole.arrays.items()):
    return True
  if not close(answer.loss(case.now), whole.loss, scale=whole.size):
    return True
  if not by_slope:
    return False
  found = slopes(answer.loss, case)
  return not all(close(found[k], x) for k, x in whole.slopes.items())


def _arrays(name, answer, case, values) -> dict[str, np.ndarray]:
  """The answer's arrays, with the policies that the case gives it."""
  policies = {
    'reference': case.ref_logp,
    'opponent': _given(parts.ENTRIES[name].opponent, case.past, values),
  }
  return policies | arrays(answer, case)


def arrays(answer, case) -> dict[str, np.ndarray]:
  """The answer's arrays, with what it leaves out."""
  ones = np.ones(len(case.mask))
  rewards = _or(answer.rewards, case.rewards)
  advantages = _or(answer.advantages, rewards)
  if advantages.ndim == 1:
    advantages = parts.on_tokens(case, advantages)
  found = {
    'rewards': rewards,
    'keep': case.valid * _or(answer.keep, ones),
    'advantages': np.where(case.mask, advantages, 0.0),
    'token_keep': case.mask * _or(answer.token_keep, case.mask),
    'targets': _or(answer.targets, 0.0 * case.mask),
  }
  preference = _or(answer.preference, case.preference)
  if preference.ndim:
    found['preference'] = preference
  if answer.weights is not None:
    found['weights'] = answer.weights
  return found


def _or(x, otherwise):
  return np.asarray(otherwise if x is None else x, np.float64)


def slopes(loss, case) -> dict[str, np.ndarray]:
  """Central differences of the loss in every number of the policy."""
  now = parts.Policy(**{name: x.copy() for name, x in vars(case.now).items()})
  start, found = loss(now), {}
  rng = np.random.default_rng(0)
  for name, x in vars(now).items():
    kept, found[name] = x.copy(), np.zeros(x.shape)
    x += 0.1 * rng.standard_normal(x.shape)
    depends = loss(now) != start
    x[:] = kept
    for place in np.ndindex(x.shape) if depends else ():
      if not case.mask[place[:2]]:
        continue
      x[place] = kept[place] + _STEP
      above = loss(now)
      x[place] = kept[place] - _STEP
      found[name][place] = (above - loss(now)) / (2 * _STEP)
      x[place] = kept[place]
  return found


# What a recipe says.


class Found:
  """What a recipe makes of a case, computed when it is asked for.

  Args:
    like: of a recipe whose results are taken over where both do the same.
  """

  def __init__(self, recipe, case, like: Found | None = None):
    self._recipe, self._case, self._like = recipe, case, like

  def _as_before(self, *names):
    """Whether the other recipe has the same there."""
    if self._like is None:
      return False
    before = self._like._recipe
    return all(getattr(self._recipe, n) == getattr(before, n) for n in names)

  @functools.cached_property
  def _referred(self):
    if self._as_before('reference'):
      return self._like._referred
    return cases.referred(self._recipe, self._case)

  @property
  def reference(self):
    return self._recipe.reference.params(self._referred)['logp']

  @property
  def opponent(self):
    return self._recipe.reference.opponent(self._referred)['logp']

  @functools.cached_property
  def _rollouts(self):
    if self._as_before('needs', 'critic', 'reference'):
      return self._like._rollouts
    return cases.scored(self._recipe, self._case, self._referred)

  @functools.cached_property
  def credit(self):
    if self._as_before('combine', 'credit', 'critic', 'reference'):
      return self._like.credit
    program, case = cases.program_of(self._recipe), self._case
    memory = self._recipe.credit.init(cases.spec_of(case))
    iterations = case.history
    for one in iterations if jax.tree.leaves(memory) else iterations[-1:]:
      credit, memory, _ = program.assign(
        memory, self._rollouts, cases.scores_of(one)
      )
    return credit

  @functools.cached_property
  def batch(self):
    program = cases.program_of(self._recipe)
    return program.batch(self._rollouts, self.credit, fresh=False)

  @functools.cached_property
  def _now(self):
    return cases.params_of(self._case.now)

  def _loss(self, now):
    stats = cases.scorer(now, self._rollouts, self._recipe.statistics)
    stats = stats.on(self._rollouts.loss_mask)
    coefs = cases.coefficients(self._recipe, self._case)
    return self._recipe.objective.loss(stats, self.batch, coefs)[0]

  @functools.cached_property
  def loss(self):
    return self._loss(self._now)

  @functools.cached_property
  def slopes(self):
    return jax.grad(self._loss)(self._now)

  def array(self, name):
    """The array of that name in `Expected.arrays`."""
    if name in ('reference', 'opponent'):
      return getattr(self, name)
    return getattr(self.batch if name == 'weights' else self.credit, name)


# Where they differ.


def close(found, wanted, *, scale=None) -> bool:
  """Equal but for float32 sums in another order."""
  scale = np.max(np.abs(wanted), initial=0.0) if scale is None else scale
  error = np.abs(np.asarray(found, np.float64) - wanted)
  # NaN is not close to anything.
  return bool(np.all(error <= 3e-5 * np.abs(wanted) + 1e-5 * scale + 1e-9))


def differences(wanted: Expected, found: Found) -> Iterator[str]:
  """The names of what is not as expected, the cheap ones first."""
  for name, x in wanted.arrays.items():
    if not close(found.array(name), x):
      yield name
  if not close(found.loss, wanted.loss, scale=wanted.size):
    yield 'loss'
  for name, slope in wanted.slopes.items():
    if not close(found.slopes[name], slope):
      yield f'slope in {name}'


def notices(wanted: Expected, found: Found) -> bool:
  """Whether anything differs, or cannot be computed at all."""
  try:
    return any(differences(wanted, found))
  except (AssertionError, TypeError, ValueError):
    return True  # arrays of another shape: a run would end there
