"""Many iterations as one program end where the loop does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import control
from jaxrl_llm import problems
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.training import compact, loop


def session_of(tmp_path, **changed):
  config = control.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(changed)
  return problems.assemble(config, tmp_path)


def test_compact_iterations_are_those_of_the_loop(tmp_path):
  session, params = session_of(tmp_path, **{'sample.prompts': 8, 'steps': 3})
  state = loop.begin(session, jax.tree.map(jnp.copy, params))
  rewards = []
  for step in range(3):
    with jax.transfer_guard_device_to_host('allow'):
      state, metrics, _ = loop.iterate(session, state, step)
    rewards.append(metrics['reward/mean'])
  start = session.init(jax.tree.map(jnp.copy, params))
  other, seen = compact.iterations(session, start, 3, jnp.int32(0))
  assert int(other.step) == 3
  np.testing.assert_allclose(seen['reward/mean'], rewards, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    other.params,
    state.params,
  )


@pytest.mark.slow
def test_seeds_run_side_by_side_and_reach_the_regulators_optimum(tmp_path):
  """Within 5 % of the Riccati value, in three seeds of three."""
  session, _ = session_of(tmp_path)
  table = session.policy.table()
  states, _ = compact.seeds(
    session, lambda key: initial(table, key), 200, jnp.arange(3)
  )
  key = jax.random.key(7)
  for seed in range(3):
    params = jax.tree.map(lambda x, seed=seed: x[seed], states.params)
    found = session.measure(params, key, samples=256)
    assert abs(found['return'] / found['optimum'] - 1) < 0.05, found


def test_a_run_of_one_seed_is_the_same_beside_others(tmp_path):
  session, _ = session_of(tmp_path, **{'sample.prompts': 4})
  session = dataclasses.replace(session)
  table = session.policy.table()

  def ended(numbers):
    init = lambda key: initial(table, key)  # noqa: E731
    return compact.seeds(session, init, 2, jnp.asarray(numbers))[0].params

  both, alone = ended([3, 5]), ended([5])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[1], b[0], rtol=1e-5, atol=1e-6),
    both,
    alone,
  )
