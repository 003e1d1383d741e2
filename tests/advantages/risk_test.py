import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import risk
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle

SPEC = Spec(16, 4, 1, 6)


def _run(stage, state, rewards, rollouts):
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(rewards=jnp.where(rollouts.valid, rewards, 0))
  return jax.jit(stage.update)(credit, rollouts, state)


def _rollouts(seed=0):
  bundle = (np.repeat(np.arange(4), 4) // 2).astype(np.int32)
  paper = np.tile(np.arange(4), 4).astype(np.int32)
  return cases.rollouts(seed, bundle=bundle, paper=paper), bundle, paper


def test_stage_equals_its_oracle_over_iterations():
  stage, reference = risk.MixedValueAtRisk(), oracle.RiskPO()
  state = stage.init(SPEC)
  rng = np.random.default_rng(0)
  for seed in range(4):
    rollouts, bundle, paper = _rollouts(seed)
    rewards = rng.normal(size=16).astype(np.float32)
    credit, state = _run(stage, state, rewards, rollouts)
    valid = np.asarray(rollouts.valid)
    group = np.asarray(rollouts.group)
    expected = reference.step(rewards, bundle, paper, group, valid)
    expected = np.where(rollouts.loss_mask, expected[:, None], 0)
    np.testing.assert_allclose(
      credit.advantages, expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
      state['quantiles'], reference.quantiles, rtol=1e-4, atol=1e-5
    )


def _bundled(sizes, score, quantiles=None):
  """Advantages f32[papers, questions] by bundle, of one iteration.

  Args:
    sizes: questions of each bundle, of 4 answers each.
    score: f(bundle, paper, question) -> reward.
    quantiles: of an earlier iteration.
  """
  group = np.repeat(np.arange(sum(sizes)), 4)
  bundle = np.repeat(np.arange(len(sizes)), sizes)[group]
  paper = np.tile(np.arange(4), sum(sizes))
  rewards = [float(score(*row)) for row in zip(bundle, paper, group)]
  mask = np.ones((len(group), 1), bool)
  rollouts = policy.as_rollouts(
    jnp.zeros(mask.shape, int), mask, group=jnp.asarray(group)
  ).replace(extras={'bundle': jnp.asarray(bundle), 'paper': jnp.asarray(paper)})
  stage = risk.MixedValueAtRisk()
  state = stage.init(SPEC)
  if quantiles is not None:
    state = {'quantiles': jnp.asarray(quantiles), 'iterations': jnp.int32(1)}
  credit, _ = _run(stage, state, np.array(rewards, np.float32), rollouts)
  advantages = np.asarray(credit.advantages)[:, 0]
  return [advantages[bundle == b].reshape(-1, 4).T for b in range(len(sizes))]


def test_a_bundle_is_divided_by_the_spread_of_its_own_papers():
  """Ten times the scores of another bundle change nothing in this one."""

  def score(bundle, paper, question, scale=1):
    return (paper > question % 4) * (scale if bundle else 1)

  near, _ = _bundled([5, 5], score, [1.0, 3.0])
  far, _ = _bundled([5, 5], functools.partial(score, scale=10), [1.0, 3.0])
  np.testing.assert_allclose(near, far, rtol=1e-5)
  assert np.ptp(near) > 0


@pytest.mark.parametrize('right', [0, 1])
def test_equal_papers_have_bounded_advantages(right):
  """The published code divides them by the spread 0, plus 1e-6."""
  (ours,) = _bundled([5], lambda b, p, g: right, [1.0, 4.0])
  assert np.ptp(ours) == 0
  assert ours[0, 0] == 0 if right else -20 < ours[0, 0] < -1


def test_a_short_bundle_is_judged_as_a_full_one():
  """All right, it gets what full bundles do that are all right."""
  full, short = _bundled([5, 2], lambda b, p, g: 1.0, [4.5, 5.5])
  np.testing.assert_allclose(short, full[:, :2], rtol=1e-5)
  wrong, worse = _bundled([5, 2], lambda b, p, g: p == 3, [1.0, 4.0])
  np.testing.assert_allclose(worse, wrong[:, :2], rtol=1e-5)


def test_responses_of_a_paper_answer_for_their_question():
  """Rarely solved ones more, and those that never vary as they are."""
  (ours,) = _bundled([2], lambda b, p, g: p == 0 if g else 1.0, [1.5, 2.5])
  own = np.std([1, 0, 0, 0], ddof=1)
  np.testing.assert_allclose(ours[:, 1] * own, ours[:, 0], rtol=1e-4)


def test_without_tail_and_between_wide_quantiles_it_is_a_shifted_score():
  score = jnp.linspace(-1, 1, 5)
  ours = risk.mixed_value_at_risk(
    score, -10.0, 10.0, levels=(0.0, 1.0), tail_weight=0.0
  )
  np.testing.assert_allclose(ours, score - 10.0, rtol=1e-5)


def test_papers_without_spread_are_not_divided_by_it():
  """Equal papers are judged as a single one is, by the tracked quantiles."""
  rollouts, _, _ = _rollouts()
  stage = risk.MixedValueAtRisk()
  rollouts = rollouts.replace(valid=jnp.ones(16, bool))
  _, state = _run(stage, stage.init(SPEC), np.arange(16) / 7, rollouts)
  credit, _ = _run(stage, state, np.full(16, 0.1, 'f'), rollouts)
  score = jnp.float32(0.2)  # two questions
  worth = risk.mixed_value_at_risk(
    score,
    *state['quantiles'],
    levels=(stage.low, stage.high),
    tail_weight=stage.tail_weight,
    epsilon=stage.epsilon,
  )
  expected = jnp.where(rollouts.loss_mask, worth, 0)
  np.testing.assert_allclose(credit.advantages, expected, rtol=1e-5)
  assert 0.1 < abs(float(worth)) < 10


def test_no_valid_row_leaves_the_tracker_alone():
  rollouts, _, _ = _rollouts()
  stage = risk.MixedValueAtRisk()
  _, state = _run(stage, stage.init(SPEC), np.ones(16, 'f'), rollouts)
  empty = rollouts.replace(valid=jnp.zeros(16, bool))
  credit, after = _run(stage, state, np.ones(16, 'f'), empty)
  np.testing.assert_array_equal(credit.advantages, 0)
  np.testing.assert_array_equal(after['quantiles'], state['quantiles'])
