import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.advantages import risk
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
    expected = reference.step(rewards, bundle, paper, valid)
    expected = np.where(rollouts.loss_mask, expected[:, None], 0)
    np.testing.assert_allclose(
      credit.advantages, expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
      state['quantiles'], reference.quantiles, rtol=1e-4, atol=1e-5
    )


def test_rows_of_a_paper_share_its_advantage():
  rollouts, bundle, paper = _rollouts()
  rewards = np.random.default_rng(1).normal(size=16).astype(np.float32)
  stage = risk.MixedValueAtRisk()
  credit, _ = _run(stage, stage.init(SPEC), rewards, rollouts)
  first = np.asarray(credit.advantages)
  mates = (bundle == bundle[0]) & (paper == paper[0])
  mates &= np.asarray(rollouts.loss_mask[:, 0])
  np.testing.assert_array_equal(first[mates][:, 0], first[mates][0, 0])


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
