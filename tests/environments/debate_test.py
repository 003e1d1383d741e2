"""Debates against all of their courses, and the judge against loops."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import debate
from jaxrl_llm.environments.debate import Debate

SMALL = Debate(states=2, features=4, decisions=2, arguments=2, seed=3)


def bits(features):
  return sum(1 << feature for feature in features)


def outcome(game, task, course):
  """1, 0 or -1 for the first side, where features are shown in that order."""
  state, first, other = game.pairs[task]
  scores = game.scores[state, bits(course)]
  return np.sign(scores[first] - scores[other])


def worth(game, task, reply, course=()):
  """What the first side earns, by trying everything that may follow.

  Args:
    reply: f(side, shown, values by feature) -> value.
  """
  if len(course) == game.arguments:
    return outcome(game, task, course)
  left = [f for f in range(game.features) if f not in course]
  values = {f: worth(game, task, reply, (*course, f)) for f in left}
  side = 0 if game.alone else len(course) % 2
  return reply(side, bits(course), values)


def best(side, shown, values):
  del shown
  return (max if side == 0 else min)(values.values())


@pytest.mark.parametrize('alone', [False, True])
def test_best_replies_are_those_of_trying_everything(alone):
  game = Debate(
    states=2, features=4, decisions=2, arguments=2 + alone, alone=alone, seed=3
  )
  tasks = range(game.spec.tasks)
  rng = np.random.default_rng(0)
  chances = rng.random((len(tasks), 16, 4))
  for shown, feature in itertools.product(range(16), range(4)):
    if shown >> feature & 1:
      chances[:, shown, feature] = 0.0
  chances /= np.maximum(chances.sum(axis=2, keepdims=True), 1e-9)

  def against(fixed, task):
    def reply(side, shown, values):
      if side != fixed:
        return best(side, shown, values)
      own = chances[task, shown]
      return sum(own[f] * value for f, value in values.items())

    return worth(game, task, reply)

  wanted = [[against(fixed, task) for task in tasks] for fixed in (1, 0)]
  most, least = game.best_replies(chances.reshape(-1, 4))
  np.testing.assert_allclose([most, least], np.mean(wanted, axis=1))
  for fixed, values in zip((1, 0), wanted):
    np.testing.assert_allclose(game.replied(chances, fixed=fixed), values)
  optimum = np.mean([worth(game, task, best) for task in tasks])
  assert least <= most and game.optimal_return == pytest.approx(optimum)


def test_sides_take_turns_to_show_what_was_not_shown_and_one_is_believed():
  tasks = jnp.arange(SMALL.spec.tasks)
  for course in itertools.permutations(range(4), 2):
    state = SMALL.reset(tasks, None)
    assert SMALL.legal(state).all()
    for turn, feature in enumerate(course):
      action = jnp.full(len(tasks), feature)
      state, result = SMALL.step(state, action, None)
      shown = bits(course[: turn + 1])
      np.testing.assert_array_equal(SMALL.observe(state), tasks * 16 + shown)
      legal = [f not in course[: turn + 1] for f in range(4)]
      np.testing.assert_array_equal(SMALL.legal(state), [legal] * len(tasks))
      assert (result.agent == (turn + 1) % 2).all()
      assert result.terminated.tolist() == [turn == 1] * len(tasks)
      if turn == 0:
        assert not result.reward.any() and not result.seats.any()
    won = np.array([outcome(SMALL, task, course) for task in tasks])
    np.testing.assert_array_equal(result.reward, won)
    np.testing.assert_array_equal(result.seats, np.stack([won, -won], axis=1))


def read_by_hand(state, shown):
  """What a judge is told, number by number."""
  known = [shown >> i & 1 for i in range(len(state))]
  told = [x * m for x, m in zip(state, known)]
  pairs = itertools.combinations(told, 2)
  return [1.0, *known, *told, *(a * b for a, b in pairs)]


def test_a_judge_is_fitted_to_pairs_beside_evidence_at_random():
  """Gradient descent from 0, in loops; and it has learned what is right."""
  seen, right = SMALL.world
  shown = [s for s in range(16) if s.bit_count() == 2]
  rows = [(read_by_hand(seen[i], s), right[i]) for i in range(2) for s in shown]
  size = len(rows[0][0])
  weights = [[0.0, 0.0] for _ in range(size)]
  for _ in range(300):
    slope = [[1e-3 * w for w in each] for each in weights]
    for read, true in rows:
      own, other = (
        sum(x * w[d] for x, w in zip(read, weights)) for d in (true, 1 - true)
      )
      pull = 1 / (1 + math.exp(own - other)) / len(rows)
      for i, x in enumerate(read):
        slope[i][1 - true] += pull * x
        slope[i][true] -= pull * x
    weights = [
      [w - 2.0 * g for w, g in zip(*pair)] for pair in zip(weights, slope)
    ]
  for i, s in itertools.product(range(2), range(16)):
    wanted = read_by_hand(seen[i], s) @ np.array(weights)
    np.testing.assert_allclose(SMALL.scores[i, s], wanted, atol=1e-4)
  large = Debate()
  everything = large.scores[:, large.all_shown]
  assert np.mean(everything.argmax(axis=1) == large.world[1]) > 0.9


def test_decisions_are_compared_in_both_orders_and_never_with_themselves():
  assert SMALL.pairs.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 1], [1, 1, 0]]
  np.testing.assert_allclose(SMALL.margins[0], -SMALL.margins[1])
  assert debate.evidence(np.ones((1, 3)), [0]).tolist() == [[1.0] + [0.0] * 9]


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'arguments': 7}, '7 arguments of 6 features'),
    ({'arguments': 3}, 'shown by two sides in turns; use an even number'),
    ({'features': 9}, 'at most all, of at most 8'),
  ],
)
def test_debates_that_make_no_sense_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    Debate(**wrong)
