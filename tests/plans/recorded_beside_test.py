"""Recorded responses with sampled ones behind them."""

import jax
import numpy as np

from jaxrl_llm.plans import recorded, recorded_beside
from jaxrl_llm.training import step
from tests.plans import scripted
from tests.plans.recorded_test import encoded, prompts


def test_own_responses_stand_behind_recorded_ones_and_earn_nothing():
  plan = recorded_beside.BesideOwn(samples=3)
  tools = scripted.Scripted(lambda text, i: 'xyz'[i], columns=3)
  asked = prompts(encoded()[0], [1, 0])
  rollouts, scores, _ = plan.collect(tools, asked, (), jax.random.key(0))
  assert plan.contract.samples == 6
  assert rollouts.extras.keys() == {*plan.contract.provides, 'log_mass'}
  marks = rollouts.extras['recorded'].tolist()
  assert marks == [True, True, True, False, False, False] * 2
  shown, earned = recorded.rows(asked)
  held = np.flatnonzero(marks)
  for name in ('content', 'action_mask', 'logp', 'valid', 'task'):
    pair = getattr(rollouts, name), getattr(shown, name)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[held], b), *pair)
  own = np.flatnonzero(~np.array(marks))
  assert (
    scripted.words(jax.tree.map(lambda x: x[own], rollouts)) == [*'xyz'] * 2
  )
  assert rollouts.group.tolist() == [0] * 6 + [1] * 6
  np.testing.assert_array_equal(scores.components[held], earned.components)
  assert not scores.components[own].any()


def test_all_are_judged_alike_beside_the_reference_and_count_after_a_while():
  plan = recorded_beside.BesideReference(samples=3, first=1)
  tools = scripted.Scripted(
    lambda text, i: 'xyz'[i],
    judge=lambda text, record: float(text == 'y'),
    columns=3,
  )
  tools.opponent = lambda prompts, key, samples, share: tools.generate(
    prompts, key, samples
  )
  asked, state = prompts(encoded()[0], [1, 0]), plan.init(None)
  first, scores, state = plan.collect(tools, asked, state, jax.random.key(0))
  marks = np.array([True, True, True, False, False, False] * 2)
  assert first.extras['recorded'].tolist() == marks.tolist()
  assert not np.asarray(first.valid)[marks].any()
  later, scores, _ = plan.collect(tools, asked, state, jax.random.key(0))
  shown, _ = recorded.rows(asked)
  assert np.asarray(later.valid)[marks].tolist() == shown.valid.tolist()
  assert np.asarray(later.valid)[~marks].all()
  words = scripted.words(later)
  judged = [float(word == 'y') for word in words]
  assert np.asarray(scores.components)[:, 0].tolist() == judged
  assert words[3:6] == [*'xyz'] and plan.contract.refers


def test_half_a_group_may_be_rated_by_itself():
  for plan in (
    recorded_beside.BesideOwn(samples=2),
    recorded_beside.BesideReference(2),
  ):
    assert step.shared_rows(plan.contract, rows=8) == 1
