import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.selection import rejection

KEY = jax.random.key(0)
REWARDS = jnp.array([0.3, 1.0, -0.5, 0.9, 0.1, 1.4, 0.2, 0.0])


@pytest.mark.parametrize('count', [0, 1, 3, 8])
@pytest.mark.parametrize('temperature', [1e-3, 0.5, 1e3])
@pytest.mark.parametrize('sweeps', [1, 8])
def test_exactly_the_count_is_accepted(count, temperature, sweeps):
  taken = rejection.accepted(
    KEY, REWARDS, count=count, temperature=temperature, sweeps=sweeps
  )
  assert taken.sum() == count


def test_cold_takes_the_highest_and_hot_the_first():
  cold = rejection.accepted(KEY, REWARDS, count=3, temperature=1e-4)
  np.testing.assert_array_equal(np.flatnonzero(cold), [1, 3, 5])
  hot = rejection.accepted(KEY, REWARDS, count=3, temperature=1e6)
  np.testing.assert_array_equal(np.flatnonzero(hot), [0, 1, 2])


def test_the_first_accepted_follows_the_tilted_policy():
  """Of 64 candidates, 4,000 times; frequencies are off by about 1 %."""
  policy = jnp.log(jnp.array([0.5, 0.3, 0.2]))
  value = jnp.array([0.0, 0.7, 1.0])

  @jax.vmap
  def draw(key):
    first, second = jax.random.split(key)
    kind = jax.random.categorical(first, policy, shape=(64,))
    taken = rejection.accepted(second, value[kind], count=1, temperature=0.7)
    return kind[jnp.argmax(taken)]

  drawn = draw(jax.random.split(KEY, 4000))
  found = np.bincount(drawn, minlength=3) / 4000
  np.testing.assert_allclose(
    found, jax.nn.softmax(policy + value / 0.7), atol=0.03
  )


@pytest.mark.parametrize('sweeps', [1, 8])
def test_sweeps_without_replacement_equal_a_loop(sweeps):
  """After one of them both rows lack some, and not as many."""
  rows = np.stack([REWARDS, 3 * REWARDS]).astype('d')
  uniforms = [
    np.asarray(jax.random.uniform(k, rows.shape))
    for k in jax.random.split(KEY, sweeps)
  ]
  ours = rejection.accepted(
    KEY, jnp.float32(rows), count=5, temperature=0.5, sweeps=sweeps
  )
  for row, rewards in enumerate(rows):
    taken = []
    for draws in uniforms:
      left = [i for i in range(8) if i not in taken]
      high = max(rewards[i] for i in left)
      for i in left:
        chance = np.exp((rewards[i] - high) / 0.5)
        if len(taken) < 5 and draws[row, i] < chance:
          taken.append(i)
    rest = [i for i in np.argsort(-rewards) if i not in taken]
    taken += rest[: 5 - len(taken)]
    np.testing.assert_array_equal(np.flatnonzero(ours[row]), sorted(taken))


def test_rows_are_drawn_apart_and_more_than_there_are_is_refused():
  rows = jnp.stack([REWARDS, REWARDS[::-1]])
  taken = rejection.accepted(KEY, rows, count=2, temperature=1e-4)
  np.testing.assert_array_equal(taken, jnp.stack([taken[0], taken[0][::-1]]))
  with pytest.raises(ValueError, match='9 of 8'):
    rejection.accepted(KEY, REWARDS, count=9)


def test_a_rankers_reward_is_the_logit_held_finite():
  np.testing.assert_allclose(
    rejection.ranker_reward(jnp.array([0.5, 0.75])),
    [0.0, np.log(3)],
    rtol=1e-5,
    atol=1e-7,
  )
  assert np.all(np.isfinite(rejection.ranker_reward(jnp.array([0.0, 1.0]))))
