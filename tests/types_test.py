import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, Stats, initial_credit


def two_rows():
  mask = np.array([[1, 1, 0], [1, 1, 1]], bool)
  rollouts = policy.as_rollouts(np.zeros((2, 3), np.int32), mask)
  return rollouts.replace(
    action_mask=rollouts.action_mask.at[0, 0].set(False),
    valid=jnp.array([True, False]),
  )


def test_loss_mask_needs_a_chosen_token_in_a_row_that_counts():
  wanted = [[False, True, False], [False, False, False]]
  np.testing.assert_array_equal(two_rows().loss_mask, wanted)


def test_length_counts_tokens_that_exist():
  np.testing.assert_array_equal(two_rows().length, [2, 3])


@pytest.mark.parametrize('blank', [np.nan, np.inf, -np.inf])
def test_statistics_on_a_mask_have_neither_value_nor_slope_off_it(blank):
  mask = two_rows().action_mask
  wide = jnp.where(mask[..., None], 2.0, blank) * jnp.ones(4)
  whole = Stats(wide[..., 0], wide[..., 1], wide[..., 2], wide, wide)

  def total(stats):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(stats.on(mask)))

  slopes = jax.grad(total)(whole)
  for x, slope in zip(jax.tree.leaves(whole.on(mask)), jax.tree.leaves(slopes)):
    here = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
    np.testing.assert_array_equal(x, jnp.where(here, 2.0, 0.0) + 0 * x)
    np.testing.assert_array_equal(slope, jnp.where(here, 4.0, 0.0) + 0 * x)


def test_an_answer_in_place_of_the_last_value_is_cut_by_rows():
  mask = jnp.array([[True, False], [False, False]])
  zeros = jnp.zeros((2, 2))
  whole = Stats(zeros, zeros, last_value=jnp.full((2, 5), jnp.nan).at[0].set(3))
  np.testing.assert_array_equal(
    whole.on(mask).last_value, [[3.0] * 5, [0.0] * 5]
  )


def test_initial_credit_masks_the_nan_of_a_failed_verifier():
  rollouts = two_rows()
  scores = Scores(jnp.array([[2.0], [jnp.nan]]), jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  np.testing.assert_array_equal(credit.components, [[2.0], [0.0]])
  np.testing.assert_array_equal(credit.keep, [1, 0])
  np.testing.assert_array_equal(credit.token_keep, rollouts.loss_mask)
  assert not np.any(credit.advantages) and not np.any(credit.rewards)


def test_initial_credit_refuses_scores_of_other_rows():
  with pytest.raises(AssertionError):
    initial_credit(two_rows(), Scores(jnp.zeros((3, 1)), jnp.ones(1)))


def test_rollouts_are_a_pytree_and_spec_is_static():
  doubled = jax.tree.map(lambda x: jnp.concatenate([x, x]), two_rows())
  assert doubled.content.response.shape == (4, 3)
  spec = Spec(8, 4, 2, 3, component_names=('exact', 'form'))
  assert spec.components == 2
  assert hash(spec) == hash(Spec(8, 4, 2, 3, component_names=('exact', 'form')))
