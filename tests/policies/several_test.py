"""Agents that share nothing but what they are paid."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm.policies.categorical import Categorical
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.policies.several import Several

TWO = Several(5, 3, agents=(3, 2))


def params_of(seed=0):
  start = initial(TWO.table(), jax.random.key(0))
  return jax.tree.map(
    lambda x: jax.random.normal(jax.random.key(seed), x.shape), start
  )


def test_each_observation_is_seen_by_its_agent():
  params = params_of()
  whole = {
    name: jnp.concatenate([params['agent_0'][name], params['agent_1'][name]])
    for name in ('logits', 'value')
  }
  one, states = Categorical(5, 3), jnp.arange(5)
  np.testing.assert_array_equal(
    TWO.log_probs(params, states), one.log_probs(whole, states)
  )
  np.testing.assert_array_equal(
    TWO.values(params, states), one.values(whole, states)
  )


def stepped(gradients, **options):
  """The step of each agent, with clipping at a norm of 1 before Adam's."""
  tx = TWO.apart(
    optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)), **options
  )
  params = params_of()
  updates, _ = tx.update(gradients, tx.init(params), params)
  return updates


def test_a_large_gradient_of_one_agent_leaves_the_step_of_the_other():
  small = jax.tree.map(lambda x: 0.01 * x, params_of(1))
  large = {
    **small,
    'agent_1': jax.tree.map(lambda x: 1e4 * x, small['agent_1']),
  }
  alone, both = stepped(small), stepped(large)
  for name, leaf in alone['agent_0'].items():
    np.testing.assert_array_equal(leaf, both['agent_0'][name])
  norm = optax.global_norm(both['agent_1'])
  np.testing.assert_allclose(norm, 1, rtol=1e-5)


def test_who_is_frozen_stays():
  found = stepped(params_of(1), frozen=(1,))
  assert not any(np.any(x) for x in jax.tree.leaves(found['agent_1']))
  assert all(np.any(x) for x in jax.tree.leaves(found['agent_0']))


def test_agents_there_are_not_are_refused():
  with pytest.raises(ValueError, match=r'names the agents \[2\]; there are 2'):
    TWO.apart(optax.sgd(1.0), (2,))
  with pytest.raises(ValueError, match='share no observation'):
    Several(5, 3, agents=(3, 3))
