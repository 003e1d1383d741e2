import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.rewards import learned
from tests.oracles import rating as oracle


def _pairs(seed=0):
  return np.random.default_rng(seed).standard_normal((2, 7)).astype('f')


def _sigmoid(x):
  return 1 / (1 + np.exp(-np.float64(x)))


def test_bradley_terry_is_the_chance_of_the_choice():
  chosen, rejected = _pairs()
  found = learned.bradley_terry(chosen, rejected, margin=0.5, centring=0.01)
  for i in range(7):
    gap = np.float64(chosen[i]) - rejected[i] - 0.5
    expected = -np.log(_sigmoid(gap)) + 0.01 * (chosen[i] + rejected[i]) ** 2
    np.testing.assert_allclose(found[i], expected, rtol=1e-5)


def test_reaction_is_the_cross_entropy_and_rests_at_the_rate():
  logits = _pairs()[0]
  found = learned.reaction(logits, (logits > 0) * 1.0)
  expected = [-np.log(_sigmoid(x if x > 0 else -x)) for x in logits]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  rate = jnp.log(0.3 / 0.7)
  np.testing.assert_allclose(
    jax.grad(learned.reaction)(rate, 0.3), 0, atol=1e-6
  )


def test_people_are_assigned_to_the_model_that_explains_them():
  margins = np.random.default_rng(0).standard_normal((9, 3)).astype('f')
  annotator = np.array([0, 0, 1, 1, 1, 3, 3, 0, 1])
  found = learned.assigned(margins, annotator, 4)
  for person in range(4):
    rows = margins[annotator == person].astype('d')
    score = np.log(_sigmoid(rows)).sum(0) if len(rows) else np.zeros(3)
    assert found[person] == np.argmax(score)
  losses = learned.mixture_losses(margins, annotator, found)
  for u in range(3):
    own = [i for i in range(9) if found[annotator[i]] == u]
    expected = np.mean(-np.log(_sigmoid(margins[own, u]))) if own else 0.0
    np.testing.assert_allclose(losses[u], expected, rtol=1e-5)


def test_hard_em_separates_two_groups_of_people():
  """Tastes are opposite; alternating steps find both, up to their order."""
  rng = np.random.default_rng(0)
  features = rng.standard_normal((200, 2)).astype('f')
  annotator = rng.integers(0, 10, 200)
  taste = np.where(annotator % 2 == 0, 1.0, -1.0)
  features *= (np.sign(features[:, :1]) * taste[:, None]).astype('f')
  weights = jnp.asarray(0.1 * rng.standard_normal((2, 2)), jnp.float32)

  def step(weights, _):
    def loss(weights):
      margins = features @ weights.T
      people = learned.assigned(jax.lax.stop_gradient(margins), annotator, 10)
      return jnp.sum(learned.mixture_losses(margins, annotator, people))

    return weights - jax.grad(loss)(weights), None

  weights, _ = jax.lax.scan(step, weights, None, length=100)
  people = learned.assigned(features @ weights.T, annotator, 10)
  assert len(set(np.asarray(people)[::2].tolist())) == 1
  assert people[0] != people[1] and len(set(np.asarray(people)[1::2])) == 1


def test_doubt_is_the_expected_difference_of_two_draws():
  """Of 40,000 pairs of draws; off by about half a percent."""
  rng = np.random.default_rng(0)
  root = rng.standard_normal((3, 3))
  precision = root @ root.T + np.eye(3)
  draws = rng.multivariate_normal(
    np.zeros(3), 0.49 * np.linalg.inv(precision), size=(2, 40_000)
  )
  x = np.array([0.5, -1.0, 2.0])
  sampled = np.abs((draws[0] - draws[1]) @ x).mean()
  found = learned.doubt(
    jnp.asarray(x, 'f'), jnp.asarray(precision, 'f'), scale=0.7
  )
  np.testing.assert_allclose(found, sampled, rtol=0.02)


def test_what_was_asked_is_doubted_less():
  x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
  before = jnp.eye(2)
  after = learned.informed(before, x, jnp.array([True, False]))
  np.testing.assert_allclose(after, [[2.0, 0.0], [0.0, 1.0]])
  first, second = learned.doubt(x, after)
  assert first < second == learned.doubt(x[1], before)


def test_measures_of_comparisons_equal_their_loops():
  chosen, rejected = _pairs()
  chosen[0] = rejected[0]
  right = sum(0.5 if c == r else float(c > r) for c, r in zip(chosen, rejected))
  np.testing.assert_allclose(learned.accuracy(chosen, rejected), right / 7)
  square = np.mean((1 - _sigmoid(chosen - rejected)) ** 2)
  np.testing.assert_allclose(learned.brier(chosen, rejected), square, rtol=1e-5)
  line = np.polyfit(chosen.astype('d'), rejected, 1)
  left = rejected - np.polyval(line, chosen)
  share = 1 - left @ left / np.sum((rejected - rejected.mean()) ** 2)
  np.testing.assert_allclose(
    learned.r_squared(chosen, rejected), share, rtol=1e-4
  )
  assert learned.r_squared(jnp.ones(3), jnp.arange(3.0)) == 0


@pytest.mark.parametrize('n', [1, 2, 4, 6])
def test_best_of_n_is_the_mean_over_all_subsets(n):
  proxy, gold = np.random.default_rng(0).standard_normal((2, 6))
  subsets = itertools.combinations(range(6), n)
  brute = np.mean([gold[max(s, key=lambda i: proxy[i])] for s in subsets])
  np.testing.assert_allclose(learned.best_of(proxy, gold, n), brute, rtol=1e-10)


def test_best_of_more_than_there_are_is_refused():
  with pytest.raises(ValueError, match='best of 4 among 3'):
    learned.best_of([1, 2, 3], [1, 2, 3], 4)


@pytest.mark.parametrize('n', [1, 2, 5])
def test_divergence_of_best_of_n_is_bounded(n):
  """Of five responses of distinct scores: p_i^n laws of the maximum."""
  chance = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
  law = np.diff(np.r_[0.0, np.cumsum(chance)] ** n)
  kl = np.sum(law * np.log(law / chance))
  assert kl <= learned.best_of_divergence(n) + 1e-12
  assert learned.best_of_divergence(n) <= math.log(n)


def test_equal_proxies_of_the_best_of_n_are_put_in_order_at_random():
  rng = np.random.default_rng(0)
  proxy, gold = rng.integers(0, 3, 7), rng.standard_normal(7)
  for n in (1, 2, 5, 7):
    expected = oracle.best_of_n(proxy, gold, n)
    np.testing.assert_allclose(learned.best_of(proxy, gold, n), expected)
