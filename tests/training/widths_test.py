import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import recipes, update
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import widths
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec

VOCAB, LENGTH, GROUPS, SAMPLES = 3, 6, 6, 4
KEY = jax.random.key(0)


def test_widths_are_halves_of_the_next():
  assert widths.halved(512, 4) == (64, 128, 256, 512)
  assert widths.halved(10, 5) == (1, 2, 3, 5, 10)
  assert widths.halved(7, 1) == (7,)


@pytest.mark.parametrize('count', [0, 5])
def test_widths_that_cannot_be_halved_are_refused(count):
  with pytest.raises(ValueError, match=f'{count} widths of 6 .* gives 1 to 4'):
    widths.halved(6, count)


def test_the_narrowest_width_that_holds_every_token_runs():
  def width_of(last):
    mask = jnp.zeros((3, 8), bool).at[1, : max(last - 1, 0)].set(True)
    # A hole, as between the turns of an episode, is no end.
    mask = mask.at[2, last - 1].set(True) if last else mask
    return widths.at_narrowest(lambda w, x: w + x, (2, 4, 8), mask, 0)

  found = [int(width_of(last)) for last in range(9)]
  assert found == [2, 2, 2, 4, 4, 8, 8, 8, 8]


@pytest.mark.parametrize('unit', [1, 2, 4, 8])
@pytest.mark.parametrize('free', [True, False])
def test_rows_are_ordered_by_length_in_whole_units(unit, free):
  last = np.random.default_rng(0).integers(0, 10, 16)
  mask = jnp.arange(10) < last[:, None]
  got = np.asarray(widths.order(mask, samples=4, unit=unit, free=free))
  rows = np.arange(16).reshape(4, 4)
  if free:
    rows = [sorted(group, key=lambda row: last[row]) for group in rows]
  units = np.reshape(rows, (-1, unit)).tolist()
  units = sorted(units, key=lambda unit: max(last[row] for row in unit))
  np.testing.assert_array_equal(got, np.ravel(units))


def test_columns_that_are_left_out_hold_zeros_in_any_case():
  params = policy.init(KEY, tasks=1, vocab=VOCAB, length=LENGTH)
  response, mask = policy.all_responses(VOCAB, 3, stop=VOCAB - 1)
  more = ((0, 0), (0, LENGTH - 3))
  rollouts = policy.as_rollouts(np.pad(response, more), np.pad(mask, more))
  needs = frozenset({'values', 'after_values'})
  whole = policy.score(params, rollouts, needs)
  narrow = policy.score(params, widths.narrowed(rollouts, 3), needs)
  chex.assert_trees_all_close(widths.widened(narrow, LENGTH), whole, rtol=1e-6)


def test_extras_are_cut_where_their_second_axis_is_of_decisions():
  mask = np.ones((4, 8), bool)
  rollouts = policy.as_rollouts(np.zeros((4, 8), np.int32), mask)
  # Those of rows are as long as responses, and must not be cut all the same.
  shapes = {
    'turn': (4, 8),
    'old_log_probs': (4, 8, 3),
    'rank': (4,),
    'node_path': (4, 8),
    'prompt_logp': (4, 8),
  }
  extras = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  content = rollouts.content.replace(
    prompt=jnp.zeros((4, 8), int), prompt_mask=mask
  )
  rollouts = rollouts.replace(extras=extras, content=content)
  found = widths.narrowed(rollouts, 3)
  cut = {'turn': (4, 3), 'old_log_probs': (4, 3, 3)}
  assert jax.tree.map(jnp.shape, dict(found.extras)) == shapes | cut
  for name in ('response_mask', 'action_mask', 'logp', 'paid'):
    assert getattr(found, name).shape == (4, 3), name
  assert found.content.response.shape == (4, 3)
  assert found.content.prompt.shape == found.content.prompt_mask.shape == (4, 8)
  unknown = rollouts.replace(extras={'mine': jnp.zeros((4, 8))})
  with pytest.raises(ValueError, match=r"reads.declare\('mine'"):
    widths.narrowed(unknown, 3)


def program_of(name, count, *, shared=1, **hyper):
  return Program(
    recipes.build(name, **hyper),
    policy.score,
    optax.adam(0.1),
    microbatches=3,
    shared=shared,
    widths=widths.halved(LENGTH, count) if count > 1 else (),
  )


def iteration(program, drop=()):
  """A state, and scored rollouts of lengths from 1 to 6 with their credit."""
  samples = program.recipe.plan.contract.samples
  params = policy.init(KEY, tasks=2, vocab=VOCAB, length=LENGTH)
  rows = GROUPS * samples
  spec = Spec(rows, samples, 1, LENGTH, tasks=2)
  state = program.init(params, spec)
  rollouts = policy.sample(
    params, KEY, jnp.arange(GROUPS) % 2, samples=samples, stop=VOCAB - 1
  )
  rewards = jnp.sum(rollouts.content.response == 1, axis=1) * 1.0
  scores = Scores(rewards[:, None], jnp.ones(1))
  rollouts = program.score(state, {}, rollouts)
  credit = program.assign(state.method['credit'], rollouts, scores)[0]
  keep = credit.keep.at[jnp.array(drop, int)].set(0)
  return state, rollouts, credit.replace(keep=keep)


def learned(program, state, rollouts, credit):
  return jax.jit(program.learn)(state, {}, rollouts, credit, KEY)


# Rows that share a prompt and go their own ways, and pairs that do not.
@pytest.mark.parametrize(
  ('name', 'hyper'),
  [
    ('grpo', {'samples': SAMPLES, 'minibatches': 2}),
    ('p3o_joint', {'minibatches': 1}),
  ],
  ids=['tokens', 'pairs'],
)
def test_widths_change_neither_passes_nor_step(name, hyper):
  whole = program_of(name, 1, **hyper)
  narrow = program_of(name, 2, shared=2, **hyper)
  state, rollouts, credit = iteration(whole, drop=(3,))
  _, others, _ = iteration(narrow)
  chex.assert_trees_all_close(others, rollouts, rtol=1e-6)
  one, metrics = learned(whole, state, rollouts, credit)
  two, others = learned(narrow, state, rollouts, credit)
  assert 0 < others.pop('learn/columns') < 1
  # The same sums in another order.
  chex.assert_trees_all_close(others, metrics, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(two.params, one.params, rtol=1e-4, atol=1e-6)


def first_step(grad_fn, tx, params, opt, batch):
  """`update.single`, and the metrics of the first optimizer step alone."""
  params, opt, metrics = update.single(grad_fn, tx, params, opt, batch)
  fresh = batch.fresh[0]
  first = {f'first/{k}': jnp.where(fresh, v, 0) for k, v in metrics.items()}
  return params, opt, metrics | first


def test_the_first_ratio_is_exactly_one_in_every_width():
  program = program_of('grpo', 2, samples=SAMPLES, minibatches=2)
  built = dataclasses.replace(program.recipe, update=first_step)
  program = dataclasses.replace(program, recipe=built)
  state, rollouts, credit = iteration(program)
  stale = rollouts.logp - 0.3 * rollouts.action_mask
  rollouts = rollouts.replace(extras=rollouts.extras | {'old_logp': stale})
  _, metrics = learned(program, state, rollouts, credit)
  assert metrics['first/grad/norm'] > 0
  assert metrics['first/policy/clip_fraction'] == 0
  assert metrics['first/policy/kl'] == 0


def test_rows_are_read_that_weigh_as_a_whole_or_by_a_token_of_any_sign():
  program = program_of('grpo', 2, samples=SAMPLES)
  _, rollouts, credit = iteration(program)
  batch = program.batch(rollouts, credit, fresh=True)
  nothing = jnp.zeros_like(batch.weights)
  batch = batch.replace(
    weights=nothing.at[1, 0].set(0.5).at[2, 0].set(-0.5),
    row_weights=nothing[:, 0].at[3].set(0.5).at[4].set(-0.5),
  )
  read = np.asarray(program._read(batch))
  mask = np.array(rollouts.response_mask)
  mask[[0, *range(5, len(mask))]] = False
  np.testing.assert_array_equal(read, mask)
  assert mask.any(axis=1).sum() == 4


def test_rows_without_weight_cost_the_narrowest_width():
  program = program_of('dapo', 3, samples=SAMPLES, minibatches=1)
  state, rollouts, credit = iteration(program, drop=range(4, 20))
  _, metrics = learned(program, state, rollouts, credit)
  # Eight rows of three microbatches are learned from, together wherever they
  # stood; 2 of 6 columns are the least that the others cost.
  longest = int(rollouts.length[np.r_[:4, 20:24]].max())
  own = min(w for w in program.widths if w >= longest)
  expected = (2 + 2 + own) / 3 / LENGTH
  np.testing.assert_allclose(metrics['learn/columns'], expected, rtol=1e-6)
