"""Sorting digits: what is asked, and what is paid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import masked
from jaxrl_llm import problems
from jaxrl_llm.problems.masked import words


def test_every_word_is_asked_once():
  found = np.asarray(words(jnp.arange(27), 3, 3))
  assert found[5].tolist() == [0, 1, 2]
  assert len({*map(tuple, found.tolist())}) == 27
  assert found.min() == 0 and found.max() == 2


def test_the_share_of_right_positions_is_paid_with_the_last_token(tmp_path):
  config = masked.get_config()
  with config.unlocked():
    config.policy.update(layers=1, width=8, heads=2, mlp_width=16)
  session, params = problems.assemble(config, tmp_path)
  tasks = jnp.arange(27, dtype=jnp.int32)
  rollouts = session.write(params, tasks, tasks, jax.random.key(0))
  content, paid = jax.tree.map(np.asarray, (rollouts.content, rollouts.paid))
  assert not paid[:, :-1].any()
  for row in range(27):
    response = np.zeros(3, int)
    response[content.position[row]] = content.token[row]
    share = np.mean(response == np.sort(content.prompt[row]))
    assert paid[row, -1] == pytest.approx(share)
