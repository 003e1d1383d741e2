"""What every registered recipe must satisfy, on arrays alone.

On the rows and the policy of `battery_cases`. What a recipe can do (samples,
needs, block, minibatches) is read from the recipe, never from its name.
"""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import reads, recipes, update
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import metrics, shard
from jaxrl_llm.types import Scores
from tests import thinned
from tests.battery_cases import (
  GROUPS,
  KEY,
  LENGTH,
  TASKS,
  VOCAB,
  WEIGHTS,
  Case,
  assert_finite,
  assert_same,
  begin,
  case_of,
  compiled,
  groups_of,
  iteration,
  move_of,
  outcome_at,
  outcome_of,
  padded_case,
  plan_of,
  rearrange,
  score,
  spec_of,
  take,
  twice,
  usual,
)

NAMES = recipes.names()
# What puts other aims in place of the verifier's rewards: a recipe that
# reads one cannot be asked to improve those.
OWN_REWARDS = {
  *('constraint_logp', 'form', 'gain'),
  *('prefix_reward', 'span_reward'),
}
# What recipes may learn from that is no reward.
SHOWN = {'offline', 'teacher_candidates'}

each_limit = pytest.mark.parametrize(
  'entry, limit',
  thinned.every(
    6, [(n, limit) for n in NAMES for limit in recipes.get(n).limits]
  ),
  ids=lambda x: x if isinstance(x, str) else x.other,
)


@pytest.fixture(scope='module', params=thinned.every(6, NAMES))
def name(request):
  """Every sixth recipe in turn, the others by `pytest -m slow`.

  The module scope keeps the programs of one together.
  """
  return request.param


def one_in(number):
  """Of what costs most, one recipe in so many: a multiple of six."""
  return pytest.mark.parametrize(
    'name', thinned.every(number, NAMES), indirect=True
  )


# The battery.


def check(name, microbatches):
  """Refuses what a run would refuse."""
  recipe = recipes.build(name)
  rows = recipe.minibatches * GROUPS * recipe.plan.contract.samples
  recipe_lib.check(recipe, rows=rows, microbatches=microbatches)


def test_defaults_build_and_their_plan_provides_what_they_need(name):
  check(name, microbatches=1)


def test_loss_and_gradient_are_finite_and_not_zero(name):
  outcome = usual(name)
  assert_finite(outcome)
  for step in range(2):
    assert float(optax.tree.norm(take(outcome.gradients, step))) > 1e-6


def test_gradient_is_zero_off_the_action_mask(name):
  recipe, gradients = twice(name), usual(name).gradients
  rollouts = case_of(recipe).rollouts
  node = np.asarray(policy.prefix_states(rollouts.content.response, VOCAB))
  chosen = np.asarray(rollouts.loss_mask)
  allowed = np.zeros(gradients['logits'].shape[1:3], bool)
  np.put_along_axis(allowed[: node.shape[0]], node, chosen, axis=1)
  for leaf in jax.tree.leaves(gradients):
    assert not np.any(np.asarray(leaf)[:, ~allowed])


def test_content_of_padding_is_inert(name):
  """Rows that do not count and columns after the end may hold anything."""
  recipe = twice(name)
  rollouts, scores = case_of(recipe)
  pad = ~rollouts.response_mask | ~rollouts.valid[:, None]
  rollouts = rollouts.replace(
    content=rollouts.content.replace(
      response=jnp.where(pad, VOCAB - 1, rollouts.content.response)
    ),
    logp=jnp.where(pad, -3.0, rollouts.logp),
  )
  failed = ~rollouts.valid[:, None]
  components = jnp.where(failed, 7.0, scores.components)
  case = Case(rollouts, scores.replace(components=components))
  outcome = outcome_of(name, case)
  assert_same(usual(name), outcome)
  chex.assert_trees_all_close(usual(name).method, outcome.method, rtol=1e-5)


@one_in(18)
def test_more_padding_uncompiled_equals_the_compiled_rows(name):
  """Groups that do not count and a column nobody reached change nothing.

  Except what the recipe's aggregator makes of the response budget. Run
  without compilation, which must not matter either.
  """
  recipe = twice(name)
  case = padded_case(*plan_of(recipe))

  def weight(rollouts):
    mask, keep = rollouts.loss_mask * 1.0, rollouts.valid * 1.0
    return jnp.sum(recipe.weights(mask, keep, rollouts))

  scale = weight(case_of(recipe).rollouts) / weight(case.rollouts)
  state = begin(recipe, LENGTH + 1)
  with jax.disable_jit():
    outcome = iteration(recipe)(state, move_of(recipe), case)[1]
  assert_same(usual(name), outcome, scale=scale)


def test_order_of_groups_and_rows_is_inert(name):
  recipe = twice(name)
  samples = recipe.plan.contract.samples
  rng = np.random.default_rng(3)
  groups = groups_of(samples)[0]
  order = np.arange(groups * samples).reshape(groups, samples)
  order = rng.permuted(order[rng.permutation(groups)], axis=1).reshape(-1)
  outcome = outcome_of(name, rearrange(case_of(recipe), order))
  assert_same(usual(name), outcome)


@one_in(18)
def test_sharded_microbatches_equal_the_whole(name):
  recipe = twice(name)
  whole = recipe.objective.block == 'batch'
  if whole:
    with pytest.raises(ValueError, match='break blocks'):
      check(name, microbatches=2)
  # As many of the 8 devices as share the rows evenly.
  rows = case_of(recipe).rollouts.valid.shape[0]
  mesh = shard.make_mesh(data=math.gcd(rows, 8), model=1)
  pieces = 1 if whole else 4
  run = jax.jit(iteration(recipe, pieces, shard.Layout(mesh)))
  everywhere = shard.replicated(mesh)
  state = jax.device_put(begin(recipe), everywhere)
  move = jax.device_put(move_of(recipe), everywhere)
  rollouts, scores = case_of(recipe)
  scores = jax.device_put(scores, everywhere)
  case = Case(jax.device_put(rollouts, shard.rows(mesh)), scores)
  outcome = run(state, move, case)[1]
  assert_same(usual(name), outcome)
  compare = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
  for key in usual(name).metrics:
    compare(usual(name).metrics[key], outcome.metrics[key], err_msg=key)


@functools.lru_cache(maxsize=4)
def without_costs(name):
  """f32[2, R, ...] gradients of the loss without costs, by step."""
  recipe = twice(name)
  if not recipe.objective.costs:
    return usual(name).gradients
  bare = dataclasses.replace(
    recipe,
    objective=dataclasses.replace(recipe.objective, costs={}),
    update=update.single,  # others ask for a cost
  )
  run = jax.jit(iteration(bare))
  return run(begin(bare), move_of(bare), case_of(recipe))[1].gradients


def recomputed(name):
  """Metrics by their definitions, from rows, credit and gradients."""
  rollouts, scores = jax.tree.map(np.asarray, case_of(twice(name)))
  credit = jax.tree.map(np.asarray, usual(name).credit)
  valid, rows = rollouts.valid, len(rollouts.valid)
  rewards = (scores.components @ scores.weights)[valid]
  learned = rollouts.loss_mask * credit.token_keep > 0
  learned = learned & (credit.keep > 0)[:, None]
  # Each step has all rows, and each row a table: [2, N, ...].
  slopes = [np.abs(x)[:, :rows] for x in jax.tree.leaves(without_costs(name))]
  of_rows = np.max(
    [x.reshape(2, rows, -1).max(-1) for x in slopes], axis=(0, 1)
  )
  of_groups = [of_rows[rollouts.group == g].max() for g in {*rollouts.group}]
  return learned, {
    'reward/mean': rewards.mean(),
    'reward/std': rewards.std(),
    'reward/low': rewards.min(),
    'reward/high': rewards.max(),
    'reward/shaped': credit.rewards[valid].mean(),
    'accuracy': (scores.components[valid, 0] > 0.5).mean(),
    'response/length': rollouts.response_mask.sum(1).mean(),
    'response/truncated': rollouts.truncated.mean(),
    'rows/valid': valid.mean(),
    'tokens/sampled': rollouts.action_mask.sum(),
    'tokens/learned': 2 * learned.sum(),
    'groups/live': np.mean(of_groups > 1e-6 * np.max(of_groups)),
  }


def clipped(name, learned):
  """The share of learned tokens that are silent in the second step alone."""
  rollouts = case_of(twice(name)).rollouts
  rows = np.arange(len(rollouts.valid))[:, None]
  node = np.asarray(policy.prefix_states(rollouts.content.response, VOCAB))
  table = np.abs(np.asarray(without_costs(name)['logits'])).max(-1)
  first, second = (x[rows, node] for x in table)
  size = np.abs(usual(name).credit.advantages)
  silent = (size > 1e-6 * size.max()) & (first > 0) & (second == 0)
  return (learned & silent).sum() / learned.sum()


@one_in(12)
def test_metrics_mean_what_their_table_says(name):
  found = {k: np.asarray(x) for k, x in usual(name).metrics.items()}
  assert found.pop('scores').shape == (len(WEIGHTS),)  # named by the loop
  for key, value in found.items():
    row = metrics.find(key)
    assert row.low - 1e-6 <= value <= row.high + 1e-6, f'{key} = {value}'
  learned, wanted = recomputed(name)
  read = reads.united(twice(name).objective.parts)
  if not reads.statistics(read, 'now'):
    # Of two steps, the first is at the old policy.
    wanted['policy/clip_fraction'] = clipped(name, learned) / 2
  for key, value in wanted.items():
    np.testing.assert_allclose(
      found[key], value, rtol=1e-5, atol=1e-6, err_msg=key
    )


def test_two_iterations_share_one_trace_and_one_state_type(name):
  recipe, run, state = compiled(name)
  move, case = move_of(recipe), case_of(recipe)
  once = run(state, move, case)[0]
  traces = run._cache_size()
  again = run(once, move, case)[0]
  assert run._cache_size() == traces
  chex.assert_trees_all_equal_shapes_and_dtypes(state, once, again)
  assert again.step == 2


def test_nan_of_a_failed_verifier_is_masked(name):
  rollouts, scores = case_of(twice(name))
  failed = ~rollouts.valid[:, None]
  components = jnp.where(failed, jnp.nan, scores.components)
  outcome = outcome_of(
    name, Case(rollouts, scores.replace(components=components))
  )
  assert_finite(outcome)
  assert_same(usual(name), outcome)


@pytest.mark.parametrize('blank', [jnp.nan, -jnp.inf])
def test_statistics_off_the_action_mask_are_inert(name, blank):
  """A padded row of a recurrent layer, or of attention, may hold anything."""
  rollouts, scores = case_of(twice(name))
  extras = rollouts.extras | {
    'blank': jnp.full_like(scores.components[:, 0], blank)
  }
  outcome = outcome_of(name, Case(rollouts.replace(extras=extras), scores))
  assert_finite(outcome)
  assert_same(usual(name), outcome)
  chex.assert_trees_all_close(usual(name).method, outcome.method, rtol=1e-5)


@pytest.mark.parametrize('reward', [0.0, 1.0])
def test_uniform_rewards_give_finite_everything(name, reward):
  rollouts, scores = case_of(twice(name))
  components = jnp.full_like(scores.components, reward)
  case = Case(rollouts, scores.replace(components=components))
  assert_finite(outcome_of(name, case))


def test_batch_without_valid_rows_changes_nothing(name):
  rollouts, scores = case_of(twice(name))
  rollouts = rollouts.replace(valid=jnp.zeros_like(rollouts.valid))
  outcome = outcome_of(name, Case(rollouts, scores))
  assert_finite(outcome)
  assert float(optax.tree.norm(outcome.gradients)) == 0


@each_limit
def test_declared_limit_holds(entry, limit):
  first = outcome_at(entry, limit.values)
  values = dict(limit.other_values)
  if 'samples' in recipes.get(limit.other).defaults:
    # By its hyper-parameter: rows of a group may be more than its samples.
    own = recipes.get(entry).defaults | dict(limit.values)
    rows = twice(entry, **limit.values).plan.contract.samples
    values.setdefault('samples', own.get('samples', rows))
  second = outcome_at(limit.other, values)
  if limit.on_policy:
    first, second = (
      o._replace(gradients=take(o.gradients, 0), metrics={'loss': 0.0})
      for o in (first, second)
    )
  scale = 1.0
  if limit.up_to_scale:
    scale = optax.tree.norm(first.gradients) / optax.tree.norm(second.gradients)
  assert_same(first, second, scale=scale)


# Learning: an ordinary optimiser on a small softmax bandit, whose responses
# are as long as `SHORT`. The program is the one compiled above: its tables are
# tied, so that rows of a task share one policy.

SHORT = 2
ADAM = optax.adam(0.1)


def bandit_reward(response):
  """f32[N, 2]: the last token is 2; the share of tokens that are 2."""
  short = response[:, :SHORT]
  last = short[:, -1] == 2
  return jnp.stack([last * 1.0, jnp.mean(short == 2, axis=1)], axis=1)


def expected_reward(params, samples):
  """The mean over tasks of the sum over all responses of p(y) r(y)."""
  response, mask = policy.all_responses(VOCAB, SHORT)
  total = 0.0
  for task in range(TASKS):
    same = jnp.full(len(response), task * samples, jnp.int32)
    rollouts = policy.as_rollouts(response, mask, task=same)
    p = jnp.exp(jnp.sum(policy.score(params, rollouts).logp, axis=1))
    total += jnp.sum(p * (bandit_reward(response) @ jnp.asarray(WEIGHTS)))
  return total / TASKS


def task_of(params, samples):
  """i32[R]: rows of a group follow each other, and tasks take turns."""
  rows = jnp.arange(params['logits'].shape[0], dtype=jnp.int32)
  return rows // samples % TASKS


@functools.partial(jax.jit, static_argnames=('samples', 'rows'))
def answers(params, teacher, key, *, samples, rows):
  """One response of each row's policy, its scores, a teacher's log-probs."""
  short = jax.tree.map(lambda x: x[:, : policy.states(VOCAB, SHORT)], params)
  row = jnp.arange(rows, dtype=jnp.int32)
  drawn = policy.sample(short, key, row, samples=1)

  def widen(x):
    return jnp.pad(x, ((0, 0), (0, LENGTH - SHORT)))

  rollouts = policy.as_rollouts(
    widen(drawn.content.response),
    widen(drawn.response_mask),
    task=task_of(params, samples)[:rows],
    group=row // samples,
    logp=widen(drawn.logp),
  ).replace(extras={'row': row, 'blank': jnp.zeros(rows)})
  scores = Scores(
    bandit_reward(rollouts.content.response), jnp.asarray(WEIGHTS)
  )
  return Case(rollouts, scores), score(teacher, rollouts).logp


@functools.partial(jax.jit, static_argnames='samples')
def descend(params, opt, gradients, *, samples):
  """An optimizer step of tied tables, on the sum of the recorded gradients."""
  task = task_of(params, samples)

  def tie(x):
    of_task = jax.ops.segment_sum(jnp.sum(x, axis=0), task, TASKS)
    return of_task[task]

  updates, opt = ADAM.update(jax.tree.map(tie, gradients), opt, params)
  return optax.apply_updates(params, updates), opt


def heeds_rewards(name):
  """Whether other rewards would make other gradients."""
  rollouts, scores = case_of(twice(name))
  scores = scores.replace(components=1 - scores.components)
  other = outcome_of(name, Case(rollouts, scores)).gradients
  pairs = zip(jax.tree.leaves(usual(name).gradients), jax.tree.leaves(other))
  return any(np.any(a != b) for a, b in pairs)


def test_improves_expected_reward_of_a_bandit(name):
  recipe, run, state = compiled(name)
  if recipe.needs & OWN_REWARDS:
    return  # it follows what the fixed extras hold
  if 'reward model' in recipes.get(name).joints:
    return  # it learns to rate responses, not to write them
  if recipe.needs & SHOWN and not heeds_rewards(name):
    return  # it learns what it is shown, whatever that earns
  samples = recipe.plan.contract.samples
  fixed = case_of(recipe).rollouts
  # Tables of the same task begin the same, and nothing moves on its own.
  params = jax.tree.map(
    lambda x: 0.3 * x[task_of(state.params, samples)], state.params
  )
  still = jax.tree.map(jnp.zeros_like, move_of(recipe))
  reference = ()
  if recipe.refers:
    reference = recipe.reference.init(params, spec_of(recipe))
  state = state.replace(params=params, reference=reference)
  teacher = params | {'logits': params['logits'].at[..., 2].add(2.0)}
  opt, bad_steps = ADAM.init(params), 0.0
  before, best = expected_reward(params, samples), sum(WEIGHTS)
  for key in jax.random.split(KEY, 25):
    (rollouts, scores), teacher_logp = answers(
      state.params,
      teacher,
      key,
      samples=samples,
      rows=fixed.valid.shape[0],
    )
    extras = fixed.extras | rollouts.extras
    if 'teacher_logp' in recipe.needs:
      extras['teacher_logp'] = teacher_logp
    case = Case(rollouts.replace(extras=extras), scores)
    state, outcome = run(state, still, case)
    bad_steps += outcome.metrics['bad_steps']
    params, opt = descend(state.params, opt, outcome.gradients, samples=samples)
    state = state.replace(params=params)
  assert float(bad_steps) == 0
  gained = (expected_reward(params, samples) - before) / (best - before)
  assert gained > 0.2, f'{before:.3f} -> {gained:.1%} of what is to be gained'
