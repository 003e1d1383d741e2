"""Values of prefixes, against what the script says."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.advantages import segments
from jaxrl_llm.plans import prefix_values
from tests.plans import scripted

KEY = jax.random.key(0)


def ends_in(letter):
  return lambda text, record: float(text.endswith(letter))


def test_the_value_of_a_prefix_is_the_mean_reward_of_its_continuations():
  # From 'qab' on, two of three continuations end in x; from 'rb' on none.
  said = {'qab': ['x', 'x', 'y'], 'rb': ['y', 'y', 'y']}
  tools = scripted.Scripted(lambda text, i: said[text][i], ends_in('x'))
  rollouts = scripted.answer(scripted.ask('q', 'r'), ['abc', 'bcd'], 6)
  values = prefix_values.values_of_prefixes(
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
  value = prefix_values.values_of_prefixes(
    tools, rollouts, jnp.asarray([1]), KEY, continuations=4
  )
  np.testing.assert_allclose(value, [2 / 3], rtol=1e-6)


def every_second(logp, mask):
  return mask & (jnp.arange(logp.shape[1]) % 2 == 0)


def prefix_plan(judge):
  tools = scripted.Scripted(
    lambda text, i: 'abc' if text in 'qr' else 'c' * (i == 0), judge
  )
  plan = prefix_values.PrefixValues(every_second, samples=2, continuations=2)
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
