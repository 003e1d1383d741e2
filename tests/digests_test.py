"""What is made of whole distributions, wherever their logits are."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import digests, reads
from jaxrl_llm.digests import Digest
from jaxrl_llm.tabular import policy


def powers(log_probs, seen, *, order=2):
  """sum_v p^order, and how many rows of the group are live."""
  chance = jnp.exp(log_probs)
  count = jnp.zeros(len(seen.group)).at[seen.group].add(seen.live * 1.0)
  live = jnp.broadcast_to(count[seen.group][:, None], seen.token.shape)
  return jnp.stack([jnp.sum(chance**order, axis=-1), live], axis=-1)


TWO, THREE = Digest(powers), Digest(powers, order=3)


def test_a_name_says_function_and_numbers():
  assert TWO == 'powers()' and THREE == 'powers(order=3)'
  assert THREE.old == 'old_powers(order=3)' and THREE.old.now == THREE
  assert Digest(powers, order=3) == THREE and hash(THREE) == hash(THREE.old.now)


@pytest.mark.parametrize('digest', [TWO, THREE.old])
def test_a_digest_is_copied_as_what_it_is(digest):
  for other in (copy.deepcopy(digest), pickle.loads(pickle.dumps(digest))):
    assert other == digest and isinstance(other, Digest)
    assert (other.when, other.compares) == (digest.when, digest.compares)
    assert reads.find(other) == reads.find(digest)


def test_a_digest_is_read_as_a_pass_or_of_the_policy_that_learns():
  assert reads.provided({TWO, THREE.old, 'entropy'}, 'pass') == {THREE.old}
  assert reads.statistics({TWO, THREE.old}) == {TWO, THREE}
  assert reads.statistics({TWO, THREE.old}, 'now') == {TWO}


def rollouts():
  response = jnp.arange(4 * 5).reshape(4, 5) % 3
  mask = jnp.arange(5) < jnp.array([5, 3, 0, 4])[:, None]
  group = jnp.array([6, 6, 9, 9])
  return policy.as_rollouts(response, mask, group=group, task=group % 2)


def test_a_table_makes_digests_of_its_rows():
  params = policy.init(jax.random.key(0), tasks=2, vocab=3, length=5, scale=1.0)
  batch = rollouts()
  stats = policy.score(params, batch, {'log_probs', TWO, THREE})
  mask = np.asarray(batch.loss_mask)
  for digest, order in ((TWO, 2), (THREE, 3)):
    sums, live = np.moveaxis(np.asarray(stats.said(digest)), -1, 0)
    expected = np.sum(np.exp(stats.log_probs) ** order, axis=-1)
    np.testing.assert_allclose(sums[mask], expected[mask], rtol=1e-5)
    assert not sums[~mask].any()
    assert set(live[0]) == {2.0} and set(live[3][:4]) == {1.0}


def test_the_highest_are_in_order_and_what_is_none_is_marked():
  log_probs = jnp.log(jnp.array([[[0.2, 0.5, 0.3]]]))
  found = digests.highest(log_probs, None, size=2)
  np.testing.assert_allclose(found[0, 0], [*np.log([0.5, 0.3]), 1, 2])
  found = digests.highest(log_probs, None, size=4)
  assert found.shape == (1, 1, 8) and found[0, 0, 4:].tolist() == [1, 2, 0, -1]


def test_candidates_are_looked_up_and_none_is_zero():
  batch = rollouts()
  named = jnp.stack([batch.content.response, jnp.full((4, 5), -1)], axis=-1)
  batch = batch.replace(extras={'candidates': named})
  params = policy.init(jax.random.key(0), tasks=2, vocab=3, length=5, scale=1.0)
  stats = policy.score(params, batch, {digests.OF_CANDIDATES})
  own, none = np.moveaxis(np.asarray(stats.said(digests.OF_CANDIDATES)), -1, 0)
  np.testing.assert_allclose(own, np.where(batch.loss_mask, stats.logp, 0))
  assert not none.any()


def test_one_that_compares_says_so():
  assert Digest(powers, compares=True).compares and not TWO.compares
  assert [*digests.among({'values', TWO})] == [TWO]


def test_local_ids_count_from_zero():
  found = digests.local(jnp.array([7, 7, 3, 3, 9]))
  np.testing.assert_array_equal(found, [0, 0, 1, 1, 2])
