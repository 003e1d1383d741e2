import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.tabular import mirror, optimism

H, S, A = 3, 4, 5
RNG = np.random.default_rng(0)
DYNAMICS = np.float32(RNG.dirichlet(np.ones(S), size=(H, S, A)))
REWARDS = np.float32(RNG.random((H, S, A)))
REFERENCE = np.log(np.float32(RNG.dirichlet(np.ones(A), size=(H, S))))
BONUS = np.float32(RNG.random((H, S, A)))
planned = jax.jit(optimism.planned)


def by_loops(dynamics, rewards, bonus, log_reference, weight):
  policy, values = np.zeros((H, S, A)), np.zeros((H + 1, S))
  for h in reversed(range(H)):
    for s in range(S):
      q = []
      for a in range(A):
        ahead = sum(dynamics[h, s, a, t] * values[h + 1, t] for t in range(S))
        q.append(min(rewards[h, s, a] + bonus[h, s, a] + ahead, H - h))
      total = sum(
        math.exp(log_reference[h, s, a] + q[a] / weight) for a in range(A)
      )
      values[h, s] = weight * math.log(total)
      for a in range(A):
        policy[h, s, a] = (
          log_reference[h, s, a] + (q[a] - values[h, s]) / weight
        )
  return policy, values


def test_plans_are_the_papers_loops_and_the_horizon_bounds_them():
  for weight in (0.3, 2.0):
    for bonus in (BONUS, 9 * BONUS):
      given = DYNAMICS, REWARDS, bonus, REFERENCE
      found = planned(*given, weight=weight)
      expected = by_loops(*map(np.float64, given), weight)
      for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, atol=2e-5)
      assert np.all(found[1][:H] <= H - np.arange(H)[:, None] + 1e-5)


def test_without_a_bonus_no_policy_gets_more_for_its_distance():
  weight, start = 0.4, jnp.full(S, 1 / S)
  log_policy, values = planned(
    DYNAMICS, REWARDS, 0 * BONUS, REFERENCE, weight=weight
  )

  def regular(log_policy):
    far = log_policy - REFERENCE
    return optimism.earned(DYNAMICS, REWARDS - weight * far, log_policy, start)

  best = regular(log_policy)
  np.testing.assert_allclose(best, start @ values[0], rtol=1e-5)
  for _ in range(5):
    other = jnp.log(jnp.asarray(RNG.dirichlet(np.ones(A), size=(H, S))))
    assert regular(jnp.float32(other)) < best


def test_a_large_weight_is_the_clone_and_a_small_one_is_greedy():
  clone, _ = planned(DYNAMICS, REWARDS, BONUS, REFERENCE, weight=1e4)
  np.testing.assert_allclose(clone, REFERENCE, atol=1e-2)
  given = DYNAMICS, REWARDS, 0 * BONUS, REFERENCE
  greedy, values = planned(*given, weight=1e-4)
  best = np.zeros((H + 1, S))
  for h in reversed(range(H)):
    best[h] = (REWARDS[h] + DYNAMICS[h] @ best[h + 1]).max(axis=1)
  np.testing.assert_allclose(values, best, atol=5e-3)
  assert np.exp(greedy[-1]).max(axis=1).min() > 0.9


def test_what_was_never_tried_is_owed_most_and_known_to_lead_nowhere():
  moves = np.zeros((H, S, A, S), np.float32)
  moves[0, 0, 0, 1], moves[0, 0, 0, 2] = 3, 1
  found = optimism.frequencies(moves)
  np.testing.assert_allclose(found[0, 0, 0], [0, 0.75, 0.25, 0])
  assert found.sum() == 1
  owed = optimism.owed(moves.sum(axis=-1), scale=0.5)
  np.testing.assert_allclose(owed[0, 0, 0], 0.5 * H / 2)
  np.testing.assert_allclose(owed[:, 1, 1], 0.5 * (H - np.arange(H)))
  rewards = optimism.earned(
    found, REWARDS, mirror.cloned(jnp.zeros((H, S, A))), jnp.eye(S)[3]
  )
  np.testing.assert_allclose(rewards, REWARDS[0, 3].mean(), rtol=1e-6)
