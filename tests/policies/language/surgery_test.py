import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import parameters, surgery, transformer
from tests.policies.language import decoders

CONFIG = decoders.CONFIGS['plain']
PARAMS = parameters.init(CONFIG, jax.random.key(0))
RNG = np.random.default_rng(0)
DIRECTION = RNG.normal(size=CONFIG.width)


def gate(params):
  return np.float64(params['layers']['gate']['kernel'])


def moved_rows(kernel, direction, count, scale):
  """The published loop: every row of every layer scored, the best are moved."""
  scores = []
  for layer in range(len(kernel)):
    for unit in range(kernel.shape[2]):
      row = kernel[layer, :, unit]
      length = np.linalg.norm(row) * np.linalg.norm(direction)
      scores.append((-(row @ direction) / length, unit, layer))
  scores.sort(key=lambda each: each[0], reverse=True)
  edited = kernel.copy()
  for _, unit, layer in scores[:count]:
    edited[layer, :, unit] += scale * direction
  return edited


@pytest.mark.parametrize('count', [0, 1, 7, 10**9])
@pytest.mark.parametrize('scale', [0.7, -0.3])
def test_the_most_opposed_rows_are_moved_as_the_loop_moves_them(count, scale):
  kernel = gate(PARAMS)
  count = min(count, kernel.shape[0] * kernel.shape[2])
  found, moved = surgery.edit(PARAMS, DIRECTION, count=count, scale=scale)
  expected = moved_rows(kernel, DIRECTION, count, scale)
  np.testing.assert_allclose(gate(found), expected, atol=1e-5)
  assert moved.sum() == count
  changed = np.any(gate(found) != kernel, axis=1)
  np.testing.assert_array_equal(changed, moved)


def test_all_else_stays_and_a_scale_of_0_changes_nothing():
  found, _ = surgery.edit(PARAMS, DIRECTION, count=5, scale=0.0)
  jax.tree.map(np.testing.assert_array_equal, found, PARAMS)
  found, _ = surgery.edit(PARAMS, DIRECTION, count=5, scale=1.0)
  found['layers']['gate'] = PARAMS['layers']['gate']
  jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


def test_a_moved_unit_opens_by_scale_times_what_the_probe_reads():
  found, moved = surgery.edit(PARAMS, DIRECTION, count=6, scale=0.5)
  x = RNG.normal(size=(3, CONFIG.width))
  change = np.einsum('nd,ldf->nlf', x, gate(found) - gate(PARAMS))
  expected = 0.5 * (x @ DIRECTION)[:, None, None] * np.asarray(moved)
  np.testing.assert_allclose(change, expected, atol=1e-5)


def test_equal_cosines_are_taken_in_order():
  kernel = jnp.broadcast_to(
    DIRECTION[None, :, None], PARAMS['layers']['gate']['kernel'].shape
  )
  alike = {'layers': {'gate': {'kernel': kernel}}}
  _, moved = surgery.edit(alike, DIRECTION, count=3, scale=1.0)
  assert moved.ravel()[:3].all() and moved.sum() == 3


def test_a_probe_is_the_minimum_of_its_loss():
  states = RNG.normal(size=(60, 4)) * [1.0, 5.0, 0.2, 1.0]
  labels = states @ [2.0, -0.3, 0.0, 0.0] + RNG.normal(size=60) > 0.3
  w = surgery.probe(states, labels, weight=0.05)
  # At the minimum the slope is 0: of w, and of the offset found by bisection.
  sign = np.where(labels, 1.0, -1.0)

  def pull(b):
    return sign / (1 + np.exp(sign * (states @ w + b))) / 60

  low, high = -20.0, 20.0
  for _ in range(80):
    middle = (low + high) / 2
    low, high = (middle, high) if pull(middle).sum() > 0 else (low, middle)
  np.testing.assert_allclose(0.05 * w, pull(low) @ states, atol=1e-4)
  assert np.mean((states @ w + low > 0) == labels) > 0.75
  # Length and offset of the states are no part of the direction.
  swapped = surgery.probe(states + 3, ~labels, weight=0.05)
  np.testing.assert_allclose(swapped, -w, atol=1e-3)


def test_what_cannot_be_told_or_edited_is_refused():
  with pytest.raises(ValueError, match='0 of 4 responses show'):
    surgery.probe(np.ones((4, 2)), np.zeros(4, bool))
  with pytest.raises(ValueError, match='experts have none'):
    surgery.edit({'layers': {}}, DIRECTION, count=1, scale=1.0)
  with pytest.raises(ValueError, match='choose at most these'):
    surgery.edit(PARAMS, DIRECTION, count=10**9, scale=1.0)


def test_states_are_averaged_over_tokens_alone():
  tokens = jnp.array([[3, 5, 2, 0], [1, 4, 0, 0]])
  mask = jnp.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
  found = surgery.pooled(PARAMS, CONFIG, tokens, mask)
  alone = transformer.hidden(
    PARAMS, CONFIG, tokens[1:, :2], jnp.ones((1, 2), bool)
  )
  np.testing.assert_allclose(found[1], alone[0].mean(axis=0), atol=1e-5)
