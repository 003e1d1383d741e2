import numpy as np

from jaxrl_llm.objectives import adaptive
from jaxrl_llm.rollouts import temperature


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
