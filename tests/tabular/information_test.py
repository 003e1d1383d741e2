import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import preference
from jaxrl_llm.tabular import information

POLICY, REFERENCE = (
  jax.nn.log_softmax(jnp.asarray(np.random.default_rng(s).standard_normal(5)))
  for s in (0, 1)
)


def test_differential_is_the_normalised_ratio():
  ratio = np.exp(np.asarray(POLICY, 'd') - np.asarray(REFERENCE, 'd'))
  np.testing.assert_allclose(
    jnp.exp(information.differential(POLICY, REFERENCE)),
    ratio / ratio.sum(),
    rtol=1e-5,
  )


@pytest.mark.parametrize('weight', [0.5, 1.0, 2.0])
def test_dpo_of_its_rejected_law_rests_at_the_policy(weight):
  """Chosen responses follow the reference, rejected ones the power law."""
  chosen = jnp.exp(REFERENCE)
  worse = jnp.exp(information.rejected(POLICY, REFERENCE, weight=weight))

  def loss(logits):
    h = jax.nn.log_softmax(logits) - REFERENCE
    losses = preference.logistic(h[:, None], h[None, :], 0.0, weight=weight)
    return chosen @ losses @ worse

  np.testing.assert_allclose(jax.grad(loss)(POLICY), 0, atol=1e-5)
  assert np.max(np.abs(jax.grad(loss)(REFERENCE))) > 1e-3


def test_entropy_is_highest_where_nothing_was_learned():
  same = information.differential(REFERENCE, REFERENCE)
  np.testing.assert_allclose(information.entropy(same), np.log(5), rtol=1e-6)
  sure = jnp.array([0.0, -jnp.inf, -jnp.inf])
  assert information.entropy(sure) == 0


def test_sampled_entropy_and_number_equal_their_loops():
  h = np.array([0.3, -1.0, 0.8, 0.0])
  w = np.exp(h) / np.exp(h).sum()
  entropy, number = information.sampled(jnp.asarray(h, jnp.float32))
  np.testing.assert_allclose(
    entropy, -(w * np.log(w)).sum() - np.log(4), rtol=1e-4
  )
  np.testing.assert_allclose(number, 1 / (w**2).sum(), rtol=1e-5)
  entropy, number = information.sampled(jnp.zeros(8))
  np.testing.assert_allclose([entropy, number], [0.0, 8.0], atol=1e-5)


def test_sampled_entropy_tends_to_that_of_the_law():
  """Of 50,000 samples: entropy + log N - sum over equal ones, about 1 %."""
  kind = np.random.default_rng(0).choice(
    5, 50_000, p=np.exp(REFERENCE) / np.exp(REFERENCE).sum()
  )
  relative, _ = information.sampled((POLICY - REFERENCE)[kind])
  kl = jnp.sum(jnp.exp(POLICY) * (POLICY - REFERENCE))
  np.testing.assert_allclose(-relative, kl, rtol=0.05)
