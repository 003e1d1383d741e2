import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import policy
from jaxrl_llm.training import diagnostics
from jaxrl_llm.types import Batch, Scores, Stats, initial_credit

LENGTH = 3


def rows():
  """Two groups of two; the last row does not count."""
  mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
  rollouts = policy.as_rollouts(
    np.zeros((4, LENGTH), np.int32), mask, group=jnp.array([0, 0, 1, 1])
  )
  return rollouts.replace(
    valid=jnp.array([True, True, True, False]),
    truncated=jnp.array([True, False, False, False]),
  )


def batch_of(rollouts, old, ref=None):
  credit = initial_credit(rollouts, Scores(jnp.ones((4, 1)), jnp.ones(1)))
  mask = rollouts.loss_mask
  return Batch(
    rollouts=rollouts,
    credit=credit,
    old_logp=old,
    fresh=jnp.ones(4, bool),
    weights=mask * 1.0,
    row_weights=jnp.ones(4),
    share=mask / jnp.sum(mask),
    ref_logp=ref,
  )


def test_token_metrics_equal_loops_over_the_tokens_that_count():
  rng = np.random.default_rng(0)
  logp, old, ref, sampled = -rng.exponential(size=(4, 4, LENGTH))
  entropy, values = rng.exponential(size=(2, 4, LENGTH))
  rollouts = rows().replace(logp=jnp.asarray(sampled))
  stats = Stats(*map(jnp.asarray, (logp, entropy, values)))
  batch = batch_of(rollouts, jnp.asarray(old), jnp.asarray(ref))
  metrics = diagnostics.of_microbatch(stats, batch)
  here = np.asarray(rollouts.loss_mask)
  r, x, gap = np.exp(logp - old), logp - ref, np.abs(old - sampled)
  wanted = {
    'policy/entropy': entropy[here].mean(),
    'policy/kl': (r - 1 - np.log(r))[here].mean(),
    'reference/kl': (np.exp(-x) - 1 + x)[here].mean(),
    'sampler/gap_mean': gap[here].mean(),
    'sampler/gap_max': gap[here].max(),
    'tokens/learned': here.sum(),
    'critic/error': np.abs(values)[here].mean(),
  }
  assert metrics.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_tokens_that_do_not_count_may_hold_anything():
  rollouts = rows()
  off = ~rollouts.loss_mask
  broken = jnp.where(off, jnp.nan, -1.0)
  stats = Stats(broken, broken)
  metrics = diagnostics.of_microbatch(stats, batch_of(rollouts, broken))
  assert metrics['policy/kl'] == 0
  assert all(np.isfinite(v) for v in metrics.values())


def test_row_metrics_count_valid_rows_and_live_groups():
  rollouts = rows()
  scores = Scores(jnp.array([[1.0], [0.0], [1.0], [5.0]]), jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  # The second group's is what rounding leaves of 0.
  advantages = jnp.array([[1.0], [-1.0], [6e-8], [0.0]]) * rollouts.loss_mask
  credit = credit.replace(
    rewards=credit.components[:, 0], advantages=advantages
  )
  metrics = diagnostics.of_iteration(rollouts, credit)
  wanted = {
    'scores': [2 / 3],
    'reward/mean': 2 / 3,
    'reward/std': np.std([1, 0, 1]),
    'accuracy': 2 / 3,
    'groups/live': 1 / 2,
    'rows/valid': 3 / 4,
    'tokens/sampled': 9,
  }
  for name, value in wanted.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize('dropped', ['keep', 'token_keep'])
def test_group_that_is_dropped_is_not_live(dropped):
  rollouts = rows()
  credit = initial_credit(rollouts, Scores(jnp.ones((4, 1)), jnp.ones(1)))
  credit = credit.replace(advantages=rollouts.loss_mask * 1.0)
  assert diagnostics.of_iteration(rollouts, credit)['groups/live'] == 1
  credit = credit.replace(**{dropped: jnp.zeros_like(getattr(credit, dropped))})
  assert diagnostics.of_iteration(rollouts, credit)['groups/live'] == 0
