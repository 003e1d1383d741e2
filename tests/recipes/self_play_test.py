"""Which pairs the published settings of self-play compare."""

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import recipes


def test_dno_compares_good_rows_with_those_of_one_less_or_two_for_a_teachers():
  loss = recipes.build('dno_practical', samples=4).objective.losses.loss
  points = jnp.array([[5.0, 4.0, 3.0, 5.0]])
  live = jnp.ones((1, 4), bool)
  teacher = jnp.array([[False, False, False, True]])
  found = loss.among(jnp.zeros((1, 4)), points / 6, live, offline=teacher)
  pairs = set(zip(*(x.tolist() for x in np.nonzero(found[0]))))
  assert pairs == {(0, 1), (0, 2), (3, 2)}
