"""Odds that a prompt is one of good responses."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import matched
from jaxrl_llm.types import Spec
from tests.plans import scripted

KEY = jax.random.key(0)


class Holding(scripted.Scripted):
  """Tools whose questions are these prompts, with their recorded columns."""

  held = None

  @property
  def tasks(self):
    return len(self.held.task)

  def questions(self, tasks):
    return jax.tree.map(lambda x: x[np.asarray(tasks)], self.held)


def asked(texts, scores):
  rows = scripted.answer(scripted.ask(*texts), ['x'] * len(texts), 3)
  columns = {
    'recorded': rows.content.response[:, None],
    'recorded_mask': rows.response_mask[:, None],
    'recorded_score': jnp.asarray(scores, jnp.float32)[:, None],
    'recorded_cut': rows.truncated[:, None],
  }
  return scripted.ask(*texts).replace(extras=columns)


def collect(plan, prompts, state=None, rows=2):
  tools = Holding(None)
  tools.held = prompts
  first = jax.tree.map(lambda x: x[:rows], prompts)
  state = plan.init(Spec(rows, 1, 3, 3)) if state is None else state
  rollouts, _, state = plan.collect(tools, first, state, KEY)
  return np.asarray(rollouts.extras['prompt_odds']), state


PLAN = matched.Matched(samples=1, size=8)


def test_a_bad_response_to_a_prompt_like_those_of_good_ones_has_high_odds():
  texts = ['aab', 'ccd', 'aab', 'aab', 'ccd', 'ccd', 'aab']
  odds, _ = collect(PLAN, asked(texts, [0, 0, 1, 1, 0, 0, 1]))
  assert odds[0] > 1.3 and odds[1] < 1 / 1.3


def test_prompts_of_one_kind_have_even_odds():
  odds, _ = collect(PLAN, asked(['ab', 'cd', 'ef'], [0, 0, 0]))
  assert odds.tolist() == [1, 1]


def test_pairs_of_the_same_prompts_have_even_odds():
  odds, _ = collect(PLAN, asked(['ab', 'cd'] * 4, [1, 1, 0, 0] * 2))
  np.testing.assert_allclose(odds, 1, atol=1e-6)


def test_it_is_fitted_once():
  texts = ['ab', 'cd', 'ab', 'cd']
  before, state = collect(PLAN, asked(texts, [1, 0, 1, 0]))
  after, _ = collect(PLAN, asked(texts, [0, 1, 0, 1]), state)
  np.testing.assert_array_equal(before, after)
  assert before[0] > 1 > before[1]


def test_what_is_fitted_has_the_least_loss():
  """By loops over what scikit-learn minimises, and steps to all sides."""
  rng = np.random.default_rng(0)
  features, labels = rng.random((12, 3)), rng.random(12) < 0.4
  found = matched.fit(features, labels)

  def loss(w):
    total = sum(x * x for x in w[:-1]) / 2
    for row, label in zip(features, labels):
      sign = 1 if label else -1
      cost = 12 / (2 * sum(1 for other in labels if other == label))
      margin = sign * (sum(a * b for a, b in zip(row, w)) + w[-1])
      total += cost * np.log1p(np.exp(-margin))
    return total

  for step in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
    assert loss(found + step) > loss(found)
