"""Agents that share nothing but what they are paid."""

import jax
import jax.numpy as jnp
import numpy as np
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


def test_every_observation_is_somebodys():
  with pytest.raises(ValueError, match='share no observation'):
    Several(5, 3, agents=(3, 3))
