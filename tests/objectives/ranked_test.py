import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.objectives import ranked, sequence, surrogates


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  logp, old, advantages = rng.normal(size=(3, 6, 8)).astype(np.float32)
  mask = np.arange(8) < rng.integers(1, 9, 6)[:, None]
  item = rng.integers(0, 4, (6, 8)).astype(np.int32)
  return old + 0.1 * logp, old, advantages, mask, item


def _slope(fn, logp, old, advantages, mask):
  def total(x):
    return jnp.sum(jnp.where(mask, fn(x, old, advantages, mask), 0))

  return jax.value_and_grad(total)(logp)


def _oracle(logp, old, advantages, mask, item, low, high):
  """Losses, and the slope that each spreads over its item, token by token."""
  loss, slope = 0.0, np.zeros(logp.shape)
  for i, t in zip(*np.nonzero(mask)):
    mates = mask[i] & (item[i] == item[i, t])
    s = np.exp(np.mean(np.float64(logp[i][mates]) - old[i][mates]))
    a = np.float64(advantages[i, t])
    bound = 1 + high if a > 0 else 1 - low
    silent = s > bound if a > 0 else s < bound
    loss += -(bound if silent else s) * a
    slope[i][mates] += 0.0 if silent else -s * a / np.sum(mates)
  return loss, slope


def test_item_clip_equals_its_oracle_in_value_and_gradient():
  logp, old, advantages, mask, item = _batch()

  def fn(*arrays):
    return ranked.item_clip(*arrays, item=item)

  loss, slope = _slope(fn, logp, old, advantages, mask)
  expected = _oracle(logp, old, advantages, mask, item, 0.06, 0.08)
  np.testing.assert_allclose(loss, expected[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(slope, expected[1], rtol=1e-4, atol=1e-6)
  assert np.any(expected[1][mask] == 0) and np.any(expected[1] != 0)


def test_one_item_is_the_sequence_and_one_token_an_item_the_token():
  logp, old, advantages, mask, item = _batch(1)
  advantages = np.repeat(advantages[:, :1], 8, axis=1)
  alone = np.broadcast_to(np.arange(8, dtype=np.int32), item.shape)
  for ids, other in (
    (np.zeros_like(item), sequence.sequence_clip),
    (alone, surrogates.clip),
  ):

    def ours(*arrays, ids=ids):
      return ranked.item_clip(*arrays, item=ids, low=0.1, high=0.1)

    def theirs(*arrays, other=other):
      return other(*arrays, low=0.1, high=0.1)

    first = _slope(ours, logp, old, advantages, mask)
    second = _slope(theirs, logp, old, advantages, mask)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-5)
    np.testing.assert_allclose(first[1], second[1], rtol=1e-4, atol=1e-6)
