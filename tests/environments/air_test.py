import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import air

KEY = jax.random.key(0)


def classes(field, edges):
  return [[sum(x >= edge for edge in edges) for x in row] for row in field]


@pytest.mark.parametrize('worth', [(), ((1, 0, -1), (0, 1, 0), (-2, 0, 3))])
def test_a_forecast_is_paid_by_the_class_that_it_falls_in(worth):
  sky = air.Air(records=5, horizon=3, edges=(-0.3, 0.3), worth=worth)
  tasks = jnp.array([4, 0])
  state = sky.reset(tasks, KEY)
  rng = np.random.default_rng(0)
  table = np.array(worth or np.eye(3))
  np.testing.assert_array_equal(
    sky.observe(state), np.c_[sky.fields[[4, 0], 0], np.ones(2)]
  )
  for time in range(1, 4):
    said = rng.normal(size=(2, 4)).astype(np.float32)
    state, outcome = sky.step(state, jnp.asarray(said), KEY)
    own = classes(said, sky.edges)
    true = classes(sky.fields[[4, 0], time], sky.edges)
    wanted = [
      np.mean([table[a][b] for a, b in zip(x, y)]) for x, y in zip(own, true)
    ]
    np.testing.assert_allclose(outcome.reward, wanted, rtol=1e-6)
    assert outcome.terminated.tolist() == [time == 3] * 2
    np.testing.assert_allclose(
      sky.observe(state), np.c_[said, np.full(2, 1 - time / 3)], rtol=1e-6
    )


def test_records_move_downwind_and_have_a_spread_of_one():
  sky = air.Air(records=400)
  now, later = sky.fields[:, 0], sky.fields[:, 1]
  own = np.corrcoef(now[:, 1], later[:, 1])[0, 1]
  upwind = np.corrcoef(now[:, 0], later[:, 1])[0, 1]
  downwind = np.corrcoef(now[:, 2], later[:, 1])[0, 1]
  assert min(own, upwind) > downwind + 0.1
  assert abs(sky.fields.std() - 1) < 1e-5


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [({'edges': (0.1, 0.0)}, 'ascend'), ({'worth': ((1.0,),)}, '4 rows')],
)
def test_classes_that_make_no_sense_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    air.Air(**wrong)
