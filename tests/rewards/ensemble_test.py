import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.rewards import ensemble

SCORES = np.random.default_rng(0).standard_normal((3, 5))
EXPECTED = {
  ensemble.mean: lambda r: sum(r) / len(r),
  ensemble.worst: min,
  ensemble.uncertain: lambda r: (
    sum(r) / len(r) - 0.1 * sum((x - sum(r) / len(r)) ** 2 for x in r) / len(r)
  ),
}


@pytest.mark.parametrize('fn', EXPECTED)
def test_ensembles_equal_loops_over_models(fn):
  found = jax.jit(fn)(jnp.asarray(SCORES))
  for n in range(SCORES.shape[1]):
    np.testing.assert_allclose(
      found[n], EXPECTED[fn](SCORES[:, n].tolist()), rtol=1e-5
    )


@pytest.mark.parametrize('fn', EXPECTED)
def test_one_model_is_its_own_ensemble(fn):
  one = jnp.asarray(SCORES[:1])
  np.testing.assert_array_equal(fn(one), one[0])


def test_disagreement_costs_what_its_weight_says():
  scores = jnp.array([[0.0, 1.0], [2.0, 1.0]])
  found = ensemble.uncertain(scores, weight=0.5)
  np.testing.assert_allclose(found, [0.5, 1.0])
