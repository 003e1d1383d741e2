"""What single steps earn, in rows that are given what their trajectory did."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.rewards import steps
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, initial_credit

# Two episodes of a prompt, of two turns of two tokens each. The first turn of
# the first is paid 0.5, its end another 1; the second earns 1 at its end alone,
# and has a third row that is not valid.
PAID = np.array([0.5, 0.0, 7.0, 0.0, 0.0, 9.0])
REWARDS = np.array([1.5, 1.5, 0.0, 1.0, 1.0, 0.0])
VALID = np.array([True, True, False, True, True, False])
EXTRAS = {
  'trajectory': np.array([0, 0, 0, 1, 1, 1]),
  'step': np.array([0, 1, 2, 0, 1, 2]),
  'agent': np.array([0, 1, 0, 0, 1, 0]),
  'copies': np.ones(6),
  # The first turns are taken in one state, the second in two.
  'anchor': np.array([0, 1, 0, 0, 2, 0]),
}


def rows(paid=PAID):
  found = policy.as_rollouts(
    np.zeros((6, 2), np.int32), np.ones((6, 2), bool), group=jnp.zeros(6, int)
  )
  extras = {name: jnp.asarray(x, jnp.int32) for name, x in EXTRAS.items()}
  extras['step_reward'] = jnp.asarray(paid, jnp.float32)
  return found.replace(valid=jnp.asarray(VALID), extras=extras)


def test_a_step_earns_what_it_was_paid_and_the_last_one_the_rest():
  found = steps.apart(jnp.asarray(REWARDS), rows())
  np.testing.assert_allclose(found, [0.5, 1.0, 0, 0, 1.0, 0])


def test_the_outcome_is_shared_where_it_was_paid_to_no_step():
  found = steps.shared(jnp.asarray(REWARDS), rows())
  np.testing.assert_allclose(found, [1.5, 1.0, 0, 1.0, 1.0, 0])


@pytest.mark.parametrize('weight', [0.0, 0.25])
def test_a_weight_says_how_much_of_the_pay_is_a_steps_own(weight):
  found = steps.shared(jnp.asarray(REWARDS), rows(), weight=weight)
  wanted = REWARDS + weight * np.array([0.0, -0.5, 0, 0, 0, 0])
  np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize('name', ['apart', 'shared'])
def test_rows_in_another_order_earn_the_same(name):
  order = np.array([4, 2, 0, 5, 1, 3])
  given = rows()
  mixed = given.replace(
    valid=given.valid[order],
    extras={k: x[order] for k, x in given.extras.items()},
  )
  fn = getattr(steps, name)
  np.testing.assert_allclose(
    fn(jnp.asarray(REWARDS)[order], mixed),
    fn(jnp.asarray(REWARDS), given)[order],
  )


def credited(name, given, **hyper):
  """f32[N]: the advantage of each row's first token."""
  scores = Scores(jnp.asarray(REWARDS)[:, None], jnp.ones(1))
  start = initial_credit(given, scores).replace(rewards=jnp.asarray(REWARDS))
  stage = recipes.build(name, **hyper).credit
  found, _ = stage.update(start, given, stage.init(None))
  return np.asarray(found.advantages)[:, 0]


def spread(*pair):
  """Two values in units of their spread, as of a group of two."""
  mean, ddof = sum(pair) / 2, 1
  std = (sum((x - mean) ** 2 for x in pair) / (2 - ddof)) ** 0.5
  return [(x - mean) / (std + 1e-6) for x in pair]


@pytest.mark.parametrize(
  ('name', 'first', 'second'),
  [
    # By time: 0.5 against 0, and 1 against 1.
    ('step_grpo', spread(0.5, 0.0), [0.0, 0.0]),
    # By agent: 0.5 + 1 against 0 + 1, and the outcome alone.
    ('m_grpo', spread(1.5, 1.0), [0.0, 0.0]),
    # By state: the second turns have nobody to be compared with.
    ('hi_agent', spread(1.5, 1.0), [0.0, 0.0]),
    # The outcome of the episode, whoever earned it.
    ('dr_mas', spread(1.5, 1.0), spread(1.5, 1.0)),
  ],
)
def test_pay_of_the_first_turn_is_credited_to_the_first_turn(
  name, first, second
):
  found = credited(name, rows())
  np.testing.assert_allclose(found[[0, 3]], first, atol=1e-5)
  np.testing.assert_allclose(found[[1, 4]], second, atol=1e-5)
  assert not found[~VALID].any()


@pytest.mark.parametrize('pay', [0.1, 0.7, 5.3])
@pytest.mark.parametrize(
  ('name', 'outcome'),
  [('m_grpo', 0.3), ('m_grpo', 1.0), ('hi_agent', 0.3), ('step_grpo', 0.0)],
)
def test_episodes_of_other_lengths_that_earned_alike_teach_nothing(
  name, outcome, pay
):
  """Whatever the sums of their pay are rounded to."""
  turns, lengths = 5, np.array([1, 2, 3, 5])
  step = np.tile(np.arange(turns), 4)
  valid = step < np.repeat(lengths, turns)
  paid = np.where(valid & (step > 0), pay, 0).astype('f')
  returns = np.add.reduce(paid.reshape(4, turns), axis=1, dtype='f')
  extras = {
    'trajectory': np.repeat(np.arange(4), turns),
    'step': step,
    'agent': step > 0,
    'anchor': step > 0,
    'copies': valid,
  }
  given = policy.as_rollouts(
    np.zeros((20, 1), np.int32),
    np.ones((20, 1), bool),
    group=jnp.zeros(20, int),
  ).replace(valid=jnp.asarray(valid))
  given = given.with_extras(
    step_reward=jnp.asarray(paid),
    **{key: jnp.asarray(x, jnp.int32) for key, x in extras.items()},
  )
  rewards = jnp.asarray(np.repeat(returns + np.float32(outcome), turns))
  start = initial_credit(given, Scores(rewards[:, None], jnp.ones(1)))
  stage = recipes.build(name).credit
  found, _ = stage.update(
    start.replace(rewards=rewards), given, stage.init(None)
  )
  np.testing.assert_array_equal(found.advantages, 0)


def test_poad_credits_the_action_that_was_paid():
  """One row of two actions of two tokens, paid 0.5 at the end of the first."""
  given = policy.as_rollouts(np.zeros((1, 4), np.int32), np.ones((1, 4), bool))
  given = given.replace(
    paid=jnp.array([[0.0, 0.5, 0.0, 0.0]]),
    extras={
      'action_end': jnp.array([[False, True, False, True]]),
      'old_values': jnp.zeros((1, 4)),
    },
  )
  scores = Scores(jnp.array([[1.5]]), jnp.ones(1))
  start = initial_credit(given, scores).replace(rewards=jnp.array([1.5]))
  stage = recipes.build('poad', discount=0.5, trace=1.0).credit.stages[0]
  found, _ = stage.update(start, given, ())
  # 0.5 + 0.5 * 1 in the first action, 1 in the second.
  np.testing.assert_allclose(found.advantages[0], [1.0, 1.0, 1.0, 1.0])
  late = given.replace(paid=jnp.zeros((1, 4)))
  found, _ = stage.update(start, late, ())
  np.testing.assert_allclose(found.advantages[0], [0.75, 0.75, 1.5, 1.5])
