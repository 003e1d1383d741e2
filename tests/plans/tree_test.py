"""Trees of samples, against what the script says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import steps
from jaxrl_llm.plans import tree
from tests.plans import scripted

KEY = jax.random.key(0)


def leaf(text, i):
  """Level by level: three letters, of which the first names the child."""
  return 'uvwxyz'[i] + 'ab'


def grown(samples, depth, reply=leaf, letter='b', columns=6):
  tools = scripted.Scripted(
    reply, lambda text, record: float(text.endswith(letter)), columns=columns
  )
  plan = tree.Tree(samples=samples, depth=depth)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('q', 'r'), (), KEY)
  return tools, rollouts, scores


def test_rows_are_paths_that_share_the_edges_they_have_in_common():
  tools, rollouts, _ = grown(4, 2)
  own = ['uabuab', 'uabvab', 'vabuab', 'vabvab']
  assert scripted.words(rollouts) == own * 2
  path = [[0, 0], [0, 1], [1, 0], [1, 1]]
  np.testing.assert_array_equal(rollouts.extras['node_path'], path * 2)
  np.testing.assert_array_equal(
    rollouts.extras['level'], [[0, 0, 0, 1, 1, 1]] * 8
  )
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4
  # One prompt a parent: its children share what was read.
  assert [len(asked) for asked in tools.asked] == [2, 4]


def test_a_response_that_ends_early_is_copied_and_goes_no_further():
  def reply(text, i):
    return 'u' if text == 'q' and i == 0 else leaf(text, i)

  _, rollouts, _ = grown(4, 2, reply)
  assert scripted.words(rollouts)[:4] == ['u', 'u', 'vabuab', 'vabvab']
  assert rollouts.length.tolist()[:2] == [2, 2]
  assert rollouts.truncated.tolist()[:4] == [False, False, True, True]


def test_edges_of_a_path_add_up_to_the_leaf_less_the_mean_of_all():
  _, rollouts, scores = grown(8, 3, letter='v', columns=3)
  rewards = scores.components[:, 0]
  added = steps.tree(rewards, rollouts)
  last = [int(jnp.argmax(rollouts.extras['level'][0] == d)) for d in range(3)]
  total = sum(added[:, column] for column in last)
  np.testing.assert_allclose(total, rewards - jnp.mean(rewards[:8]), atol=1e-6)


def test_a_tree_of_one_level_is_independent_sampling():
  _, rollouts, _ = grown(3, 1)
  assert scripted.words(rollouts)[:3] == ['uab', 'vab', 'wab']
  assert not np.any(rollouts.extras['level'])


def test_leaves_that_are_no_power_are_refused_with_the_nearest():
  with pytest.raises(ValueError, match='6 leaves .* 2 levels; use 4 or 9'):
    tree.Tree(samples=6, depth=2)


def test_more_levels_than_tokens_are_refused():
  with pytest.raises(ValueError, match='2 tokens do not make'):
    grown(8, 3, columns=2)
