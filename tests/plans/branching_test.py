"""Values of prefixes and trees of samples, against what the script says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import segments, steps
from jaxrl_llm.plans import branching
from tests.plans import scripted

KEY = jax.random.key(0)


def ends_in(letter):
  return lambda text, record: float(text.endswith(letter))


def test_the_value_of_a_prefix_is_the_mean_reward_of_its_continuations():
  # From 'qab' on, two of three continuations end in x; from 'rb' on none.
  said = {'qab': ['x', 'x', 'y'], 'rb': ['y', 'y', 'y']}
  tools = scripted.Scripted(lambda text, i: said[text][i], ends_in('x'))
  rollouts = scripted.answer(scripted.ask('q', 'r'), ['abc', 'bcd'], 6)
  values = branching.values_of_prefixes(
    tools, rollouts, jnp.asarray([2, 1]), KEY, continuations=3
  )
  np.testing.assert_allclose(values, [2 / 3, 0], rtol=1e-6)


def test_continuations_that_could_not_be_judged_are_left_out():
  said = {'qa': ['x', '?', 'y', 'x']}
  judge = {'ax': 1.0, 'ay': 0.0, 'a?': None}
  tools = scripted.Scripted(
    lambda text, i: said[text][i], lambda text, record: judge[text]
  )
  rollouts = scripted.answer(scripted.ask('q'), ['ab'], 4)
  value = branching.values_of_prefixes(
    tools, rollouts, jnp.asarray([1]), KEY, continuations=4
  )
  np.testing.assert_allclose(value, [2 / 3], rtol=1e-6)


def every_second(logp, mask):
  return mask & (jnp.arange(logp.shape[1]) % 2 == 0)


def prefix_plan(judge):
  tools = scripted.Scripted(
    lambda text, i: 'abc' if text in 'qr' else 'c' * (i == 0), judge
  )
  plan = branching.PrefixValues(every_second, samples=2, continuations=2)
  return tools, *plan.collect(tools, scripted.ask('q', 'r'), (), KEY)[:2]


def test_values_stand_where_segments_start_and_nowhere_else():
  tools, rollouts, scores = prefix_plan(ends_in('c'))
  # 'abc' and its end: starts at columns 0 and 2. From the bare prompt 'abc'
  # is certain; after 'ab' one of two continuations is 'c'.
  expected = np.tile([1, 0, 0.5, 0, 0, 0], (4, 1))
  np.testing.assert_allclose(rollouts.extras['prefix_value'], expected)
  assert tools.notes['plan/segments'] == 2
  np.testing.assert_array_equal(scores.components[:, 0], [1, 1, 1, 1])


def test_segments_add_up_to_the_reward_above_the_first_value():
  _, rollouts, scores = prefix_plan(ends_in('c'))
  advantages = segments.chain(
    scores.components[:, 0], rollouts, threshold=1.0, interval=2
  )
  # exp(-token / 10) < 1 everywhere but at the end token, of log-prob 0.
  starts = segments.starts(
    rollouts.logp, rollouts.loss_mask, threshold=1.0, interval=2
  )
  total = jnp.sum(jnp.where(starts, advantages, 0), axis=1)
  first = rollouts.extras['prefix_value'][:, 0]
  np.testing.assert_allclose(total, scores.components[:, 0] - first)


def test_rows_that_do_not_count_are_not_continued():
  _, rollouts, _ = prefix_plan(lambda text, record: None)
  assert not np.any(rollouts.extras['prefix_value'])


def leaf(text, i):
  """Level by level: three letters, of which the first names the child."""
  return 'uvwxyz'[i] + 'ab'


def tree(samples, depth, reply=leaf, letter='b', columns=6):
  judge = ends_in(letter)
  tools = scripted.Scripted(reply, judge, columns=columns)
  plan = branching.Tree(samples=samples, depth=depth)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('q', 'r'), (), KEY)
  return tools, rollouts, scores


def test_rows_are_paths_that_share_the_edges_they_have_in_common():
  tools, rollouts, _ = tree(4, 2)
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

  _, rollouts, _ = tree(4, 2, reply)
  assert scripted.words(rollouts)[:4] == ['u', 'u', 'vabuab', 'vabvab']
  assert rollouts.length.tolist()[:2] == [2, 2]
  assert rollouts.truncated.tolist()[:4] == [False, False, True, True]


def test_edges_of_a_path_add_up_to_the_leaf_less_the_mean_of_all():
  _, rollouts, scores = tree(8, 3, letter='v', columns=3)
  rewards = scores.components[:, 0]
  added = steps.tree(rewards, rollouts)
  last = [int(jnp.argmax(rollouts.extras['level'][0] == d)) for d in range(3)]
  total = sum(added[:, column] for column in last)
  np.testing.assert_allclose(total, rewards - jnp.mean(rewards[:8]), atol=1e-6)


def test_a_tree_of_one_level_is_independent_sampling():
  _, rollouts, _ = tree(3, 1)
  assert scripted.words(rollouts)[:3] == ['uab', 'vab', 'wab']
  assert not np.any(rollouts.extras['level'])


def test_leaves_that_are_no_power_are_refused_with_the_nearest():
  with pytest.raises(ValueError, match='6 leaves .* 2 levels; use 4 or 9'):
    branching.Tree(samples=6, depth=2)


def test_more_levels_than_tokens_are_refused():
  with pytest.raises(ValueError, match='2 tokens do not make'):
    tree(8, 3, columns=2)
