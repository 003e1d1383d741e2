import jax
import numpy as np
import pytest

from jaxrl_llm.objectives import adaptive
from jaxrl_llm.plans import temperature
from jaxrl_llm.types import Spec
from tests.plans import scripted


def _scale(share=None):
  entropy = np.exp(np.linspace(-4.0, 1.0, 20, dtype='f')).reshape(4, 5)
  share = np.full((4, 5), 1 / 20, 'f') if share is None else share
  return entropy, adaptive.entropy_scale(entropy, share)


def test_draws_are_hotter_where_the_policy_is_uncertain():
  entropy, scale = _scale()
  heat = temperature.of_entropy(entropy, scale, temperature=0.9)
  heat = np.asarray(heat).ravel()
  assert np.all(np.diff(heat) > 0)
  np.testing.assert_allclose(heat[[0, -1]], [0.9 * 0.95, 0.9 * 1.05], rtol=1e-6)
  # The 0.8 quantile of 20 ordered entropies, by nearest rank of 19.
  np.testing.assert_allclose(heat[15], 0.9, rtol=1e-6)


def test_entropies_beyond_the_scale_are_held_to_its_ends():
  _, scale = _scale()
  heat = temperature.of_entropy(np.array([0.0, 50.0], 'f'), scale)
  np.testing.assert_allclose(heat, [0.95, 1.05], rtol=1e-6)


def test_an_empty_scale_leaves_the_temperature_alone():
  entropy, scale = _scale(np.zeros((4, 5), 'f'))
  np.testing.assert_array_equal(temperature.of_entropy(entropy, scale), 1.0)


class Thermal(scripted.Scripted):
  """Says h when sampled hot, c when cold."""

  def tempered(self, prompts, key, samples, temperature):
    said = 'h' if temperature > 1 else 'c'
    other = scripted.Scripted(lambda text, i: said, columns=self.columns)
    return other.generate(prompts, key, samples)


def test_the_last_rows_are_hot_until_the_entropy_exceeds_its_target():
  # A token's log-prob is -token / 10: those of "a" and of the end, 0.1 and 0.
  plan = temperature.tempered(samples=3, count=1, target=0.04)
  tools, state = Thermal(lambda text, i: 'a'), plan.init(Spec(6, 3, 1, 6))
  for expected, heat in ('h', 1.2), ('c', 0.8):
    rollouts, scores, state = plan.collect(
      tools, scripted.ask('q', 'r'), state, jax.random.key(0)
    )
    assert scripted.words(rollouts) == ['a', 'a', expected] * 2
    marks = rollouts.extras['tempered'].tolist()
    assert marks == [False, False, True] * 2
    assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert scores.components.shape == (6, 1)
    np.testing.assert_allclose(tools.notes['plan/temperature'], heat)
    np.testing.assert_allclose(state, 0.05, rtol=1e-6)


@pytest.mark.parametrize('count', [0, 4])
def test_a_group_needs_rows_of_both_kinds(count):
  with pytest.raises(ValueError, match='leave one kind without a row'):
    temperature.tempered(samples=4, count=count)
