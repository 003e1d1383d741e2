"""Slopes of hyperbolic layers as features grow, and what becomes of a fit.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/hyperbolic_slopes.py

Hyper++ (arXiv 2512.14202) claims that embeddings of large norm make gradients
of hyperbolic layers explode, in the Poincare ball most, and that the
hyperboloid with features of bounded length, and a categorical loss for
regression, mend it.

64 vectors of 32 numbers, normal, times a scale, are read by 15 planes. `ball`
maps them into the Poincare ball, tanh(|h|) h / |h|, `hyperboloid` lifts them as
they are, both without a bound; `bounded` is Hyper++. Measured: the largest
slope of a cross-entropy in any feature, times the rows, and in the planes, in
float32; and whether
all are finite, else both are 0 here.
Expected: that of `bounded` the same at every scale, others up to a hundred
times as large, and NaN in the ball.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.policies import hyperbolic

ROWS, WIDTH, PLANES = 64, 32, 15
SCALES = (0.05, 0.5, 1.0, 2.0, 4.0, 100.0)
FIGURE = Figure(
  y='of planes', x='scale', series='layers', log='xy', title='largest slope'
)


def cells():
  return over(
    layers=['ball', 'hyperboloid', 'bounded'], scale=SCALES, seed=range(8)
  )


def ball(planes, features):
  length = jnp.linalg.norm(features, axis=1, keepdims=True)
  inside = jnp.tanh(length) * features / length
  return hyperbolic.ball_logits(planes, inside)


def hyperboloid(planes, features):
  return hyperbolic.logits(planes, *hyperbolic.lifted(features))


def bounded(planes, features):
  gate = {'kernel': jnp.zeros(WIDTH), 'bias': jnp.zeros(())}
  return hyperboloid(planes, hyperbolic.bounded(gate, features))


def run(seeds, *, layers, scale):
  """The largest slopes, and whether they are numbers."""
  read = {'ball': ball, 'hyperboloid': hyperboloid, 'bounded': bounded}[layers]

  def one(key, scale):
    shown, made, turned, labelled = jax.random.split(key, 4)
    features = scale * jax.random.normal(shown, (ROWS, WIDTH))
    planes = {
      'kernel': jax.random.normal(made, (WIDTH, PLANES)) / WIDTH**0.5,
      'bias': 0.1 * jax.random.normal(turned, (PLANES,)),
    }
    label = jax.random.randint(labelled, (ROWS,), 0, PLANES)

    def loss(planes, features):
      rows = jax.nn.log_softmax(read(planes, features))
      return -jnp.mean(rows[jnp.arange(ROWS), label])

    slopes = jax.grad(loss, argnums=(0, 1))(planes, features)
    large = jax.tree.map(lambda x: jnp.max(jnp.abs(x)), slopes)
    return jnp.max(jnp.stack([*large[0].values()])), ROWS * large[1]

  planes, features = tables.over_seeds(one, seeds, np.full(len(seeds), scale))
  finite = np.isfinite(planes) & np.isfinite(features)
  return {
    'of planes': np.where(finite, planes, 0.0),
    'of features': np.where(finite, features, 0.0),
    'finite': finite * 1.0,
  }
