from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.rewards import duels
from jaxrl_llm.tabular import games, policy
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.oracles import games as oracle

ROWS, SAMPLES = 12, 4
SPEC = Spec(ROWS, SAMPLES, 1, 3)
_KINDS = [
  'against_all',
  'against_others',
  'against_opponents',
  'against_mixture',
]


def _case(seed=0, given=True):
  rng = np.random.default_rng(seed)
  mask = np.arange(3) < rng.integers(1, 4, ROWS)[:, None]
  group = np.arange(ROWS, dtype=np.int32) // SAMPLES
  rollouts = policy.as_rollouts(
    np.zeros((ROWS, 3), int), mask, group=jnp.asarray(group)
  )
  extras = {
    'opponent': jnp.asarray(np.arange(ROWS) % SAMPLES < 2),
    'old_logp': jnp.asarray(rng.standard_normal((ROWS, 3)), jnp.float32),
    'ref_logp': jnp.asarray(rng.standard_normal((ROWS, 3)), jnp.float32),
  }
  rollouts = rollouts.replace(
    valid=jnp.asarray(np.arange(ROWS) != 5), extras=extras
  )
  preference = rng.random((ROWS, SAMPLES)).astype('f') if given else None
  if given:
    preference[5] = np.nan
  scores = Scores(jnp.zeros((ROWS, 1)), jnp.ones(1), preference)
  rewards = jnp.asarray(rng.integers(0, 3, ROWS), jnp.float32)
  credit = initial_credit(rollouts, scores).replace(rewards=rewards)
  return rollouts, credit


def _weights(kind, rollouts, rows, share):
  extras = {k: np.asarray(v, 'd')[rows] for k, v in rollouts.extras.items()}
  size = len(rows)
  if kind == 'against_all':
    return np.ones((size, size))
  if kind == 'against_others':
    return 1 - np.eye(size)
  if kind == 'against_opponents':
    return np.tile(extras['opponent'], (size, 1))
  mask = np.asarray(rollouts.loss_mask)[rows]
  gap = ((extras['old_logp'] - extras['ref_logp']) * mask).sum(1)
  return np.tile(np.exp(-share * gap), (size, 1)) * (1 - np.eye(size))


@pytest.mark.parametrize('given', [True, False])
@pytest.mark.parametrize('kind', _KINDS)
def test_chances_to_win_equal_the_loops(kind, given):
  rollouts, credit = _case(given=given)
  fn = getattr(duels, kind)
  if kind == 'against_mixture':
    fn = partial(fn, share=0.4)
  found, _ = duels.Duels(fn, SAMPLES).update(credit, rollouts, ())
  for start in range(0, ROWS, SAMPLES):
    rows = np.arange(start, start + SAMPLES)
    rewards = np.asarray(credit.rewards)[rows]
    if given:
      game = np.asarray(credit.preference, 'd')[rows]
    else:
      game = oracle.judged(rewards)
    live = np.asarray(rollouts.valid)[rows]
    expected = oracle.rates(game, live, _weights(kind, rollouts, rows, 0.4))
    np.testing.assert_allclose(
      found.rewards[rows], expected, rtol=1e-5, atol=1e-6
    )


def test_chances_against_the_others_average_to_a_draw():
  rollouts, credit = _case(given=False)
  stage = duels.Duels(duels.against_others, SAMPLES)
  found, _ = stage.update(credit, rollouts, ())
  means = np.asarray(found.rewards).reshape(-1, SAMPLES)[[0, 2]].mean(1)
  np.testing.assert_allclose(means, 0.5, rtol=1e-6)


def test_including_oneself_rescales_the_chance():
  """With itself: 1 / (2 K) + (K - 1) / K of the chance without."""
  rollouts, credit = _case(given=False)
  with_self, without = (
    np.asarray(duels.Duels(fn, SAMPLES).update(credit, rollouts, ())[0].rewards)
    for fn in (duels.against_all, duels.against_others)
  )
  full = np.r_[0:4, 8:12]
  np.testing.assert_allclose(
    with_self[full], 1 / 8 + 3 / 4 * without[full], rtol=1e-6
  )


@pytest.mark.parametrize('kind', _KINDS)
def test_without_an_opponent_the_chance_is_a_half(kind):
  rollouts, credit = _case()
  alone = jnp.asarray(np.arange(ROWS) == 2)
  fn = getattr(duels, kind)
  found, _ = duels.Duels(fn, SAMPLES).update(
    credit.replace(preference=None), rollouts.replace(valid=alone), ()
  )
  np.testing.assert_allclose(found.rewards, np.where(alone, 0.5, 0))


def test_mixture_of_share_zero_is_self_play():
  rollouts, credit = _case()
  first, second = (
    duels.Duels(fn, SAMPLES).update(credit, rollouts, ())[0].rewards
    for fn in (
      partial(duels.against_mixture, share=0.0),
      duels.against_others,
    )
  )
  np.testing.assert_allclose(first, second, rtol=1e-6)


def test_many_weighted_rows_are_the_mixture():
  """Of 4,000 rows; the estimate is off by about 1 / sqrt(4000) = 2 %."""
  rng = np.random.default_rng(0)
  game = 1 / (1 + np.exp(-np.array([[0, 1.5, -2], [-1.5, 0, 1], [2, -1, 0]])))
  old, ref = np.log([0.2, 0.5, 0.3]), np.log([0.6, 0.1, 0.3])
  kind = rng.choice(3, 4000, p=np.exp(old))
  rollouts = policy.as_rollouts(np.zeros((4000, 1), int), np.ones((4000, 1)))
  extras = {
    'old_logp': jnp.asarray(old[kind][:, None], jnp.float32),
    'ref_logp': jnp.asarray(ref[kind][:, None], jnp.float32),
  }
  rates = duels.against_mixture(
    jnp.asarray(game[kind][:, kind], jnp.float32)[None],
    jnp.ones((1, 4000), bool),
    rollouts.replace(extras=extras),
    share=0.5,
  )[0]
  mix = np.exp(0.5 * (old + ref))
  exact = game @ (mix / mix.sum())
  for action in range(3):
    np.testing.assert_allclose(
      rates[np.flatnonzero(kind == action)[0]], exact[action], atol=0.04
    )


def test_own_rows_train_and_opponents_do_not():
  rollouts, _ = _case()
  keep = duels.own_rows(jnp.zeros((ROWS, 3)), rollouts)
  np.testing.assert_array_equal(keep[:, 0], ~rollouts.extras['opponent'])
  shaped = duels.less_a_half(jnp.array([0.5, 1.0]), rollouts)
  np.testing.assert_array_equal(shaped, [0.0, 0.5])


def test_divergence_is_charged_to_the_row():
  rollouts, credit = _case()
  charged = duels.less_divergence(credit.rewards, rollouts, weight=0.3)
  mask = np.asarray(rollouts.loss_mask)
  gap = np.asarray(rollouts.extras['old_logp'] - rollouts.extras['ref_logp'])
  for i in range(ROWS):
    cost = 0.3 * sum(gap[i, t] for t in range(3) if mask[i, t])
    np.testing.assert_allclose(charged[i], credit.rewards[i] - cost, atol=1e-5)


def test_self_play_descends_the_regularised_game():
  """Over all pairs of draws: E[-A grad log p] of two rows, on policy."""
  game = 1 / (1 + np.exp(-np.array([[0, 1.5, -2], [-1.5, 0, 1], [2, -1, 0]])))
  start = jax.nn.log_softmax(jnp.array([0.3, -0.8, 0.5]))
  reference = jax.nn.log_softmax(jnp.array([-0.2, 0.9, 0.1]))
  recipe = recipes.build('nash_self_play', samples=2, kl_weight=0.3)

  def advantages(pair):
    rows = np.array(pair)
    rollouts = policy.as_rollouts(
      np.zeros((2, 1), int), np.ones((2, 1)), group=jnp.zeros(2, jnp.int32)
    )
    extras = {
      'old_logp': start[rows][:, None],
      'ref_logp': reference[rows][:, None],
    }
    rollouts = rollouts.replace(extras=extras)
    preference = jnp.asarray(game[rows][:, rows], jnp.float32)
    scores = Scores(jnp.zeros((2, 1)), jnp.ones(1), preference)
    credit = initial_credit(rollouts, scores)
    state = recipe.credit.init(None)
    return recipe.credit.update(credit, rollouts, state)[0].advantages[:, 0]

  table = {(i, j): advantages((i, j)) for i in range(3) for j in range(3)}

  def sampled(logits):
    logp, total = jax.nn.log_softmax(logits), 0.0
    for (i, j), a in table.items():
      chance = jnp.exp(start[i] + start[j])
      total -= chance * (a[0] * logp[i] + a[1] * logp[j]) / 2
    return total

  def exact(logits):
    logp = jax.nn.log_softmax(logits)
    drift = games.kl(logp, reference)
    return 0.3 * drift - jnp.exp(logp) @ games.win_rate(game, start)

  np.testing.assert_allclose(
    jax.grad(sampled)(start), jax.grad(exact)(start), atol=1e-5
  )


def test_who_wins_is_drawn_by_the_chances_once_for_both():
  chances = jnp.array([[[0.5, 0.75, 0.5], [0.25, 0.5, 1.0], [0.5, 0.0, 0.5]]])
  keys = jax.random.split(jax.random.key(0), 4000)
  won = jax.vmap(lambda key: duels.drawn(key, chances))(keys)
  np.testing.assert_array_equal(won + jnp.swapaxes(won, -1, -2), 1)
  assert set(np.unique(won).tolist()) == {0.0, 0.5, 1.0}
  # Three standard errors of 0.75; sure and even ones do not vary.
  np.testing.assert_allclose(won.mean(0), chances, atol=0.021)
  sure = won[:, 0, [0, 0, 1], [0, 2, 2]]
  np.testing.assert_array_equal(sure, jnp.broadcast_to(sure[0], sure.shape))


def test_drawn_duels_reward_what_was_drawn_anew_each_iteration():
  rollouts, credit = _case()
  stage = duels.DrawnDuels(duels.against_others, SAMPLES)
  state, seen = stage.init(SPEC), []
  for _ in range(2):
    found, state = stage.update(credit, rollouts, state)
    won = np.asarray(found.preference).reshape(-1, SAMPLES, SAMPLES)
    live = np.asarray(rollouts.valid).reshape(-1, SAMPLES)
    for rows, alive, rewards in zip(
      won, live, np.asarray(found.rewards).reshape(-1, SAMPLES)
    ):
      for i in range(SAMPLES):
        others = [rows[i, j] for j in range(SAMPLES) if alive[j] and j != i]
        assert rewards[i] == pytest.approx(np.mean(others) if alive[i] else 0)
    seen.append(won)
  assert (seen[0] != seen[1]).any()
