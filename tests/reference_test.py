import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import reference
from jaxrl_llm.types import Spec

SPEC = Spec(8, 4, 1, 2)
START = {'w': jnp.array([0.0, 1.0])}


def trace(held, iterations):
  """w[0] of the reference after each iteration; the policy's is the count."""
  state, seen = held.init(START, SPEC), []
  for step in range(1, iterations + 1):
    state = held.update(state, {'w': jnp.array([step * 1.0, 1.0])}, step)
    seen.append(float(held.params(state)['w'][0]))
  return seen


@pytest.mark.parametrize(
  'held, wanted',
  [
    (reference.Frozen(), [0, 0, 0, 0]),
    (reference.EMA(decay=0.5), [0.5, 1.25, 2.125, 3.0625]),
    (reference.EMA(decay=1.0), [0, 0, 0, 0]),
    (reference.EMA(decay=0.0), [1, 2, 3, 4]),
    (reference.Periodic(every=2), [0, 2, 2, 4]),
    (reference.Periodic(every=2, weight=0.5), [0, 1, 1, 2.5]),
    (reference.Previous(), [0, 1, 2, 3]),
    (reference.Soup(), [0, 0, 0, 0]),
    (reference.Extrapolate(), [0.5, 1, 1.5, 2]),
    (reference.Extrapolate(weight=2.0), [2, 4, 6, 8]),
  ],
)
def test_reference_follows_its_formula(held, wanted):
  np.testing.assert_allclose(trace(held, 4), wanted)
  state = jax.eval_shape(lambda: held.init(START, SPEC))
  again = jax.eval_shape(held.update, state, START, jnp.int32(1))
  assert jax.tree.structure(state) == jax.tree.structure(again)


@pytest.mark.parametrize(
  'held', [reference.Frozen(), reference.EMA(), reference.Extrapolate()]
)
def test_start_is_a_copy(held):
  """Donating the policy's buffers must not take the reference with them."""
  own = {'w': jnp.ones(3)}
  state = held.init(own, SPEC)
  own['w'].delete()
  np.testing.assert_array_equal(held.params(state)['w'], np.ones(3))


def test_pool_draws_among_the_last_checkpoints():
  """Of the policies numbered by iterations, every second is held, three."""
  held, seen = reference.Pool(count=3, every=2), {}
  state = held.init(START, SPEC)
  for step in range(1, 60):
    state = held.update(state, {'w': jnp.array([step * 1.0, 1.0])}, step)
    newest = step // 2 * 2
    allowed = {max(newest - 2 * k, 0) for k in range(3)}
    drawn = int(held.params(state)['w'][0])
    assert drawn in allowed
    seen[newest - drawn] = True
  assert sorted(seen) == [0, 2, 4]


def drawn_from(pool, seed, iterations=40):
  """Which checkpoint each iteration draws."""
  spec = dataclasses.replace(SPEC, seed=seed)
  state, drawn = pool.init(START, spec), []
  for step in range(1, iterations + 1):
    state = pool.update(state, {'w': jnp.array([step * 1.0, 1.0])}, step)
    drawn.append(int(pool.params(state)['w'][0]))
  return drawn


def test_pool_draws_by_the_seed_of_the_run():
  pool = reference.Pool(count=4, every=1)
  assert drawn_from(pool, 3) == drawn_from(pool, 3)
  one, two = np.array(drawn_from(pool, 3)), np.array(drawn_from(pool, 4))
  # Of 4 checkpoints, two seeds draw the same one in a quarter of iterations.
  assert 0.05 < np.mean(one == two) < 0.6


def test_pool_draws_apart_from_what_the_loop_draws():
  pool = reference.Pool(count=4, every=1)
  state = pool.init(START, SPEC)
  loops = jax.random.key_data(jax.random.key(SPEC.seed))
  assert not np.array_equal(state['key'], loops)


def test_pool_draws_no_slot_before_it_is_filled():
  held = reference.Pool(count=3, every=20)
  state, drawn = held.init(START, SPEC), set()
  for step in range(1, 60):
    state = held.update(state, {'w': jnp.array([step * 1.0, 1.0])}, step)
    empty = jnp.arange(3)[:, None] > step // 20
    marked = {'w': jnp.where(empty, jnp.nan, state['held']['w'])}
    drawn.add(float(held.params(state | {'held': marked})['w'][0]))
  assert drawn == {0.0, 20.0, 40.0}


def test_the_opponent_is_the_reference_unless_another_stands_beside_it():
  alone = reference.EMA(decay=0.5)
  pair = reference.Beside(reference.Frozen(), alone)
  states = [held.init(START, SPEC) for held in (alone, pair)]
  for step in range(1, 4):
    new = {'w': jnp.array([step * 1.0, 1.0])}
    states = [
      held.update(state, new, step)
      for held, state in zip((alone, pair), states)
    ]
  expected = alone.params(states[0])['w']
  for held, state in zip((alone, pair), states):
    np.testing.assert_array_equal(held.opponent(state)['w'], expected)
  np.testing.assert_array_equal(pair.params(states[1])['w'], START['w'])
  assert expected[0] == 2.125


def test_a_soup_is_the_weighted_mean_of_start_and_others():
  start = {'a': {'w': jnp.array([0.0, 4.0])}, 'head': jnp.array([7.0])}
  both = jnp.array([2.0, 2.0]), jnp.array([4.0, 0.0])
  others = [{'a': {'w': w}} for w in both]
  found = reference.souped(start, others, 0.5)
  np.testing.assert_array_equal(found['a']['w'], [1.5, 2.5])
  np.testing.assert_array_equal(found['head'], [7.0])
  same = reference.souped(start, others, 0.0)
  np.testing.assert_array_equal(same['a']['w'], start['a']['w'])


@pytest.mark.parametrize('other', [{'b': jnp.ones(2)}, {'a': jnp.ones(3)}])
def test_a_soup_of_other_shapes_is_refused(other):
  with pytest.raises(ValueError, match='policies of one architecture'):
    reference.souped({'a': jnp.ones(2)}, [other], 0.5)


def test_what_one_of_several_policies_alone_has_is_refused():
  start = {'a': jnp.ones(2)}
  for others in ([start, {**start, 'b': start['a']}], [start, {}]):
    with pytest.raises(ValueError, match='policies of one architecture'):
      reference.souped(start, others, 0.5)
