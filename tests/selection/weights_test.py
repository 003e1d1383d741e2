import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import aggregate
from jaxrl_llm.selection import weights
from jaxrl_llm.types import Scores, initial_credit
from tests.advantages import cases
from tests.oracles import selection as oracle

STRATEGIES = {
  'best': weights.best_alone,
  'best_worst': weights.best_and_worst,
  'best_random': weights.best_and_random,
}


@pytest.mark.parametrize('case', ['real', 'holes', 'singletons', 'one', 'none'])
@pytest.mark.parametrize('name', STRATEGIES)
def test_filtration_equals_the_draw_probabilities(name, case):
  rewards, group, valid = cases.rows(case)
  if case == 'holes':  # ties are another test's
    rewards = rewards + np.linspace(0, 0.1, 16).astype('f')
  ours = jax.jit(STRATEGIES[name])(rewards, group, valid)
  expected = oracle.pf_ppo(rewards, group, valid, name)
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize('name', STRATEGIES)
def test_filtration_of_equal_rows_weighs_all_alike(name):
  rewards, group, valid = cases.rows('uniform')
  ours = STRATEGIES[name](rewards, group, valid)
  np.testing.assert_allclose(ours, 0.25, rtol=1e-6)


@pytest.mark.parametrize('name', STRATEGIES)
def test_filtration_keeps_the_weight_of_a_group(name):
  rows = cases.rows('binary')
  ours = np.asarray(STRATEGIES[name](*rows)).reshape(4, 4)
  np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize('name', STRATEGIES)
@pytest.mark.parametrize(
  'mean', [aggregate.token_mean, aggregate.sequence_mean]
)
def test_a_filtered_mean_is_the_mean_of_draws_with_replacement(name, mean):
  """Of rows drawn by their weights, as the paper fills its buffer anew."""
  rng = np.random.default_rng(0)
  rewards, group, valid = cases.rows('real')
  losses = rng.standard_normal((16, 3))
  keep = STRATEGIES[name](rewards, group, valid)
  ours = np.sum(losses * mean(np.ones((16, 3)), keep, group))
  chances = oracle.pf_ppo(rewards, group, valid, name)
  drawn = rng.choice(16, 200_000, p=chances / chances.sum())
  np.testing.assert_allclose(ours, losses[drawn].mean(), atol=0.01)


def _spread(values, share):
  rollouts = cases.rollouts(tokens=2, groups=len(values) // 4)
  full = jnp.ones((len(values), 2), bool)
  rollouts = rollouts.replace(
    response_mask=full, action_mask=full, valid=full[:, 0]
  )
  advantages = jnp.repeat(jnp.asarray(values)[:, None], 2, axis=1)
  fn = functools.partial(weights.spread_rows, share=share)
  return np.asarray(jax.jit(fn)(advantages, rollouts))[:, 0]


@pytest.mark.parametrize('share', [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize('seed', range(3))
def test_spread_rows_is_the_subset_of_largest_variance(seed, share):
  values = np.random.default_rng(seed).normal(size=8).astype(np.float32)
  kept = _spread(values, share)
  size = int(np.ceil(8 * share))
  assert kept.sum() == size
  best, _ = oracle.most_varied(values, size)
  variance = np.var(values[kept > 0])
  np.testing.assert_allclose(variance, best, rtol=1e-3)


def test_spread_rows_that_tie_share_their_places():
  values = np.array([1, 1, 1, 1, -1, -1, 0, 0], np.float32)
  kept = _spread(values, 0.5)
  np.testing.assert_allclose(kept, [0.5] * 4 + [1, 1, 0, 0])


def test_spread_rows_skips_rows_without_tokens():
  rollouts = cases.rollouts()
  advantages = jnp.where(rollouts.loss_mask, jnp.arange(16.0)[:, None], 0)
  kept = np.asarray(weights.spread_rows(advantages, rollouts, share=0.5))
  here = np.asarray(rollouts.loss_mask).any(axis=1)
  assert (kept.max(axis=1) > 0).sum() == np.ceil(here.sum() / 2)
  np.testing.assert_array_equal(kept[~np.asarray(rollouts.loss_mask)], 0)


@pytest.mark.parametrize('share', [0.3, 1.0])
def test_spread_tokens_takes_the_most_entropic_advantages(share):
  entropy = np.random.default_rng(0).random((16, 6)).astype(np.float32)
  mask = np.asarray(cases.rollouts().loss_mask)
  advantages = np.random.default_rng(1).normal(size=(16, 6)).astype('f')
  ours = np.asarray(
    weights.spread_tokens(advantages, entropy, mask, share=share)
  )
  score = np.where(mask, np.abs(advantages) * entropy, -1.0)
  size = int(np.ceil(share * mask.sum()))
  least = np.sort(score.ravel())[::-1][size - 1]
  np.testing.assert_array_equal(ours, (score >= least) * 1.0)


def test_one_spread_token_is_the_first_of_all():
  score = jnp.array([[1.0, 3.0], [2.0, 0.0]])
  ours = weights.spread_tokens(score, jnp.ones((2, 2)), score >= 0, share=0.1)
  np.testing.assert_array_equal(ours, score == 3)


def test_spread_tokens_keeps_all_when_nothing_is_learned():
  mask = np.asarray(cases.rollouts().loss_mask)
  ours = weights.spread_tokens(
    jnp.zeros((16, 6)), jnp.ones((16, 6)), mask, share=0.2
  )
  np.testing.assert_array_equal(ours, mask * 1.0)


def test_stage_chooses_among_the_tokens_still_kept():
  rollouts = cases.rollouts(old_entropy=np.ones((16, 6), 'f'))
  credit = initial_credit(rollouts, Scores(jnp.zeros((16, 1)), jnp.ones(1)))
  mask = np.asarray(rollouts.loss_mask)
  value = np.arange(96.0).reshape(16, 6)
  few = mask & (value < 48)
  credit = credit.replace(
    advantages=jnp.where(mask, value, 0), token_keep=0.5 * jnp.asarray(few)
  )
  stage = weights.Spread(1.0, 0.5, first_rows=1.0, first_tokens=0.5)
  after, _ = stage.update(credit, rollouts, stage.init(None))
  taken = np.sort(value[few])[few.sum() // 2 :]
  np.testing.assert_array_equal(
    after.token_keep, 0.5 * (few & np.isin(value, taken))
  )


def test_shares_grow_from_the_first_to_the_last_and_stay():
  rollouts = cases.rollouts(old_entropy=np.ones((16, 6), 'f'))
  credit = initial_credit(rollouts, Scores(jnp.zeros((16, 1)), jnp.ones(1)))
  mask = np.asarray(rollouts.loss_mask)
  rows = np.arange(1.0, 17.0)[:, None] * mask
  credit = credit.replace(advantages=jnp.asarray(rows))
  stage = weights.Spread(
    1.0, 1.0, first_rows=0.5, first_tokens=1.0, iterations=2
  )
  state, kept = stage.init(None), []
  for _ in range(4):
    after, state = stage.update(credit, rollouts, state)
    kept.append(np.any(after.token_keep > 0, axis=1).sum())
  live = mask.any(axis=1).sum()
  assert kept == [np.ceil(share * live) for share in (0.5, 0.75, 1, 1)]


def test_tokens_without_candidates_do_not_count():
  shape = cases.rollouts().loss_mask.shape
  named = np.full((*shape, 2), -1)
  named[::2, 1:, 0] = 3
  rollouts = cases.rollouts(candidates=named)
  found = weights.taught(jnp.ones(shape), rollouts)
  wanted = np.asarray(rollouts.loss_mask) & (named >= 0).any(axis=-1)
  np.testing.assert_array_equal(found, wanted)


def test_small_curvature_equals_the_moments_of_a_real_output_layer():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(16, 6, 3))
  probs = rng.dirichlet(np.ones(5), (16, 6))
  rollouts = cases.digested(
    cases.rollouts(hidden_square=np.sum(hidden**2, axis=-1).astype('f')),
    np.log(probs).astype('f'),
    weights.small_curvature,
  )
  advantages = rng.normal(size=(16, 6)).astype('f')
  limits = {'objective_limit': 0.3, 'policy_limit': 0.02}
  ours = np.asarray(
    weights.small_curvature(advantages, rollouts, learning_rate=0.1, **limits)
  )
  mask = np.asarray(rollouts.loss_mask)
  seen = set()
  for i, t in zip(*np.nonzero(mask)):
    action = int(rollouts.content.response[i, t])
    objective, policy = oracle.capo_moments(
      advantages[i, t], probs[i, t], action, hidden[i, t], 0.1
    )
    kept = policy < 0.02 and abs(objective) < 0.3
    seen.add(kept)
    assert ours[i, t] == kept
  assert seen == {True, False}


def test_small_curvature_without_limits_keeps_every_token():
  rollouts = cases.digested(
    cases.rollouts(hidden_square=np.full((16, 6), 1e3, 'f')),
    np.full((16, 6, 5), -np.log(5), 'f'),
    weights.small_curvature,
  )
  ours = weights.small_curvature(
    jnp.ones((16, 6)), rollouts,
    objective_limit=np.inf, policy_limit=np.inf,
  )  # fmt: skip
  np.testing.assert_array_equal(ours, rollouts.loss_mask * 1.0)


def test_unsure_tokens_are_those_below_the_threshold():
  rollouts = cases.rollouts()
  ours = weights.unsure_tokens(None, rollouts, threshold=0.5)
  expected = np.exp(np.asarray(rollouts.logp)) < 0.5
  np.testing.assert_array_equal(ours, expected * 1.0)


def test_an_edge_weighs_once_however_many_rows_pass_it():
  path = np.stack([np.repeat([0, 1], 8), np.arange(16)], axis=1)
  level = np.tile([0, 0, 1, 1, 1, 1], (16, 1)).astype(np.int32)
  rollouts = cases.rollouts(node_path=path.astype(np.int32), level=level)
  rollouts = rollouts.replace(
    group=jnp.zeros(16, jnp.int32), valid=jnp.ones(16, bool)
  )
  ours = np.asarray(weights.one_per_edge(None, rollouts))
  np.testing.assert_allclose(ours[:, 0], 1 / 8)
  np.testing.assert_allclose(ours[:, 2], 1.0)
  assert ours[:8, 0].sum() == 1.0


def test_signal_is_where_the_advantage_is_not_zero():
  advantages = jnp.array([[0.0, -1.0], [2.0, 0.0]])
  ours = weights.signal(advantages, None)
  np.testing.assert_array_equal(ours, [[0, 1], [1, 0]])


def test_what_is_paid_beyond_the_horizon_is_not_counted():
  stage = weights.GrowingHorizon(first=1.0, growth=0.5)
  rollouts = cases.rollouts(seed=3)
  paid = np.where(rollouts.loss_mask, np.arange(6) + 1.0, 0).astype(np.float32)
  rollouts = rollouts.replace(paid=jnp.asarray(paid))
  total = jnp.asarray(paid.sum(axis=1))
  state = stage.init(None)
  for iteration in range(5):
    credit = initial_credit(rollouts, Scores(total[:, None], jnp.ones(1)))
    credit = credit.replace(rewards=total)
    credit, state = stage.update(credit, rollouts, state)
    horizon = 1 + iteration // 2
    np.testing.assert_allclose(credit.rewards, paid[:, :horizon].sum(axis=1))
    assert not credit.token_keep[:, horizon:].any()


@pytest.mark.parametrize('wrong', [{'first': 0.5}, {'growth': -1.0}])
def test_a_horizon_without_a_decision_is_refused(wrong):
  with pytest.raises(ValueError, match='a horizon of'):
    weights.GrowingHorizon(**wrong)
