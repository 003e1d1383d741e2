import dataclasses
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import control, recipes, reference, update
from jaxrl_llm.advantages import emphasis
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans.base import Contract
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import diagnostics, shard
from jaxrl_llm.training.step import Program, shared_rows
from jaxrl_llm.types import Scores, Spec
from tests import thinned

VOCAB, LENGTH, TASKS, GROUPS = 3, 3, 2, 8
KEY = jax.random.key(0)


def begin(program, samples, key=KEY):
  params = policy.init(key, tasks=TASKS, vocab=VOCAB, length=LENGTH)
  spec = Spec(GROUPS * samples, samples, 1, LENGTH, tasks=TASKS)
  return program.init(params, spec)


def collect(program, state, *, samples):
  """Scored rollouts of the state's own policy, and their credit."""
  task = jnp.arange(GROUPS) % TASKS
  rollouts = policy.sample(
    state.params, KEY, task, samples=samples, stop=VOCAB - 1
  )
  rows = jnp.arange(rollouts.group.shape[0], dtype=jnp.int32)
  rollouts = rollouts.replace(extras={'row': rows})
  rewards = jnp.sum(rollouts.content.response == 1, axis=1) * 1.0
  scores = Scores(rewards[:, None], jnp.ones(1))
  rollouts = program.score(state, {}, rollouts)
  return rollouts, program.assign(state.method['credit'], rollouts, scores)[0]


def first_step(grad_fn, tx, params, opt, batch):
  """`update.single`, and the metrics of the first optimizer step alone."""
  params, opt, metrics = update.single(grad_fn, tx, params, opt, batch)
  fresh = batch.fresh[0]
  first = {f'first/{k}': jnp.where(fresh, v, 0) for k, v in metrics.items()}
  return params, opt, metrics | first


@pytest.mark.parametrize(('minibatches', 'microbatches'), [(1, 1), (2, 2)])
def test_the_learner_says_what_it_saw_of_rows_that_are_shown(
  minibatches, microbatches
):
  """In whatever piece of whatever step they stand."""
  built = recipes.build(
    'ppo', samples=2, minibatches=minibatches, epochs=minibatches
  )
  built = dataclasses.replace(built, aggregate=aggregate.sequence_mean)
  program = Program(built, policy.score, optax.sgd(0.3), microbatches, shown=3)
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  chosen = jnp.array([9, 0, 5])
  shown = jnp.full(rollouts.group.shape, -1).at[chosen].set(jnp.arange(3))
  marked = rollouts.replace(extras=rollouts.extras | {'shown': shown})
  _, metrics = program.learn(state, {}, marked, credit, KEY)
  seen = dict(zip(diagnostics.SEEN, jnp.moveaxis(metrics['seen'], -1, 0)))
  rows = jax.tree.map(lambda x: x[chosen], rollouts)
  before = policy.score(state.params, rows, frozenset())
  moved = jnp.where(rows.loss_mask, seen['logp'] - before.logp, 0)
  ratio = jnp.where(rows.loss_mask, jnp.exp(moved), 0)
  np.testing.assert_allclose(seen['ratio'], ratio, rtol=1e-5)
  if minibatches == 1:
    entropy = jnp.where(rows.loss_mask, before.entropy, 0)
    np.testing.assert_allclose(seen['entropy'], entropy, rtol=1e-6)
    assert not moved.any()
    # A row counts as much as another, so tokens of short ones weigh more.
    mean = rollouts.loss_mask.sum() / rollouts.valid.sum()
    weight = mean / rows.length[:, None] * rows.loss_mask
    np.testing.assert_allclose(seen['weight'], weight, rtol=1e-5)
  else:
    assert jnp.abs(moved).max() > 0.01
  assert 'seen' not in program.learn(state, {}, rollouts, credit, KEY)[1]


@pytest.mark.parametrize(
  ('name', 'pieces'),
  thinned.every(
    3,
    itertools.product(
      ['grpo', 'gspo', 'dapo', 'cispo'],
      [(1, 1), (2, 1), (8, 1), (1, 4), (2, 4)],
    ),
  ),
)
def test_first_ratio_is_exactly_one(name, pieces):
  microbatches, minibatches = pieces
  built = recipes.build(name, samples=2, minibatches=minibatches)
  built = dataclasses.replace(built, update=first_step)
  program = Program(built, policy.score, optax.sgd(1.0), microbatches)
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  # Log-probs of another program never agree to the last bit: here, far less.
  stale = rollouts.logp - 0.3 * rollouts.action_mask
  rollouts = rollouts.replace(extras=rollouts.extras | {'old_logp': stale})
  _, metrics = program.learn(state, {}, rollouts, credit, KEY)
  assert metrics['first/grad/norm'] > 0
  assert metrics['first/policy/clip_fraction'] == 0
  assert metrics['first/policy/kl'] == 0


def test_later_minibatches_are_compared_with_the_start_of_the_iteration():
  """Only the first optimizer step is at the parameters of `old_logp`."""
  built = recipes.build('grpo', samples=2, minibatches=2, kl_weight=0.0)

  def note(grad_fn, tx, params, opt, batch):
    found = grad_fn(params, batch)[1]
    kl = found['policy/kl']
    return *update.single(grad_fn, tx, params, opt, batch)[:2], found | {
      'loss': kl,
      'grad/norm': kl,
      'tokens/learned': jnp.float32(0),
      'kl_last': kl * ~batch.fresh[0],
      'kl_first': kl * batch.fresh[0],
      'fresh': batch.fresh[0] * 1.0,
    }

  program = Program(
    dataclasses.replace(built, update=note), policy.score, optax.sgd(10.0)
  )
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  _, metrics = program.learn(state, {}, rollouts, credit, KEY)
  assert metrics['fresh'] == 0.5
  assert metrics['kl_first'] == 0
  assert metrics['kl_last'] > 1e-4


def silenced(rows):
  """A program, its state, rollouts, and credit in which rows weigh nothing."""
  program = Program(
    recipes.build('grpo', samples=2), policy.score, optax.sgd(1.0)
  )
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  keep = credit.keep.at[jnp.array(rows)].set(0)
  return program, state, rollouts, credit.replace(keep=keep)


def test_rows_without_weight_leave_the_metrics():
  program, state, rollouts, credit = silenced([0, 5])
  tokens = credit.token_keep.at[2, 0].set(0)
  batch = program.batch(rollouts, credit.replace(token_keep=tokens), fresh=True)
  counted = np.array(rollouts.loss_mask)
  counted[[0, 5]] = False
  counted[2, 0] = False
  np.testing.assert_allclose(batch.share, counted / counted.sum(), rtol=1e-6)
  _, metrics = program.learn(state, {}, rollouts, credit, KEY)
  rest = np.delete(np.array(rollouts.loss_mask), [0, 5], axis=0)
  assert metrics['tokens/learned'] == rest.sum()


@pytest.mark.parametrize('epochs, minibatches', [(1, 1), (1, 4), (3, 2)])
def test_learned_tokens_are_counted_over_all_steps(epochs, minibatches):
  built = recipes.build('grpo', samples=2, minibatches=minibatches)
  built = dataclasses.replace(built, epochs=epochs)
  program = Program(built, policy.score, optax.sgd(1.0), microbatches=2)
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  _, metrics = program.learn(state, {}, rollouts, credit, KEY)
  assert metrics['tokens/learned'] == epochs * jnp.sum(rollouts.loss_mask)


def test_recorded_responses_are_compared_and_demonstrations_are_not():
  built = recipes.build('grpo', samples=2, minibatches=1)
  program = Program(built, policy.score, optax.sgd(1.0), microbatches=2)
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)

  def marked(*names):
    marks = dict.fromkeys(names, jnp.ones(GROUPS * 2, bool))
    return rollouts.replace(extras=rollouts.extras | marks)

  pairs = marked('recorded')
  _, metrics = program.learn(state, {}, pairs, credit, KEY)
  expected = diagnostics.of_pairs(
    policy.score(state.params, pairs),
    program.batch(pairs, credit, fresh=True),
    samples=2,
    microbatches=1,
  )
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6)
  for others in (rollouts, marked('recorded', 'demonstrated')):
    _, metrics = jax.eval_shape(program.learn, state, {}, others, credit, KEY)
    assert not expected.keys() & metrics.keys()


def test_rows_that_do_not_count_have_no_reward():
  """Whatever their scores are, and whatever a combiner makes of them."""

  def combine(components, weights, rollouts):
    del weights, rollouts
    return components[:, 0] + 7.0

  built = dataclasses.replace(recipes.build('grpo', samples=2), combine=combine)
  program = Program(built, policy.score, optax.sgd(1.0))
  state = begin(program, 2)
  rollouts, _ = collect(program, state, samples=2)
  valid = rollouts.valid.at[jnp.array([1, 6])].set(False)
  rollouts = rollouts.replace(valid=valid)
  scores = Scores(jnp.ones((valid.size, 1)), jnp.ones(1))
  credit, _, _ = program.assign(state.method['credit'], rollouts, scores)
  np.testing.assert_array_equal(credit.rewards, jnp.where(valid, 8.0, 0.0))


def expected_reward(params, task, response, mask, rewards):
  rollouts = policy.as_rollouts(response, mask, task=task)
  logp = jnp.sum(policy.score(params, rollouts).logp, axis=1)
  return jnp.sum(jnp.exp(logp) * rewards) / TASKS


def every_response():
  """All responses to all tasks, and a reward for each."""
  response, mask = policy.all_responses(VOCAB, LENGTH, stop=VOCAB - 1)
  task = np.repeat(np.arange(TASKS, dtype=np.int32), len(response))
  response, mask = np.tile(response, (TASKS, 1)), np.tile(mask, (TASKS, 1))
  rewards = np.random.default_rng(0).normal(size=len(task)).astype(np.float32)
  return task, response, mask, rewards


def gradient_of_learn(name, samples, rollouts, rewards, probability, params):
  """What a compiled step follows when rows are weighed by probability."""
  built = recipes.build(name, samples=samples)
  built = dataclasses.replace(built, minibatches=1)
  program = Program(built, policy.score, optax.sgd(1.0))
  rows = len(rewards)
  state = program.init(params, Spec(rows, samples, 1, LENGTH, tasks=TASKS))
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  credit = program.assign(state.method['credit'], rollouts, scores)[0]
  # The mean over rows becomes the expectation over responses.
  credit = credit.replace(keep=rows * probability)
  after, _ = jax.jit(program.learn)(state, {}, rollouts, credit, KEY)
  return after.params['logits'] - params['logits']


def test_reinforce_follows_the_exact_gradient():
  task, response, mask, rewards = every_response()
  params = policy.init(KEY, tasks=TASKS, vocab=VOCAB, length=LENGTH)
  exact = jax.grad(expected_reward)(params, task, response, mask, rewards)
  rollouts = policy.as_rollouts(response, mask, task=jnp.asarray(task))
  logp = jnp.sum(policy.score(params, rollouts).logp, axis=1)
  found = gradient_of_learn(
    'reinforce', 1, rollouts, rewards, jnp.exp(logp) / TASKS, params
  )
  np.testing.assert_allclose(found, exact['logits'], atol=1e-6)


@pytest.mark.parametrize(
  # Dr. GRPO keeps each row in its own baseline, which costs (G - 1) / G, and
  # divides by the response budget.
  'name, factor',
  [('rloo', 1.0), ('dr_grpo', 1 / 2 / LENGTH)],
)
def test_group_baselines_follow_the_exact_gradient(name, factor):
  task, response, mask, rewards = every_response()
  params = policy.init(KEY, tasks=TASKS, vocab=VOCAB, length=LENGTH)
  exact = jax.grad(expected_reward)(params, task, response, mask, rewards)
  single = policy.as_rollouts(response, mask, task=jnp.asarray(task))
  p = jnp.exp(jnp.sum(policy.score(params, single).logp, axis=1))
  # Every ordered pair of responses to a task, as a group of two.
  first, second = np.nonzero(task[:, None] == task)
  pairs = np.stack([first, second], axis=1).reshape(-1)
  group = jnp.arange(len(pairs), dtype=jnp.int32) // 2
  rollouts = policy.as_rollouts(
    response[pairs], mask[pairs], task=jnp.asarray(task[pairs]), group=group
  )
  probability = jnp.repeat(p[first] * p[second], 2) / TASKS / 2
  found = gradient_of_learn(
    name, 2, rollouts, rewards[pairs], probability, params
  )
  np.testing.assert_allclose(found, factor * exact['logits'], atol=1e-6)


def test_epochs_use_every_row_once_in_whole_shuffled_groups():
  samples, epochs, minibatches = 2, 3, 4
  steps = epochs * minibatches

  def note_rows(grad_fn, tx, params, opt, batch):
    _, metrics = grad_fn(params, batch)
    seen = opt['seen'].at[opt['count']].set(batch.rollouts.extras['row'])
    metrics |= {'grad/norm': jnp.float32(1)}
    return params, {'seen': seen, 'count': opt['count'] + 1}, metrics

  built = recipes.build('grpo', samples=samples, minibatches=minibatches)
  built = dataclasses.replace(built, epochs=epochs, update=note_rows)
  program = Program(built, policy.score, optax.sgd(1.0))
  state = begin(program, samples)
  rows = GROUPS * samples
  seen = jnp.zeros((steps, rows // minibatches), jnp.int32)
  state = state.replace(opt={'seen': seen, 'count': jnp.int32(0)})
  rollouts, credit = collect(program, state, samples=samples)
  after, _ = program.learn(state, {}, rollouts, credit, KEY)
  seen = np.asarray(after.opt['seen']).reshape(epochs, rows)
  for epoch in seen:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(rows))
  groups = seen.reshape(-1, samples)
  np.testing.assert_array_equal(groups[:, 1], groups[:, 0] + 1)
  assert np.all(groups[:, 0] % samples == 0)
  assert not np.array_equal(seen[0], seen[1])


def steered():
  """A recipe with a controller and a moving reference."""
  kl = Cost(costs.k3, control.AdaptiveKL(initial=0.5, target=0.01))
  return dataclasses.replace(
    recipes.build('rloo', samples=2),
    objective=policy_gradient(surrogates.score_function, kl=kl),
    reference=reference.EMA(decay=0.75),
  )


def test_controllers_and_reference_move_after_the_steps():
  program = Program(steered(), policy.score, optax.sgd(0.5))
  state = begin(program, 2)
  state = state.replace(params=jax.tree.map(lambda x: 2 * x, state.params))
  rollouts, credit = collect(program, state, samples=2)
  after, metrics = program.learn(state, {}, rollouts, credit, KEY)
  assert metrics['coef/kl'] == 0.5
  # The KL is far above the target: the largest step, 0.2 over 10 iterations.
  np.testing.assert_allclose(after.method['controllers']['kl'], 0.51)
  chex.assert_trees_all_close(
    after.reference,
    jax.tree.map(
      lambda r, p: 0.75 * r + 0.25 * p, state.reference, after.params
    ),
    rtol=1e-6,
  )
  assert after.step == 1


def test_step_that_is_not_finite_changes_nothing_and_is_counted():
  program = Program(steered(), policy.score, optax.adam(0.1), microbatches=2)
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  broken = credit.replace(advantages=credit.advantages.at[0, 0].set(jnp.nan))
  after, metrics = program.learn(state, {}, rollouts, broken, KEY)
  assert metrics['bad_steps'] == 1
  chex.assert_trees_all_equal(after.params, state.params)
  chex.assert_trees_all_equal(after.opt, state.opt)
  chex.assert_trees_all_equal(after.method, state.method)
  assert after.step == 1


def test_only_the_broken_minibatch_is_skipped():
  built = recipes.build('grpo', samples=2, minibatches=4)
  program = Program(built, policy.score, optax.adam(0.1))
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  broken = credit.replace(advantages=credit.advantages.at[0, 0].set(jnp.nan))
  after, metrics = program.learn(state, {}, rollouts, broken, KEY)
  assert metrics['bad_steps'] == 1
  assert after.opt[0].count == 3
  chex.assert_tree_all_finite(after.params)


@pytest.mark.parametrize('data, model', [(8, 1), (4, 2), (2, 1)])
def test_mesh_shape_does_not_matter(data, model):
  built = recipes.build('grpo', samples=4, minibatches=2)
  alone = Program(built, policy.score, optax.adam(0.1), microbatches=2)
  state = begin(alone, 4)
  rollouts, credit = collect(alone, state, samples=4)
  one, one_metrics = jax.jit(alone.learn)(state, {}, rollouts, credit, KEY)
  devices = jax.devices()[: data * model]
  mesh = shard.make_mesh(data, model, devices)
  split = dataclasses.replace(alone, layout=shard.Layout(mesh))
  many, many_metrics = jax.jit(split.learn)(
    jax.device_put(state, shard.replicated(mesh)),
    {},
    *jax.device_put((rollouts, credit), shard.rows(mesh)),
    jax.device_put(KEY, shard.replicated(mesh)),
  )
  close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, one.params, many.params)
  jax.tree.map(close, one_metrics, many_metrics)


def test_a_narrow_microbatch_takes_all_rows_without_weight():
  """Every other of 16 rows; half of two microbatches reads one column."""
  built = recipes.build('grpo', samples=2, minibatches=1)
  program = Program(
    built, policy.score, optax.sgd(1.0), microbatches=2, widths=(1, LENGTH)
  )
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  assert rollouts.length[::2].max() > 1
  credit = credit.replace(keep=credit.keep.at[1::2].set(0))
  _, metrics = program.learn(state, {}, rollouts, credit, KEY)
  expected = (1 + LENGTH) / 2 / LENGTH
  np.testing.assert_allclose(metrics['learn/columns'], expected, rtol=1e-6)


@dataclasses.dataclass(frozen=True, eq=False)
class Noting(shard.Layout):
  """A layout that notes how many rows it was asked to split."""

  noted: set = dataclasses.field(default_factory=set)

  def rows(self, tree):
    self.noted.update(len(x) for x in jax.tree.leaves(tree))
    return super().rows(tree)


def test_a_pass_splits_its_rows_over_devices_whatever_order_they_are_in():
  """Of 32: 16 are of an optimizer step, 8 of a microbatch."""
  built = recipes.build('grpo', samples=4, minibatches=2)
  program = Program(
    built,
    policy.score,
    optax.sgd(1.0),
    microbatches=2,
    widths=(1, LENGTH),
    layout=Noting(shard.make_mesh(8, 1)),
  )
  alone = dataclasses.replace(program, layout=shard.ALONE)
  state = jax.eval_shape(partial(begin, alone, 4))
  rollouts, credit = jax.eval_shape(partial(collect, alone, samples=4), state)
  noted = program.layout.noted
  jax.eval_shape(program.learn, state, {}, rollouts, credit, KEY)
  assert noted == {16, 8}
  noted.clear()
  jax.eval_shape(program.score, state, {}, rollouts)
  assert noted == {32, 8}


@pytest.mark.parametrize(
  'held',
  thinned.every(
    2,
    [
      reference.Frozen(),
      reference.EMA(0.5),
      reference.Periodic(2),
      reference.Extrapolate(0.5),
    ],
  ),
)
def test_donated_state_survives_several_iterations(held):
  # Programs that were evicted while many were loaded would spoil the count.
  jax.clear_caches()
  built = dataclasses.replace(steered(), reference=held)
  program = Program(built, policy.score, optax.adam(0.1))
  compiled = program.compile()
  state = begin(program, 2)
  rollouts, credit = collect(program, state, samples=2)
  for number in range(3):
    rollouts = compiled.score(state, {}, rollouts)
    before = state
    state, metrics = compiled.learn(state, {}, rollouts, credit, KEY)
    assert jnp.isfinite(metrics['loss'])
    assert before.params['logits'].is_deleted()
    assert state.step == number + 1
  assert compiled.learn._cache_size() == 1


def test_the_curriculum_draws_and_hears_in_compiled_programs():
  # Programs that were evicted while many were loaded would spoil the count.
  jax.clear_caches()
  compiled = Program(
    recipes.build('grpo'), policy.score, optax.sgd(1.0)
  ).compile()
  curriculum = recipes.build('grpo').curriculum
  state = curriculum.init(Spec(4, 1, 1, LENGTH, tasks=5))
  for number in range(3):
    key = jax.random.fold_in(KEY, number)
    expected, _ = curriculum.sample(state, key, 4)
    tasks, state = compiled.draw(state, key, 4)
    np.testing.assert_array_equal(tasks, expected)
    state = compiled.hear(state, tasks, jnp.ones(4), jnp.ones(4, bool))
  assert compiled.draw._cache_size() == compiled.hear._cache_size() == 1


def test_one_step_spends_no_pass_on_old_log_probs():
  one = recipes.build('dapo', minibatches=1)
  plain = Program(one, policy.score, optax.sgd(1.0))
  assert plain.passes == frozenset()
  rollouts = object()
  assert plain.compile().score(None, None, rollouts) is rollouts
  more = recipes.build('dapo', minibatches=2)
  assert Program(more, policy.score, optax.sgd(1.0)).passes == {'old_logp'}


@pytest.mark.parametrize(
  ('name', 'before', 'learning'),
  [
    ('tw_grpo', {emphasis.DIVERGENCE.now}, set()),
    ('trajectory_balance', set(), {'values'}),
    ('ppo', {'values'}, {'values'}),
  ],
)
def test_each_policy_is_asked_for_what_is_read_of_it_alone(
  name, before, learning
):
  asked = []

  def scorer(params, rollouts, needs):
    asked.append(needs)
    return policy.score(params, rollouts, needs)

  program = Program(recipes.build(name, samples=2), scorer, optax.sgd(1.0))
  state = begin(program, 2)
  scored = partial(collect, program, samples=2)
  found = jax.eval_shape(scored, state)
  assert frozenset().union(*asked) == before
  asked.clear()
  jax.eval_shape(program.learn, state, {}, *found, KEY)
  assert frozenset().union(*asked) == learning


def test_passes_in_pieces_equal_the_whole():
  def passes(microbatches):
    program = Program(
      recipes.build('ppo'), policy.score, optax.sgd(1.0), microbatches
    )
    state = begin(program, 1)
    return collect(program, state, samples=1)[0].extras

  whole, pieces = passes(1), passes(2)
  assert {'old_logp', 'old_values'} <= whole.keys()
  chex.assert_trees_all_close(whole, pieces, rtol=1e-6)


@pytest.mark.parametrize(
  ('samples', 'rows', 'devices', 'shared'),
  [(8, 8, 1, 8), (8, 4, 1, 4), (8, 24, 1, 8), (6, 4, 1, 2), (8, 16, 8, 2),
   (8, 4, 8, 8), (8, 3, 1, 1)],
)  # fmt: skip
def test_rows_that_share_a_prompt_straddle_neither_group_nor_device(
  samples, rows, devices, shared
):
  assert shared_rows(Contract(samples), rows, devices) == shared


def test_groups_of_several_prompts_share_none():
  assert shared_rows(Contract(8, one_prompt=False), 8) == 1


@pytest.mark.parametrize('widths', [(), (2, 4)])
def test_microbatches_do_not_cut_groups_that_a_digest_compares(widths):
  """Eight rows in eight pieces, but for their groups of four."""
  recipe = recipes.build('tw_grpo', samples=4)
  params = policy.init(jax.random.key(0), tasks=2, vocab=3, length=4, scale=1.0)
  length = jnp.array([4, 1, 2, 0, 2, 2, 1, 2])
  group = jnp.arange(8) // 4
  rollouts = policy.as_rollouts(
    jnp.arange(32).reshape(8, 4) % 3,
    jnp.arange(4) < length[:, None],
    task=group,
    group=group,
  )

  def scored(**options):
    program = Program(recipe, policy.score, optax.sgd(1.0), **options)
    state = program.init(params, Spec(8, 4, 1, 4, tasks=2))
    return program.score(state, {}, rollouts).extras[emphasis.DIVERGENCE]

  whole = scored()
  assert np.any(whole != 0)
  cut = scored(microbatches=8, widths=widths)
  np.testing.assert_allclose(cut, whole, rtol=1e-5)
