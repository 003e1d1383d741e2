import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from jax import extend

from jaxrl_llm.environments import base as environments
from jaxrl_llm.learners import bandits as learners
from jaxrl_llm.selection import curricula
from jaxrl_llm.types import Spec

ROOT = jax.random.key(0)
sample = jax.jit(curricula.Shuffled().sample, static_argnums=2)


def draws(state, tasks, n, numbers):
  """Tasks drawn at the given iterations, and the state after them."""
  shuffled, seen = curricula.Shuffled(), []
  for number in numbers:
    key = jax.random.fold_in(ROOT, number)
    drawn, state = sample(state, key, n)
    state = shuffled.update(state, drawn, None, None)
    seen.extend(np.asarray(drawn).tolist())
  return seen, state


def begin(tasks):
  return curricula.Shuffled().init(Spec(8, 1, 1, 1, tasks=tasks))


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(st.integers(2, 7), st.integers(1, 7))
def test_every_task_comes_once_per_epoch_whatever_the_batch(tasks, n):
  n = min(n, tasks)
  seen, _ = draws(begin(tasks), tasks, n, range(2 * tasks))
  for epoch in np.reshape(seen, (-1, tasks)):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(tasks))


def test_epochs_come_in_different_orders():
  seen, _ = draws(begin(20), 20, 20, range(2))
  assert seen[:20] != seen[20:] and seen[:20] != list(range(20))


def test_resumed_state_draws_what_it_would_have():
  whole, _ = draws(begin(7), 7, 3, range(6))
  first, state = draws(begin(7), 7, 3, range(3))
  restored = jax.tree.map(np.array, state)
  rest, _ = draws(restored, 7, 3, range(3, 6))
  assert first + rest == whole


def test_state_keeps_its_types():
  state = begin(5)
  _, after = draws(state, 5, 2, range(3))
  for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after)):
    assert (old.shape, old.dtype) == (new.shape, new.dtype)


def test_more_prompts_than_tasks_are_refused_with_the_numbers():
  with pytest.raises(
    ValueError, match='draws 6 prompts .* has 5; .* at most 5'
  ):
    draws(begin(5), 5, 6, [0])


def outside_of_branches(jaxpr):
  """Names of the primitives that run whatever a condition says."""
  for equation in jaxpr.eqns:
    yield equation.primitive.name
    if equation.primitive.name != 'cond':
      for inner in extend.core.jaxprs_in_params(equation.params):
        yield from outside_of_branches(inner)


def test_only_the_draw_that_ends_an_epoch_pays_for_a_new_order():
  draw = functools.partial(curricula.Shuffled().sample, n=2)
  always = set(outside_of_branches(jax.make_jaxpr(draw)(begin(9), ROOT).jaxpr))
  assert 'cond' in always and 'sort' not in always


def test_draws_equal_those_that_shuffle_every_time():
  """What a run has drawn so far stays, whichever version resumes it."""
  order, used, expected = np.arange(7), 7, []
  for number in range(9):
    key = jax.random.fold_in(ROOT, number)
    fresh = np.asarray(jax.random.permutation(key, 7))
    place = used + np.arange(3)
    expected += np.concatenate([order, fresh])[place].tolist()
    crossed = used + 3 > 7
    order, used = (fresh, used - 4) if crossed else (order, used + 3)
  assert draws(begin(7), 7, 3, range(9))[0] == expected


SPEC = Spec(16, 4, 1, 6, tasks=6, domains=3, task_domains=(0, 0, 2, 2, 2, 0))
# Of four answers to each task, how many are right.
RIGHT = np.array([0, 4, 4, 1, 2, 4])


def lessons(curriculum, count, n=2):
  """Tasks drawn in turn, where answers are as right as `RIGHT` says."""
  draw = jax.jit(curriculum.sample, static_argnums=2)
  hear = jax.jit(curriculum.update)
  state, seen = curriculum.init(SPEC), []
  for number in range(count):
    drawn, state = draw(state, jax.random.fold_in(ROOT, number), n)
    rows = np.repeat(drawn, 4)
    rewards = np.tile(np.arange(4), n) < RIGHT[rows]
    state = hear(state, rows, rewards.astype('f'), np.ones(4 * n, bool))
    seen.append(np.asarray(drawn))
  return np.array(seen), state


@pytest.mark.parametrize(
  'learner',
  [
    learners.UCB1(scale=0.3),
    learners.GaussianThompson(spread=0.2),
    learners.BetaThompson(),
  ],
)
def test_a_bandit_comes_to_draw_the_task_with_the_largest_signal(learner):
  seen, _ = lessons(curricula.of_bandit(learner), 100)
  # Task 4 has the signal 0.87, task 3 has 0.75 and the others 0.
  counts = np.bincount(seen[50:].ravel(), minlength=6)
  assert np.argmax(counts) == 4
  assert counts[[3, 4]].sum() > 0.85 * counts.sum()


def test_a_bandit_over_domains_draws_all_tasks_of_the_best():
  curriculum = curricula.of_bandit(
    learners.UCB1(scale=0.3), arms=curricula.each_domain
  )
  seen, state = lessons(curriculum, 100)
  counts = np.bincount(seen[50:].ravel(), minlength=6)
  assert counts[2:5].sum() > 0.85 * counts.sum()
  assert counts[2:5].min() > 0.2 * counts.sum()
  # Domain 1 has no tasks, and is no arm.
  assert state['learner']['count'].shape == (2,)


@dataclasses.dataclass(frozen=True)
class Told(learners.UCB1):
  """A learner that keeps what it is told of its world."""

  told: list = dataclasses.field(default_factory=list)

  def init(self, spec, key):
    self.told.append(spec)
    return super().init(spec, key)


def test_a_bandit_sees_one_thing_and_acts_once():
  learner = Told()
  curricula.of_bandit(learner).init(SPEC)
  one, arms = environments.Discrete(1), environments.Discrete(6)
  assert learner.told == [environments.Spec(1, 1, one, arms)]


def test_tasks_of_an_arm_stand_in_their_order_on_every_machine():
  spec = dataclasses.replace(SPEC, tasks=60, task_domains=(0, 2) * 30)
  curriculum = curricula.of_bandit(learners.UCB1(), arms=curricula.each_domain)
  order = curriculum.init(spec)['order']
  np.testing.assert_array_equal(order, [*range(0, 60, 2), *range(1, 60, 2)])


def test_a_pull_is_a_task_however_many_rows_it_has():
  curriculum = curricula.of_bandit(learners.UCB1())
  state = curriculum.init(SPEC)
  rows = np.array([4, 4, 4, 4, 4, 4, 0, 3], np.int32)
  rewards = np.array([1, 0, 1, 0, 9, 1, 1, 9], np.float32)
  valid = np.array([1, 1, 1, 1, 0, 1, 1, 0], bool)
  state = curriculum.update(state, rows, rewards, valid)['learner']
  assert state['count'].tolist() == [1, 0, 0, 0, 1, 0]
  right = np.array([1, 0, 1, 0, 1])
  signal = np.mean(np.abs(right - right.mean())) / right.std(ddof=1)
  np.testing.assert_allclose(state['total'], [0, 0, 0, 0, signal, 0], rtol=1e-5)


TWO = Spec(8, 1, 1, 1, tasks=7, domains=2, task_domains=(1, 0, 1, 0, 1, 1, 1))


def mixed_draws(state, shares, n, numbers):
  mixed = curricula.Mixed(shares)
  draw, seen = jax.jit(mixed.sample, static_argnums=2), []
  for number in numbers:
    drawn, state = draw(state, jax.random.fold_in(ROOT, number), n)
    state = mixed.update(state, drawn, None, None)
    seen.append(np.asarray(drawn))
  return np.array(seen), state


def test_sources_are_drawn_by_their_shares_whatever_their_sizes():
  state = curricula.Mixed((0.7, 0.3)).init(TWO)
  seen, _ = mixed_draws(state, (0.7, 0.3), 6, range(200))
  first = np.isin(seen, [1, 3]).sum(axis=1)
  assert set(first) == {4, 5}
  # Of 200 draws of 4.2 each; the spread of a sum of such is 5.7.
  assert abs(first.sum() - 840) < 25
  # No place of a batch belongs to a source: minibatches are cut by place.
  by_place = np.isin(seen, [1, 3]).mean(axis=0)
  assert np.all(abs(by_place - 0.7) < 0.15)


def test_tasks_of_a_source_come_once_before_any_comes_again():
  state = curricula.Mixed((0.5, 0.5)).init(TWO)
  seen, state = mixed_draws(state, (0.5, 0.5), 4, range(10))
  for tasks in ((1, 3), (0, 2, 4, 5, 6)):
    own = [task for task in seen.ravel().tolist() if task in tasks]
    whole = len(own) // len(tasks) * len(tasks)
    for epoch in np.reshape(own[:whole], (-1, len(tasks))):
      assert sorted(epoch) == sorted(tasks)
    assert len(own) == 20


def test_a_draw_of_more_than_an_epoch_repeats_its_order():
  state = curricula.Mixed((1.0, 0.0)).init(TWO)
  seen, _ = mixed_draws(state, (1.0, 0.0), 5, range(4))
  assert set(seen.ravel()) == {1, 3}
  assert all(abs((row == 1).sum() - 2.5) < 1 for row in seen)


def test_a_mixture_goes_on_as_it_would_have():
  shares = (0.6, 0.4)
  begun = curricula.Mixed(shares).init(TWO)
  whole, _ = mixed_draws(begun, shares, 3, range(6))
  first, state = mixed_draws(begun, shares, 3, range(3))
  rest, _ = mixed_draws(jax.tree.map(np.array, state), shares, 3, range(3, 6))
  np.testing.assert_array_equal(np.concatenate([first, rest]), whole)
  for old, new in zip(jax.tree.leaves(begun), jax.tree.leaves(state)):
    assert (old.shape, old.dtype) == (new.shape, new.dtype)


def test_a_source_of_weight_without_questions_is_refused():
  with pytest.raises(ValueError, match=r'sources \[2\] of 3 have a weight and'):
    curricula.Mixed((0.5, 0.3, 0.2)).init(TWO)


def test_solved_tasks_do_not_come_again_and_others_come_in_turn():
  unsolved = curricula.Unsolved(0.75)
  state = unsolved.init(Spec(8, 1, 1, 1, tasks=6))
  draw = jax.jit(unsolved.sample, static_argnums=2)
  # What two rows of each task earn: in the mean 0.75 or more of 1 and 4; a row
  # of 5 that earned 1 does not count.
  earned = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [1, 0.5], [1, 0]])
  valid = np.ones((6, 2), bool)
  valid[5, 0] = False
  seen, order = [], []
  for number in range(8):
    tasks, state = draw(state, jax.random.fold_in(ROOT, number), 3)
    tasks = np.asarray(tasks)
    seen += [{*tasks.tolist()}]
    order += tasks.tolist()
    rows = np.repeat(tasks, 2)
    arrays = earned[tasks].ravel(), valid[tasks].ravel()
    state = unsolved.update(state, rows, *arrays)
  assert seen[0] | seen[1] == {*range(6)}
  assert not {1, 4} & {*order[6:]} and len({*seen[0]}) == 3
  counts = np.bincount(order, minlength=6)[[0, 2, 3, 5]]
  assert max(counts) - min(counts) <= 1
  assert order[6:10] != order[10:14] or order[10:14] != order[14:18]


def test_solved_tasks_fill_a_draw_that_others_do_not():
  unsolved = curricula.Unsolved(0.5)
  state = unsolved.init(Spec(8, 1, 1, 1, tasks=3))
  one = np.array([0, 1])
  state = unsolved.update(state, one, np.array([1.0, 0.5]), one < 2)
  tasks, _ = unsolved.sample(state, ROOT, 2)
  assert int(tasks[0]) == 2 and int(tasks[1]) in (0, 1)
  with pytest.raises(ValueError, match='draws 4 prompts but the dataset has 3'):
    unsolved.sample(state, ROOT, 4)


def _phases(state, count, iterations, share, mixed, least):
  """The chances of `Phases`, task by task."""
  last = count - 1
  phase = min(int(state['iteration']) // iterations, last)
  part, seen = np.asarray(state['part']), np.asarray(state['seen'])
  if mixed and phase == last:
    return np.full(len(part), 1 / len(part))
  hard = [
    1 / max(float(mean), least) if known and p < phase else 0.0
    for mean, known, p in zip(state['mean'], seen, part)
  ]
  back = share if sum(hard) else 0.0
  own = [(1 - back) / sum(part == phase) * (p == phase) for p in part]
  return np.array(own) + back * np.array(hard) / max(sum(hard), 1e-9)


@pytest.mark.parametrize('mixed', [False, True])
def test_phases_draw_parts_by_length_and_hard_ones_of_before(mixed):
  phases = curricula.Phases(3, 2, 0.25, mixed=mixed)
  lengths = (9, 3, 5, 4, 8, 7, 1)
  state = phases.init(Spec(8, 4, 9, 1, tasks=7, task_lengths=lengths))
  assert state['part'].tolist() == [2, 0, 1, 0, 2, 1, 0]
  rng = np.random.default_rng(0)
  for number in range(8):
    wanted = _phases(state, 3, 2, 0.25, mixed, 1 / 4)
    np.testing.assert_allclose(phases.chances(state), wanted, rtol=1e-5)
    key = jax.random.fold_in(ROOT, number)
    drawn, state = jax.jit(phases.sample, static_argnums=2)(state, key, 4)
    assert all(wanted[np.asarray(drawn)] > 0)
    # Two rows a task, one task whose verifier failed.
    tasks = np.repeat(np.asarray(drawn), 2)
    rewards = rng.random(8).astype(np.float32)
    valid = np.arange(8) > 1
    state = jax.jit(phases.update)(state, tasks, rewards, valid)
    for task in {*tasks[2:]} - {*tasks[:2]}:
      mean = rewards[tasks == task].mean()
      np.testing.assert_allclose(state['mean'][task], mean, rtol=1e-6)
  assert int(state['iteration']) == 8


@pytest.mark.parametrize(
  ('values', 'lengths', 'message'),
  [
    ({}, (4, 4, 4), 'all equal'),
    ({'phases': 3}, (4, 5), '2 tasks do not fill 3 phases'),
    ({'phases': 0}, (4, 5), '0 phases'),
    ({'share': 1.0}, (4, 5), 'a share of 1'),
  ],
)
def test_phases_that_cannot_be_told_apart_are_refused(values, lengths, message):
  with pytest.raises(ValueError, match=message):
    curricula.Phases(**values).init(
      Spec(8, 1, 1, 1, tasks=len(lengths), task_lengths=lengths)
    )
