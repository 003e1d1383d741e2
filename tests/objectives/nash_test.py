"""Game losses against loops, and against the exact steps they stand for."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import grouped, nash, preference
from jaxrl_llm.objectives.grouped import GroupLoss, Pairs
from jaxrl_llm.tabular import games
from tests.objectives.grouped_test import batch, value_and_slope
from tests.oracles import games as oracle
from tests.oracles import offline, scores
from tests.oracles import preference as pairs_oracle

SAMPLES = 4
GAME = 1 / (1 + np.exp(-np.array([[0, 1.5, -2], [-1.5, 0, 1], [2, -1, 0]])))
START = jax.nn.log_softmax(jnp.array([0.3, -0.8, 0.5]))
REFERENCE = jax.nn.log_softmax(jnp.array([-0.2, 0.9, 0.1]))


def _case(seed=0):
  arrays, extras = batch(seed, levels=7)
  extras['rewards'] = np.round(extras['rewards'] * 7) / 6
  extras['opponent'] = np.arange(len(arrays[0])) % SAMPLES == 1
  extras['offline'] = np.arange(len(arrays[0])) % SAMPLES == 3
  return arrays, extras


@pytest.mark.parametrize('seed', [0, 1])
def test_win_rate_regression_equals_the_loop(seed):
  arrays, extras = _case(seed)
  logp, old, mask = arrays
  fn = GroupLoss(
    partial(nash.win_rate_regression, scale=3.0), grouped.to_iterate, SAMPLES
  )

  def rule(moved):
    return pairs_oracle.lists(
      moved,
      logp,
      old,
      mask,
      extras,
      score=scores.to_iterate,
      loss=partial(oracle.win_rate_regression, scale=3.0),
      samples=SAMPLES,
    )

  losses, slope = value_and_slope(fn, arrays, extras)
  np.testing.assert_allclose(losses, rule(logp), rtol=1e-4, atol=1e-4)
  expected = offline.slope(rule, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ('link', 'among', 'names'),
  [
    (partial(nash.hard_regression, scale=3.0), None, ('better',)),
    (preference.logistic, nash.decisive, ('decisive',)),
    (preference.regression, nash.own_pairs, ('own_pairs',)),
  ],
  ids=['hard', 'decisive', 'own'],
)
def test_pairs_of_games_equal_the_loops(link, among, names):
  arrays, extras = _case()
  logp, old, mask = arrays
  loss = Pairs(link, among) if among else Pairs(link)
  fn = GroupLoss(loss, grouped.to_iterate, SAMPLES)
  inner = getattr(link, 'func', link).__name__
  scalar = getattr(oracle, inner, None) or getattr(pairs_oracle, inner)
  weigh = getattr(oracle, names[0], None) or getattr(pairs_oracle, names[0])

  def rule(moved):
    return pairs_oracle.pairs(
      moved,
      logp,
      old,
      mask,
      extras,
      score=scores.to_iterate,
      link=partial(scalar, **getattr(link, 'keywords', {})),
      among=weigh,
      gap=lambda i, j: extras['rewards'][i] - extras['rewards'][j],
      samples=SAMPLES,
    )

  assert np.any(rule(logp) != 0)
  losses, slope = value_and_slope(fn, arrays, extras)
  np.testing.assert_allclose(losses, rule(logp), rtol=1e-4, atol=1e-4)
  expected = offline.slope(rule, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


@functools.cache
def _proximal(weight, pull):
  def total(logp, old, mask, extras):
    losses = nash.proximal_game(
      logp, old, None, mask, group=None, **extras, weight=weight, pull=pull
    )
    return jnp.sum(losses), losses

  return jax.jit(jax.value_and_grad(total, has_aux=True))


@pytest.mark.parametrize('seed', [0, 1])
def test_proximal_game_equals_the_loop(seed):
  (logp, old, mask), extras = _case(seed)
  given = {k: extras[k] for k in ('ref_logp', 'preference', 'valid')}
  single = {
    k: np.asarray(v, bool if v.dtype == bool else 'f') for k, v in given.items()
  }
  (_, losses), slope = _proximal(0.3, 0.5)(
    np.asarray(logp, 'f'), np.asarray(old, 'f'), mask, single
  )

  def rule(moved):
    return oracle.proximal_game(
      moved, logp, old, mask, extras, SAMPLES, weight=0.3, pull=0.5
    )

  np.testing.assert_allclose(losses, rule(logp), rtol=1e-4, atol=1e-4)
  expected = offline.slope(rule, logp)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_rows_without_peers_or_tokens_are_finite():
  (logp, old, mask), extras = _case()
  given = {k: extras[k] for k in ('ref_logp', 'preference', 'valid')}
  for valid, chosen in (
    (np.zeros(len(logp), bool), mask),
    (extras['valid'], np.zeros_like(mask)),
    (np.arange(len(logp)) % SAMPLES == 0, mask),
  ):
    (_, losses), slope = _proximal(0.3, 0.5)(
      logp.astype('f'), old.astype('f'), chosen, given | {'valid': valid}
    )
    assert np.all(np.isfinite(losses)) and np.all(np.isfinite(slope))


# One action is one response; sums over all pairs are exact expectations.


def _of_pairs(logits, loss):
  """E over two responses of START of `loss(rows of log-probs, actions)`."""
  logp = jax.nn.log_softmax(logits)
  total = 0.0
  for i in range(3):
    for j in range(3):
      chance = jnp.exp(START[i] + START[j])
      total += chance * loss(logp, np.array([i, j]))
  return total


def test_proximal_game_descends_the_proximal_objective():
  weight, pull = 0.3, 0.5

  def sampled(logp, pair):
    rows = [x[pair][:, None] for x in (logp, START, REFERENCE)]
    return jnp.sum(
      nash.proximal_game(
        rows[0],
        rows[1],
        None,
        np.ones((2, 1), bool),
        ref_logp=rows[2],
        preference=jnp.asarray(GAME[pair][:, pair]),
        group=None,
        valid=np.ones(2, bool),
        weight=weight,
        pull=pull,
      )
    )

  def exact(logits):
    logp = jax.nn.log_softmax(logits)
    won = jnp.exp(logp) @ games.win_rate(GAME, START)
    drift = games.kl(logp, REFERENCE)
    return weight * drift + weight / pull * games.kl(logp, START) - won

  away = START + jnp.array([0.4, -0.3, 0.1])
  slope = jax.grad(_of_pairs)(away, sampled) / 2  # two rows each
  np.testing.assert_allclose(slope, jax.grad(exact)(away), atol=1e-5)


def _in_pairs(link, anchor, labels, weights):
  def loss(logits):
    score = jax.nn.log_softmax(logits) - anchor
    losses = link(score[:, None], score[None, :], labels)
    return jnp.sum(weights * losses)

  return loss


def test_binary_labels_make_inpo_rest_at_the_step_of_mirror_descent():
  eta, tau = 0.7, 0.2
  anchor = tau / eta * REFERENCE + (1 - tau / eta) * START
  sampled = jnp.exp(START)[:, None] * jnp.exp(START)[None, :]
  # Row i is the chosen one as often as it wins.
  loss = _in_pairs(
    partial(preference.square, weight=eta), anchor, 0.0, 2 * sampled * GAME
  )
  step = games.anchored_step(
    START,
    REFERENCE,
    games.win_rate(GAME, START),
    step_size=1 / eta,
    weight=tau,
  )
  np.testing.assert_allclose(jax.grad(loss)(step), 0, atol=1e-5)
  assert np.max(np.abs(jax.grad(loss)(START))) > 1e-2


def test_soft_labels_of_win_rates_make_dno_rest_at_the_tilted_iterate():
  rate = games.win_rate(GAME, START)
  gap = rate[:, None] - rate[None, :]
  link = partial(preference.soft_logistic, weight=0.4)
  loss = _in_pairs(link, START, gap, 1.0)
  np.testing.assert_allclose(jax.grad(loss)(START + rate / 0.4), 0, atol=1e-5)


def test_online_ipo_rests_at_the_regularised_equilibrium():
  weight = 0.4
  target = jnp.asarray(
    games.regularised_equilibrium(GAME, REFERENCE, weight=weight), 'f'
  )

  def slope(policy):
    played = jnp.exp(policy)[:, None] * jnp.exp(policy)[None, :]
    link = partial(preference.regression, scale=1 / weight)
    return jax.grad(_in_pairs(link, REFERENCE, GAME - 0.5, played))(policy)

  np.testing.assert_allclose(slope(target), 0, atol=1e-5)
  assert np.max(np.abs(slope(REFERENCE))) > 1e-2


def test_a_gradient_step_of_online_ipo_is_an_extragradient_step():
  """theta - (eta beta n / 4) grad L(theta; half) is the tabular step."""
  weight, eta = 0.4, 0.2

  def step(opponent):
    rate = games.win_rate(GAME, opponent)
    link = partial(preference.regression, scale=1 / weight)
    gap = rate[:, None] - rate[None, :]
    loss = _in_pairs(link, REFERENCE, gap, 1 / 9)
    return jax.nn.log_softmax(
      START - eta * weight * 3 / 4 * jax.grad(loss)(START)
    )

  expected = games.egpo_step(
    GAME, START, REFERENCE, step_size=eta, weight=weight
  )
  np.testing.assert_allclose(step(step(START)), expected, atol=1e-5)


def test_win_rate_regression_starts_along_the_gain_of_the_game():
  rate, scale = games.win_rate(GAME, START), 2.0

  def loss(logits):
    score = jax.nn.log_softmax(logits) - START
    return jnp.sum(jnp.exp(START) * (score - scale * (rate - 0.5)) ** 2 / 2)

  def won(logits):
    return jax.nn.softmax(logits) @ rate

  np.testing.assert_allclose(
    jax.grad(loss)(START), -scale * jax.grad(won)(START), atol=1e-5
  )


def test_sure_winners_make_sppo_hard():
  scores = jnp.array([[0.7, -0.4]])
  live = jnp.ones((1, 2), bool)
  sure = jnp.array([[1.0, 0.0]])
  soft = nash.win_rate_regression(scores, sure, live, scale=3.0)
  hard = nash.hard_regression(scores[:, 0], scores[:, 1], 1.0, scale=3.0)
  np.testing.assert_allclose(soft, hard / 2, rtol=1e-6)
