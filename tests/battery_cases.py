"""What the battery tries recipes on: a tabular policy, rows, an iteration.

The policy is tabular with one table per row, so the gradient of every single
token can be read off and compared. An iteration has two optimizer steps on
the same rows: the first on-policy, the second after a fixed displacement of
the parameters, hence off-policy.
"""

import dataclasses
import functools
import zlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_llm import reads, recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import shard, widths
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec

VOCAB = 3
LENGTH = 4
GROUPS = 8
TASKS = 3
WEIGHTS = (1.0, 0.5)
KEY = jax.random.key(7)


# The policy, the optimiser and the data that recipes are tried on.


def score(params, rollouts, needs=frozenset()):
  """A table of its own for every row, whatever its place in the batch.

  Off the action mask it says the extra `blank` more than it should.
  """
  own = rollouts.replace(task=rollouts.extras['row'])
  blank = jnp.where(rollouts.action_mask, 0, rollouts.extras['blank'][:, None])

  def blanked(x):
    return x + blank.reshape(blank.shape + (1,) * (x.ndim - 2))

  return jax.tree.map(blanked, policy.score(params, own, needs))


class Recorded(NamedTuple):
  """Gradients by optimizer step, and the number of steps taken."""

  gradients: Any
  count: jax.Array


def recorder(displacement):
  """An optimiser that moves by `displacement` once, and keeps gradients."""

  def init(params):
    zeros = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), params)
    return Recorded(zeros, jnp.int32(0))

  def update(gradients, state, params=None):
    del params
    kept = jax.tree.map(
      lambda all_, g: all_.at[state.count].set(g), state.gradients, gradients
    )
    first = state.count == 0
    move = jax.tree.map(lambda x: jnp.where(first, x, 0), displacement)
    return move, Recorded(kept, state.count + 1)

  return optax.GradientTransformation(init, update)


class Case(NamedTuple):
  """Arrays of one iteration."""

  rollouts: Any
  scores: Any


@functools.lru_cache(maxsize=8)
def tables(rows, length, critic=()):
  """Start, displacement and reference of the policy: one table per row."""
  shape = {'tasks': rows, 'vocab': VOCAB, 'length': length, 'critic': critic}
  keys = jax.random.split(jax.random.key(1), 3)
  start, move, reference = (policy.init(k, **shape) for k in keys)

  def with_values(table, key):
    keys = {'values': key, 'after_values': jax.random.fold_in(key, 1)}
    random = {n: jax.random.normal(k, table[n].shape) for n, k in keys.items()}
    return table | random

  start, move = with_values(start, keys[0]), with_values(move, keys[1])
  return start, jax.tree.map(lambda x: 0.3 * x, move), reference


def groups_of(samples):
  """Groups that count, and all: 64 and 80 rows whatever the group's size.

  Equal shapes share what is compiled. Sizes that do not divide 16 come close.
  """
  quarter = max(1, 16 // samples)
  return 4 * quarter, 5 * quarter


def take(tree, index):
  return jax.tree.map(lambda x: x[index], tree)


@functools.lru_cache(maxsize=32)
def padded_case(samples, extras):
  """Some groups of padding rows and a padding column more than `case_of`.

  Among the others are a group of equal rewards, a row whose verifier failed,
  truncated rows, and tokens that a tool wrote.
  """
  rng = np.random.default_rng(0)
  count, total = groups_of(samples)
  rows, length = total * samples, LENGTH + 1
  real = np.arange(rows) < count * samples
  ends = rng.integers(2, LENGTH + 1, rows)
  mask = (np.arange(length) < ends[:, None]) & real[:, None]
  response = np.where(mask, rng.integers(0, VOCAB, mask.shape), 0)
  action = mask.copy()
  action[::3, 1] = False
  group = np.arange(rows) // samples
  valid = real & (np.arange(rows) != samples // 2)
  rollouts = policy.as_rollouts(
    response,
    mask,
    task=jnp.asarray(group % TASKS, jnp.int32),
    group=jnp.asarray(group, jnp.int32),
  )
  rollouts = rollouts.replace(
    action_mask=jnp.asarray(action),
    domain=jnp.asarray(group % 2, jnp.int32),
    valid=jnp.asarray(valid),
    truncated=jnp.asarray(ends == LENGTH),
    extras={'row': jnp.arange(rows, dtype=jnp.int32), 'blank': jnp.zeros(rows)},
  )
  start, _, teacher = tables(rows, length)
  sampler_gap = 0.1 * rng.standard_normal(mask.shape)
  logp = jnp.where(action, score(start, rollouts).logp + sampler_gap, 0)
  rollouts = rollouts.replace(logp=logp.astype(jnp.float32))
  made = dict(rollouts.extras)
  arrays = jax.tree.map(np.asarray, rollouts)
  for name in sorted(extras):
    seeded = np.random.default_rng(zlib.crc32(name.encode()))
    made[name] = jnp.asarray(reads.find(name).example(seeded, arrays))
  if 'teacher_logp' in extras:
    made['teacher_logp'] = score(teacher, rollouts).logp
  correct = (rng.random(rows) < 0.4) * 1.0
  correct[group == 1] = 1.0
  form = np.where(group == 1, 1.0, rng.integers(0, 5, rows) / 4)
  components = np.stack([correct, form], axis=1).astype(np.float32)
  scores = Scores(jnp.asarray(components), jnp.asarray(WEIGHTS, jnp.float32))
  return Case(rollouts.replace(extras=made), scores)


def plan_of(recipe):
  """Rows of a group, and what the recipe reads of its plan."""
  extras = reads.provided(recipe.needs, 'plan')
  return recipe.plan.contract.samples, extras


def trim(case, rows, length):
  """The first rows and columns of a case."""
  return Case(
    widths.narrowed(take(case.rollouts, slice(rows)), length),
    case.scores.replace(components=case.scores.components[:rows]),
  )


def case_of(recipe):
  samples, _ = plan_of(recipe)
  case = padded_case(*plan_of(recipe))
  return trim(case, groups_of(samples)[0] * samples, LENGTH)


def rearrange(case, index):
  """The same rows in another order."""
  return Case(
    take(case.rollouts, index),
    case.scores.replace(components=case.scores.components[index]),
  )


# An iteration, compiled once per recipe, split and place.


class Outcome(NamedTuple):
  """What an iteration did: f32[2, R, ...] gradients by step, and the rest."""

  gradients: Any
  metrics: Any
  credit: Any
  method: Any


def twice(name, **values):
  """A recipe that passes twice over all rows: on-policy, then off-policy."""
  recipe = recipes.build(name, **values)
  return dataclasses.replace(recipe, epochs=2, minibatches=1)


def spec_of(recipe, length=LENGTH):
  samples = recipe.plan.contract.samples
  return Spec(
    groups_of(samples)[0] * samples,
    samples,
    1,
    length,
    tasks=TASKS,
    domains=2,
    task_domains=tuple(task % 2 for task in range(TASKS)),
    task_lengths=tuple(range(1, TASKS + 1)),
    component_names=('correct', 'form'),
  )


def begin(recipe, length=LENGTH):
  """The state before the first iteration."""
  samples = recipe.plan.contract.samples
  total = groups_of(samples)[1]
  shape = recipe.critic.shape
  start, move, reference = tables(total * samples, LENGTH + 1, shape)
  spec = spec_of(recipe, length)
  # The reference starts elsewhere, or costs that refer to it would be 0.
  state = Program(recipe, score, recorder(move)).init(reference, spec)
  return state.replace(params=start, opt=recorder(move).init(start))


def iteration(recipe, microbatches=1, layout=shard.ALONE):
  """f(state, case) -> (state, Outcome): score, assign and learn as one."""

  def run(state, move, case):
    program = Program(recipe, score, recorder(move), microbatches, layout)
    state = state.replace(opt=recorder(move).init(state.params))
    rollouts = program.score(state, {}, case.rollouts)
    credit, memory, row_metrics = program.assign(
      state.method['credit'], rollouts, case.scores
    )
    state = state.replace(method=state.method | {'credit': memory})
    state, learned = program.learn(state, {}, rollouts, credit, KEY)
    outcome = Outcome(
      state.opt.gradients, learned | row_metrics, credit, state.method
    )
    return state, outcome

  return run


@functools.lru_cache(maxsize=4)
def compiled(name):
  """The recipe's iteration on one device, jitted, and its beginning."""
  recipe = twice(name)
  return recipe, jax.jit(iteration(recipe)), begin(recipe)


@functools.cache
def usual(name):
  """The outcome that the others are compared with."""
  recipe, run, state = compiled(name)
  return run(state, move_of(recipe), case_of(recipe))[1]


def move_of(recipe):
  samples = recipe.plan.contract.samples
  rows = groups_of(samples)[1] * samples
  return tables(rows, LENGTH + 1, recipe.critic.shape)[1]


def outcome_at(name, values):
  """The outcome with these hyper-parameters; defaults need not be named."""
  defaults = recipes.get(name).defaults
  other = {k: v for k, v in values.items() if defaults.get(k) != v}
  return _outcome_at(name, tuple(sorted(other.items())))


@functools.cache
def _outcome_at(name, values):
  if not values:
    return usual(name)
  recipe = twice(name, **dict(values))
  run = jax.jit(iteration(recipe))
  return run(begin(recipe), move_of(recipe), case_of(recipe))[1]


def outcome_of(name, case):
  recipe, run, state = compiled(name)
  return run(state, move_of(recipe), case)[1]


def assert_same(first, second, scale=1.0):
  """Gradients and loss agree to the rounding of sums in another order."""
  largest = max(
    float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(first.gradients)
  )
  chex.assert_trees_all_close(
    first.gradients,
    jax.tree.map(lambda x: x * scale, second.gradients),
    rtol=1e-4,
    atol=1e-5 * largest,
  )
  loss = first.metrics['loss'], second.metrics['loss'] * scale
  np.testing.assert_allclose(*loss, rtol=1e-4, atol=1e-5)


def assert_finite(outcome):
  chex.assert_tree_all_finite(outcome)
  assert outcome.metrics['bad_steps'] == 0
