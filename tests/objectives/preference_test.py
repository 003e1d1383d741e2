"""What links claim, summed over all pairs of a few responses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import grouped, listwise, preference
from jaxrl_llm.objectives.grouped import GroupLoss, Pairs
from jaxrl_llm.selection import pairs
from tests.objectives.grouped_test import batch, value_and_slope

RESPONSES = 5


def _world(seed=0):
  """Logits, a reference, an old policy, rewards: f32[5] each."""
  keys = jax.random.split(jax.random.key(seed), 4)
  logits, reward = (jax.random.normal(k, (RESPONSES,)) for k in keys[:2])
  reference, old = (
    jax.nn.log_softmax(jax.random.normal(k, (RESPONSES,))) for k in keys[2:]
  )
  return logits, reference, old, reward


def _over_pairs(link, score, gap, weights):
  losses = link(score[:, None], score[None, :], gap)
  return jnp.sum(weights * losses)


def _differences(x):
  return x[:, None] - x[None, :]


def _population(link, anchor, reward, weights):
  """logits -> the loss of all ordered pairs under Bradley-Terry labels."""
  wins = jax.nn.sigmoid(_differences(reward))

  def loss(logits):
    score = jax.nn.log_softmax(logits) - anchor
    return _over_pairs(link, score, _differences(reward), weights * wins)

  return loss


def _link(fn, **hyper):
  return lambda c, r, gap: fn(c, r, gap, **hyper)


def test_dpo_on_bradley_terry_labels_rests_at_the_tilted_reference():
  _, reference, _, reward = _world()
  loss = _population(
    _link(preference.logistic, weight=0.4), reference, reward, 1.0
  )
  best = reference + reward / 0.4
  np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-5)
  assert np.max(np.abs(jax.grad(loss)(reference))) > 1e-2


def test_debiased_loss_of_flipped_labels_is_the_loss_of_the_true_ones():
  margin = jnp.linspace(-30.0, 30.0, 61)
  noisy = [
    preference.debiased(c, r, 0.0, weight=0.3, flip=0.2)
    for c, r in ((margin, 0 * margin), (0 * margin, margin))
  ]
  clean = preference.logistic(margin, 0 * margin, 0.0, weight=0.3)
  np.testing.assert_allclose(
    0.8 * noisy[0] + 0.2 * noisy[1], clean, rtol=1e-5, atol=1e-6
  )


def test_smoothed_logistic_is_least_at_the_logit_of_trust():
  slope = jax.grad(
    lambda m: preference.logistic(m, 0.0, 0.0, weight=0.5, smoothing=0.2)
  )
  best = float(np.log(0.8 / 0.2)) / 0.5
  assert abs(slope(best)) < 1e-6 and slope(best - 1) < 0 < slope(best + 1)


def test_equal_responses_cost_log_two_and_move_nothing_as_a_pair():
  def loss(x):
    return preference.logistic(x, x, 0.0)

  np.testing.assert_allclose(loss(1.5), np.log(2), rtol=1e-6)
  np.testing.assert_allclose(jax.grad(loss)(1.5), 0, atol=1e-7)


@pytest.mark.parametrize('seed', range(3))
def test_regression_of_unit_gaps_is_ipo(seed):
  c, r = np.random.default_rng(seed).standard_normal((2, 9)).astype('f')
  first = preference.regression(c, r, 1.0, scale=1 / (2 * 0.3))
  second = preference.square(c, r, 1.0, weight=0.3)
  np.testing.assert_allclose(first, second, rtol=1e-5)


def test_a_penalty_counts_where_the_chosen_response_has_fallen():
  c, r = np.random.default_rng(0).standard_normal((2, 9)).astype('f')
  plain = preference.logistic(c, r, 0.0)
  off = preference.positive(c, r, 0.0, penalty=0.0)
  np.testing.assert_array_equal(off, plain)
  penalised = preference.positive(c, r, 0.0)
  np.testing.assert_array_equal(penalised[c > 0], plain[c > 0])
  assert np.all(penalised[c < 0] > plain[c < 0])


def test_slic_is_the_relative_hinge_of_inverse_slope():
  c, r = np.random.default_rng(0).standard_normal((2, 9)).astype('f')
  slic = preference.hinge(c, r, 0.0, width=4.0)
  relative = preference.hinge(c, r, 0.0, weight=0.25)
  np.testing.assert_allclose(slic, relative / 0.25, rtol=1e-5)


def test_simpo_without_margin_is_dpo_with_a_flat_reference():
  """With four tokens a row, log-ratios are four times the means, shifted."""
  (logp, old, mask), extras = batch()
  mask[:] = True
  extras |= {'ref_logp': np.full_like(logp, -1.3)}
  length = mask.shape[1]

  def run(score, weight):
    link = _partial(preference.logistic, weight=weight)
    fn = GroupLoss(Pairs(link), score, 4)
    return value_and_slope(fn, (logp, old, mask), extras)

  first = run(grouped.mean_likelihood, 2.0)
  second = run(grouped.to_reference, 2.0 / length)
  for x, y in zip(first, second):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


_partial = functools.partial


def test_regression_rests_at_a_step_of_mirror_descent():
  _, _, old, reward = _world()
  weights = jnp.exp(old)[:, None] * jnp.exp(old)[None, :]

  def loss(logits):
    score = jax.nn.log_softmax(logits) - old
    link = _link(preference.regression, scale=0.8)
    return _over_pairs(link, score, _differences(reward), weights)

  np.testing.assert_allclose(jax.grad(loss)(old + 0.8 * reward), 0, atol=1e-6)
  # Its first gradient is the policy gradient, 4 scale times.
  value = jax.grad(lambda x: -jax.nn.softmax(x) @ reward)(old)
  np.testing.assert_allclose(
    jax.grad(loss)(old), 4 * 0.8 * value, rtol=1e-4, atol=1e-6
  )


def test_soft_logistic_rests_at_the_tilted_anchor_and_ends_in_dpo():
  _, _, old, reward = _world()

  def loss(logits):
    score = jax.nn.log_softmax(logits) - old
    link = _link(preference.soft_logistic, weight=0.5)
    return _over_pairs(link, score, _differences(reward), 1.0)

  np.testing.assert_allclose(jax.grad(loss)(old + reward / 0.5), 0, atol=1e-5)
  c, r = np.random.default_rng(0).standard_normal((2, 9)).astype('f')
  np.testing.assert_allclose(
    preference.soft_logistic(c, r, np.inf, weight=0.5),
    preference.logistic(c, r, 1.0, weight=0.5),
    rtol=1e-6,
  )


@pytest.mark.parametrize('seed', range(3))
def test_pairwise_gradient_is_the_policy_gradient_also_off_policy(seed):
  logits, _, old, reward = _world(seed)
  weights = jnp.exp(old)[:, None] * jnp.exp(old)[None, :]

  def loss(x):
    score = jax.nn.log_softmax(x) - old
    gap = _differences(reward)
    return _over_pairs(preference.pairwise_gradient, score, gap, weights)

  exact = jax.grad(lambda x: -jax.nn.softmax(x) @ reward)(logits)
  np.testing.assert_allclose(
    jax.grad(loss)(logits), exact, rtol=1e-4, atol=1e-6
  )
  # Rewards of a prompt may all be shifted.
  reward = reward + 5.0
  np.testing.assert_allclose(
    jax.grad(loss)(logits), exact, rtol=1e-3, atol=1e-5
  )


@pytest.mark.parametrize(
  'link', [preference.separately_clipped, preference.jointly_clipped]
)
def test_clipped_pairs_equal_the_pairwise_gradient_on_policy(link):
  gap = jnp.array([1.0, -0.5])

  def slope(fn):
    return jax.grad(lambda s: jnp.sum(fn(s[0], s[1], gap)))(jnp.zeros((2, 2)))

  np.testing.assert_allclose(
    slope(link), slope(preference.pairwise_gradient), atol=1e-6
  )


@pytest.mark.parametrize(
  'link', [preference.separately_clipped, preference.jointly_clipped]
)
def test_clipped_pairs_do_not_move_further_than_the_clip(link):
  slope = jax.grad(lambda s: link(s[0], s[1], 1.0))(jnp.array([0.5, -0.5]))
  np.testing.assert_array_equal(slope, 0)


def test_self_play_raises_both_where_the_chosen_one_is_behind():
  def slope(c, r):
    return jax.grad(lambda s: preference.self_play(s[0], s[1], 0.0))(
      jnp.array([c, r])
    )

  assert np.all(np.asarray(slope(-0.1, 0.3)) < 0)
  assert np.all(np.asarray(slope(0.0, 0.0)) < 0)
  ahead = slope(0.1, 0.3)
  np.testing.assert_allclose(
    ahead,
    jax.grad(lambda s: preference.logistic(s[0], s[1], 0.0))(
      jnp.array([0.1, 0.3])
    ),
    rtol=1e-6,
  )


def test_one_turn_makes_refuel_rebel():
  arrays, extras = batch()
  extras |= {
    'turn': np.zeros(arrays[0].shape, int),
    'resampled': np.zeros(len(arrays[0]), int),
  }
  outcomes = [
    value_and_slope(
      GroupLoss(Pairs(preference.regression, pairs.every), score, 4),
      arrays,
      extras,
    )
    for score in (grouped.to_iterate, grouped.to_iterate_in_turn)
  ]
  for x, y in zip(*outcomes):
    np.testing.assert_allclose(x, y, rtol=1e-6)


def _of_two(loss, rewards=(1.0, 0.0)):
  scores = jnp.array([[0.7, -0.4]])
  given = jnp.array([rewards])
  live = jnp.ones((1, 2), bool)

  def total(s):
    return jnp.sum(loss(s, given, live))

  return jax.value_and_grad(total)(scores)


_DPO = Pairs(_partial(preference.logistic, weight=0.05))


@pytest.mark.parametrize(
  'loss',
  [
    listwise.plackett_luce,
    listwise.softmax,
    Pairs(_partial(preference.logistic, weight=0.05), pairs.each_better),
    Pairs(_partial(preference.logistic, weight=0.05), pairs.best_and_worst),
    _partial(listwise.group_equivalent, weight=0.05),
    _partial(listwise.group_equivalent, weight=0.05, variance=9.0),
  ],
)
def test_a_list_of_two_is_dpo(loss):
  for x, y in zip(_of_two(loss), _of_two(_DPO)):
    np.testing.assert_allclose(x, y, rtol=1e-5)


def test_lambda_of_two_is_dpo_times_the_gain_of_the_swap():
  rewards = (0.8, 0.3)
  loss = Pairs(_partial(preference.logistic, weight=0.05), pairs.by_rank)
  factor = (2**0.8 - 2**0.3) * (1 / np.log(2) - 1 / np.log(3))
  for x, y in zip(_of_two(loss, rewards), _of_two(_DPO, rewards)):
    np.testing.assert_allclose(x, factor * y, rtol=1e-5)


def test_wrong_order_of_a_list_raises_its_likelihood_loss():
  scores, live = jnp.array([[3.0, 2.0, 1.0]]), jnp.ones((1, 3), bool)
  right = listwise.plackett_luce(scores, jnp.array([[2.0, 1.0, 0.0]]), live)
  wrong = listwise.plackett_luce(scores, jnp.array([[0.0, 1.0, 2.0]]), live)
  assert right < wrong


def test_accepted_rows_beat_refused_ones_even_with_lower_rewards():
  rewards = jnp.array([[0.2, 0.9, 0.5]])
  live = jnp.ones((1, 3), bool)
  judged = jnp.array([[1.0, 0.0, 1.0]])

  def weigh(judged):
    components = jnp.stack([rewards, judged], axis=-1)
    return pairs.constrained(rewards, rewards, live, components=components)

  weights = weigh(judged)
  assert weights[0, 2, 1] == 1 and weights.sum() == 1
  assert not np.any(weigh(jnp.zeros_like(judged)))


def test_siblings_below_the_gap_are_no_pair():
  rewards = jnp.array([[0.2, 0.9, 0.5, 0.45]])
  path = jnp.array([[[0, 0], [0, 1], [1, 0], [1, 1]]])
  live = jnp.ones((1, 4), bool)
  alike = jnp.array([[[1.0, 0.5], [0.5, 1.0]] * 2])
  weigh = functools.partial(
    pairs.siblings, rewards, rewards, live, node_path=path, overlap=alike
  )
  weights = weigh(gap=0.1)
  assert weights[0, 1, 0] == 1 and weights.sum() == 1
  assert weigh().sum() == 1 and weigh()[0, 2, 3] == 0.5
  # Pairs whose best is bad, or that say nearly the same, are left out.
  assert weigh(least=0.6)[0, 1, 0] == 1 and weigh(least=0.95).sum() == 0
  assert weigh(limit=0.5).sum() == 1 and weigh(limit=0.49).sum() == 0


@pytest.mark.parametrize(
  ('link', 'best'),
  [
    (preference.contrast, lambda a, b: 2 * a / (a + b)),
    (preference.classify, lambda a, b: a / b),
  ],
)
def test_losses_of_each_response_rest_at_absolute_scores(link, best):
  """For a response that is chosen and rejected with frequencies a and b."""
  a, b = 0.7, 0.2

  def loss(score):
    other = 0.4
    chosen = link(score, other, 0.0, weight=0.5)
    return a * chosen + b * link(other, score, 0.0, weight=0.5)

  rest = np.log(best(a, b)) / 0.5
  np.testing.assert_allclose(jax.grad(loss)(rest), 0, atol=1e-6)


@pytest.mark.parametrize('link', [preference.contrast, preference.classify])
def test_the_weight_of_absolute_scores_is_the_papers_by_default(link):
  scores = 3.0, -2.0, 0.0
  np.testing.assert_allclose(link(*scores), link(*scores, weight=0.01))


def test_the_exact_loss_rests_at_the_logit_of_its_confidence():
  slope = jax.grad(
    lambda m: preference.exact(m, 0.0, 0.0, weight=0.5, confidence=0.8)
  )
  best = float(np.log(0.8 / 0.2)) / 0.5
  assert abs(slope(best)) < 1e-6 and slope(best - 1) < 0 < slope(best + 1)


def test_the_discovered_loss_has_the_two_extrema_of_its_paper():
  x = jnp.linspace(-1.0, 1.0, 4001)
  losses = preference.discovered(x / 0.05, 0 * x, 0.0)
  inner = losses[1:-1]
  turns = (inner - losses[:-2]) * (losses[2:] - inner) < 0
  places = x[1:-1][turns]
  np.testing.assert_allclose(places, [-0.1186, 0.0720], atol=1e-3)
  np.testing.assert_allclose(inner[turns], [0.78592, 0.87829], atol=1e-4)


def test_anchored_losses_move_both_responses_as_they_say():
  up = jax.grad(preference.anchored, (0, 1))(0.3, -0.2, 0.0)
  down = jax.grad(preference.anchored_down, (0, 1))(0.0, 0.0, 0.0)
  assert up[0] < 0 < up[1]
  assert abs(down[0]) < 1e-7 and down[1] > 0
  steeper = jax.grad(preference.anchored_down, (0, 1))(0.0, -30.0, 0.0)
  assert steeper[0] > 0 and steeper[1] > 0
