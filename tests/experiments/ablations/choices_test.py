import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.ablations import choices, tables


@pytest.mark.parametrize('flip', [0.0, 0.2])
def test_the_better_arm_is_chosen_as_often_as_bradley_and_terry_say(flip):
  pairs = jnp.tile(jnp.array([[0, 1]]), (20000, 1))
  worth = jnp.array([0.3, 1.3])
  chosen = choices.judged(jax.random.key(0), pairs, worth, flip=flip)
  np.testing.assert_array_equal(jnp.sum(chosen, axis=1), 1)
  better = 1 / (1 + np.exp(-1.0))
  expected = (1 - flip) * better + flip * (1 - better)
  # Four standard errors of 20000 draws.
  assert abs(jnp.mean(chosen[:, 0] == 1) - expected) < 4 * 0.5 / 20000**0.5


def test_pairs_are_rows_in_twos_with_the_chosen_first():
  rollouts = choices.rows(jnp.array([[2, 0], [1, 2]]))
  np.testing.assert_array_equal(rollouts.content.response[:, 0], [2, 0, 1, 2])
  np.testing.assert_array_equal(rollouts.group, [0, 0, 1, 1])


def test_one_step_on_a_pair_is_half_the_weight_each_way():
  program = tables.program_of('dpo', tx=optax.sgd(3.0), weight=0.2)
  path = choices.fit(
    program,
    choices.table(jnp.zeros(3)),
    jnp.array([[2, 0]]),
    steps=1,
    measure=lambda params: params['logits'][0, 0],
  )
  np.testing.assert_allclose(path[0], [-0.3, 0, 0.3], atol=1e-6)


def test_linear_policies_carry_a_pair_over_to_arms_of_like_features():
  features = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
  log_ref = jnp.log(jnp.array([0.2, 0.3, 0.5]))
  program = choices.linear(
    'dpo', features, log_ref, tx=optax.sgd(1.0), weight=0.2
  )
  theta = choices.fit(
    program,
    jnp.zeros(2),
    jnp.array([[0, 1]]),
    steps=2,
    measure=lambda theta: theta,
  )[-1]
  moved = features @ theta
  assert moved[0] > 0 > moved[1]
  assert moved[2] == moved[0]
