"""Rows of a pair act with opposite noise, and each as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.environments.air import Air
from jaxrl_llm.policies import acting
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.types import Rollouts

SKY = Air(records=3, horizon=2)
POLICY = Gaussian(5, 4, widths=(8,), critic=False)


def test_rows_of_a_pair_have_opposite_noise_in_every_step():
  key = jax.random.key(1)
  params = initial(POLICY.table(), key)
  tasks, uids = jnp.array([2, 2, 0, 0]), jnp.arange(4)
  rows = acting.in_pairs(POLICY, SKY, params, tasks, uids, key)
  assert isinstance(rows, Rollouts) and not rows.extras
  noise = rows.content.action - POLICY.mode(params, rows.content.observation)
  np.testing.assert_allclose(noise[::2], -noise[1::2], atol=1e-6)
  assert np.abs(noise[0] - noise[2]).max() > 0.1  # pairs differ
  np.testing.assert_allclose(
    rows.logp, POLICY.score(params, rows).logp, rtol=1e-5
  )
  # What is drawn depends on who a row is, not on where it stands.
  turned = acting.in_pairs(POLICY, SKY, params, tasks[::-1], uids[::-1], key)
  np.testing.assert_allclose(
    turned.content.action[::-1], rows.content.action, atol=1e-6
  )
