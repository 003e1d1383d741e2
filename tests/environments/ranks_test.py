import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import base, ranks
from jaxrl_llm.environments.ranks import Ranks

KEY = jax.random.key(0)
WORLD = Ranks(
  sequences=3,
  horizon=4,
  length=7,
  width=4,
  intrinsic=(1, 3),
  ranks=(1, 2, 4),
  tolerance=2.0,
  decay=0.8,
)
FREE = Ranks(**vars(WORLD) | {'tolerance': np.inf})


def softmax(scores):
  weights = [np.exp(row - max(row)) for row in scores]
  return np.array([row / sum(row) for row in weights])


def kept(x, rank):
  """By the eigenvectors of x'x, of which the largest are kept."""
  _, vectors = np.linalg.eigh(x.T @ x)
  largest = vectors[:, ::-1][:, :rank]
  return x @ largest @ largest.T


def reward(q, k, v, before, after):
  """From the formula, for one segment."""
  d = q.shape[1]
  full = softmax(q @ k.T / np.sqrt(d))
  low = softmax(kept(q, after) @ kept(k, after).T / np.sqrt(d)) @ v
  cosines = [
    a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for a, b in zip(full @ v, low)
  ]
  cost = 2 * len(q) * after * d if after < d else 2 * len(q) ** 2 * d
  difference = kept(full, after) - kept(full, before)
  return (
    np.mean(cosines)
    - 0.5 * cost / (2 * len(q) ** 2 * d)
    - 0.1 * np.sqrt(np.sum(difference**2))
  )


def test_rewards_are_the_formula_s():
  for task, t, a, b in itertools.product(
    range(3), range(4), range(3), range(3)
  ):
    parts = [x[task, t] for x in WORLD.segments]
    expected = reward(*parts, WORLD.ranks[a], WORLD.ranks[b])
    np.testing.assert_allclose(
      WORLD.rewards[task, t, a, b], expected, atol=1e-9
    )


def test_what_a_change_changes_is_known_and_bounded_for_all_pairs():
  q, k, v = (x[1, 2] for x in WORLD.segments)
  whole = ranks.attention(q, k)
  sigma = np.linalg.svd(whole, compute_uv=False)
  norm = np.linalg.norm(v)
  tight = []
  for a, b in itertools.product(range(8), repeat=2):
    moved = ranks.truncated(whole, b) - ranks.truncated(whole, a)
    found = ranks.changed(sigma, a, b)
    np.testing.assert_allclose(found, np.linalg.norm(moved), atol=1e-12)
    most = ranks.bound(sigma, a, b, norm)
    np.testing.assert_allclose(
      most, np.linalg.norm(moved, 2) * norm, atol=1e-12
    )
    assert np.linalg.norm(moved @ v) <= most + 1e-12
    tight.append(most)
  assert max(tight) > 0


def test_full_rank_is_full_attention():
  np.testing.assert_allclose(WORLD.likeness[..., -1], 1, atol=1e-9)
  assert ranks.operations(7, 4, 4) == ranks.operations(7, 4, 5) == 1
  np.testing.assert_allclose(WORLD.energies[..., [2, 5]], 1)
  # Of one dimension and little noise a rank of 1 keeps nearly all.
  assert WORLD.energies[..., 0].max() > 0.95 > WORLD.energies[..., 0].min()


@pytest.mark.parametrize('world', [WORLD, FREE])
def test_the_optimum_is_the_best_of_all_ways(world):
  every = []
  for ways in itertools.product(range(3), repeat=4):
    total, before, legal = np.zeros(3), 2, np.ones(3, bool)
    for t, after in enumerate(ways):
      total += world.rewards[:, t, before, after]
      legal &= world.allowed[:, t, before, after]
      before = after
    every.append(np.where(legal, total, -np.inf))
    if len(set(ways)) == 1:
      fixed = world.fixed_return(world.ranks[ways[0]])
      np.testing.assert_allclose(fixed, total)
  np.testing.assert_allclose(world.optimal_return, np.max(every, axis=0))


def test_it_pays_shows_and_forbids_as_its_tables_say():
  tasks = jnp.array([2, 0])
  state, before = WORLD.reset(tasks, KEY), np.array([2, 2])
  forbidden = 0
  for t, action in enumerate(([0, 1], [2, 1], [1, 0], [1, 0])):
    seen = WORLD.observe(state)
    left = 1e-4 + 1 - WORLD.energies[[2, 0], t]
    np.testing.assert_allclose(seen[:, :6], np.log10(left) / -4, atol=1e-5)
    np.testing.assert_array_equal(seen[:, 6:], np.eye(3)[before])
    legal = np.asarray(WORLD.legal(state))
    for row, task in enumerate((2, 0)):
      for b in range(3):
        most = WORLD.changes[1][task, t, before[row], b]
        fits = most <= 2.0 * 0.8**t or b == before[row]
        assert legal[row, b] == fits
        forbidden += not fits
    state, outcome = WORLD.step(state, jnp.array(action), KEY)
    expected = WORLD.rewards[[2, 0], t, before, action]
    np.testing.assert_allclose(outcome.reward, expected, rtol=1e-5)
    np.testing.assert_array_equal(outcome.terminated, [t == 3] * 2)
    before = np.array(action)
  assert forbidden > 0 and FREE.legal(state) is None


def test_a_policy_that_stays_gets_the_fixed_return():
  def choose(state, key):
    return jnp.full(state.rank.shape, 1)

  found = base.returns(FREE, choose, jnp.arange(3), KEY)
  np.testing.assert_allclose(found, FREE.fixed_return(2), rtol=1e-5)


@pytest.mark.parametrize('wrong', [(2, 1), (0, 2), (1, 8)])
def test_ranks_that_cannot_be_kept_are_refused(wrong):
  with pytest.raises(ValueError, match='rank'):
    Ranks(width=4, ranks=wrong)
