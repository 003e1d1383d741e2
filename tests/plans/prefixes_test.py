"""Prefixes: what moves into the prompt comes back, token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import given, prefixes
from tests.plans import scripted

PROMPTS = scripted.ask('ab', 'xyz')


def rows(*texts, columns=5):
  return scripted.answer(PROMPTS, texts, columns, ended=False)


@pytest.mark.parametrize('cut', [(0, 0), (2, 1), (3, 4)])
def test_a_prompt_ends_with_the_prefix_and_has_no_gaps(cut):
  rollouts = rows('cde', 'uvwx')
  prompts = prefixes.as_prompts(rollouts, jnp.asarray(cut))
  expected = ['ab' + 'cde'[: cut[0]], 'xyz' + 'uvwx'[: cut[1]]]
  assert scripted.contexts(prompts) == expected
  for mask, text in zip(np.asarray(prompts.mask), expected):
    assert mask.tolist() == [False] * (8 - len(text)) + [True] * len(text)
  np.testing.assert_array_equal(prompts.task, rollouts.task)


def test_joined_rows_are_prefix_and_continuation():
  rollouts, more = rows('cde', 'uvwx'), scripted.answer(PROMPTS, ['q', 'rs'], 3)
  both = prefixes.joined(rollouts, jnp.asarray([2, 0]), more)
  assert scripted.words(both) == ['cdq', 'rs']
  assert both.length.tolist() == [4, 3]  # with the end token
  assert both.truncated.tolist() == [False, False]
  first = [
    -rollouts.content.response[0, 0] / 10,
    -rollouts.content.response[0, 1] / 10,
  ]
  np.testing.assert_allclose(both.logp[0, :2], first)
  np.testing.assert_allclose(
    both.logp[0, 2:], [-scripted.encode('q')[0] / 10, 0, 0]
  )


def test_joined_keeps_what_the_oracle_of_loops_keeps():
  rng = np.random.default_rng(0)
  prompts = scripted.ask(*['a'] * 40)

  def words_of(most):
    return [
      ''.join(rng.choice(list('bcdef'), rng.integers(0, most + 1)))
      for _ in range(40)
    ]

  old, new = words_of(6), words_of(4)
  rollouts = scripted.answer(prompts, old, 6, ended=False)
  more = scripted.answer(prompts, new, 4, ended=False)
  cut = np.array([rng.integers(0, len(text) + 1) for text in old])
  going = rng.random(40) < 0.7
  both = prefixes.joined(rollouts, jnp.asarray(cut), more, jnp.asarray(going))
  for row in range(40):
    whole = old[row][: cut[row]] + new[row]
    expected = whole[:6] if going[row] else old[row]
    tokens = np.asarray(both.content.response[row])[
      np.asarray(both.response_mask[row])
    ]
    assert scripted.decode(tokens) == expected
    np.testing.assert_allclose(
      both.logp[row][: len(expected)],
      [-token / 10 for token in scripted.encode(expected)],
      rtol=1e-6,
    )
    assert not np.any(both.logp[row][len(expected) :])


def test_what_does_not_fit_is_lost_and_the_row_is_truncated():
  more = scripted.answer(PROMPTS, ['qrst', 'q'], 5)
  both = prefixes.joined(rows('cde', 'uvwx'), jnp.asarray([3, 3]), more)
  assert scripted.words(both) == ['cdeqr', 'uvwq']
  assert both.truncated.tolist() == [True, False]


def test_the_support_of_a_continuation_comes_along():
  more = scripted.answer(PROMPTS, ['q', 'r'], 2)
  support = jnp.arange(12).reshape(2, 2, 3)
  more = more.replace(extras={**more.extras, 'support': support})
  empty = given.blank(PROMPTS, 1, 3)
  both = prefixes.joined(empty, jnp.asarray([0, 0]), more)
  assert both.extras['support'].shape == (2, 3, 3)
  np.testing.assert_array_equal(both.extras['support'][:, :2], support)
  assert np.all(np.asarray(both.extras['support'][:, 2]) == -1)


def test_compiled_equals_eager():
  rollouts, more = rows('cde', 'uvwx'), scripted.answer(PROMPTS, ['q', 'rs'], 3)
  cut = jnp.asarray([2, 0])
  with jax.disable_jit():
    slow = (
      prefixes.joined(rollouts, cut, more),
      prefixes.as_prompts(rollouts, cut),
    )
  fast = (
    prefixes.joined(rollouts, cut, more),
    prefixes.as_prompts(rollouts, cut),
  )
  jax.tree.map(np.testing.assert_array_equal, slow, fast)
