import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import varied
from jaxrl_llm.types import Spec
from tests.plans import scripted


class Thermal(scripted.Scripted):
  """Says what it is told, with entropies exp(-token)."""

  def varied(self, prompts, key, samples, *, swing, scale):
    self.scales = [*getattr(self, 'scales', []), (swing, *map(float, scale))]
    rollouts = self.generate(prompts, key, samples)
    return rollouts, jnp.exp(-rollouts.content.response * 1.0)


def test_a_draw_is_ranked_among_those_of_the_iteration_before():
  """Letters b and the end, 0, have log-entropies of -2 and 0."""
  plan = varied.Varied(samples=2, swing=0.1, quantile=1.0)
  tools, state = Thermal(lambda text, i: 'b'), plan.init(Spec(2, 2, 1, 6))
  for _ in range(2):
    _, scores, state = plan.collect(
      tools, scripted.ask('q'), state, jax.random.key(0)
    )
  np.testing.assert_allclose(tools.scales, [(0.1, 0, 0, 0), (0.1, 0, 0, -2)])
  assert scores.components.shape == (2, 1)
