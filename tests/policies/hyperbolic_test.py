import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies import hyperbolic
from tests.oracles import hyperbolic as oracle

RNG = np.random.default_rng(0)
WIDTH, PLANES = 6, 3
FEATURES = np.float32(2 * RNG.normal(size=(5, WIDTH)))
GATE = {'kernel': np.float32(RNG.normal(size=WIDTH)), 'bias': np.float32(0.4)}
READ = {
  'kernel': np.float32(RNG.normal(size=(WIDTH, PLANES))),
  'bias': np.float32(RNG.normal(size=PLANES)),
}
curvatures = pytest.mark.parametrize('curvature', [1.0, 0.3])


def whole(gate, read, features, curvature=1.0):
  x = hyperbolic.bounded(gate, features, curvature=curvature)
  point = hyperbolic.lifted(x, curvature=curvature)
  return hyperbolic.logits(read, *point, curvature=curvature)


@curvatures
def test_layers_are_the_papers_and_the_point_lies_on_the_hyperboloid(curvature):
  x = hyperbolic.bounded(GATE, FEATURES, curvature=curvature)
  time, space = hyperbolic.lifted(x, curvature=curvature)
  np.testing.assert_allclose(
    time**2, np.sum(space**2, axis=1) + 1 / curvature, rtol=1e-5
  )
  found = whole(GATE, READ, FEATURES, curvature)
  for row, h in enumerate(np.float64(FEATURES)):
    y = oracle.bounded(np.float64(GATE['kernel']), GATE['bias'], h, curvature)
    point = oracle.lifted(y, curvature)
    np.testing.assert_allclose(x[row], y, rtol=1e-4, atol=1e-6)
    for k in range(PLANES):
      z, r = np.float64(READ['kernel'][:, k]), float(READ['bias'][k])
      expected = oracle.logit(z, r, *point, curvature)
      np.testing.assert_allclose(found[row, k], expected, rtol=1e-4, atol=1e-5)


@curvatures
def test_the_ball_has_the_same_logits_of_halved_planes(curvature):
  x = hyperbolic.bounded(GATE, FEATURES, curvature=curvature)
  time, space = hyperbolic.lifted(x, curvature=curvature)
  root = math.sqrt(curvature)
  inside = space / (1 + root * time)[:, None]
  halved = {name: leaf / 2 for name, leaf in READ.items()}
  found = hyperbolic.ball_logits(halved, inside, curvature=curvature)
  expected = hyperbolic.logits(READ, time, space, curvature=curvature)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
  for row, y in enumerate(np.float64(inside)):
    z, r = np.float64(READ['kernel'][:, 0]) / 2, float(READ['bias'][0]) / 2
    np.testing.assert_allclose(
      found[row, 0], oracle.ball_logit(z, r, y, curvature), rtol=1e-3, atol=1e-5
    )


def test_near_the_middle_planes_without_offsets_are_linear():
  read = READ | {'bias': jnp.zeros(PLANES)}
  x = 1e-3 * FEATURES
  found = hyperbolic.logits(read, *hyperbolic.lifted(x))
  np.testing.assert_allclose(found, x @ READ['kernel'], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('scale', [0.0, 1e-3, 1.0, 1e3, 1e18])
def test_slopes_are_finite_and_lengths_bounded_at_any_scale(scale):
  features = scale * FEATURES

  def loss(gate, read, features):
    return jnp.sum(jax.nn.log_softmax(whole(gate, read, features))[:, 0])

  slopes = jax.grad(loss, argnums=(0, 1, 2))(GATE, READ, features)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slopes))
  x = hyperbolic.bounded(GATE, features)
  assert np.linalg.norm(x, axis=1).max() < math.atanh(0.95)
