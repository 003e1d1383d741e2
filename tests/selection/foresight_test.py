import math

import numpy as np
import pytest

from jaxrl_llm.selection import foresight

RNG = np.random.default_rng(0)


def likely(shown, results, counts, x, width, prior, mean):
  """One chance, an entry of the context at a time."""
  won, tried = prior * mean, prior
  for features, result, count in zip(shown, results, counts):
    near = math.exp(-sum((x - features) ** 2) / (2 * width**2)) * count
    won, tried = won + near * result, tried + near
  return won / tried


def test_chances_are_the_loops_by_the_width_that_foretells_the_context_best():
  shown, asked = RNG.normal(size=(20, 3)), RNG.normal(size=(6, 3))
  results = 1 / (1 + np.exp(-3 * shown[:, 0]))
  counts = RNG.integers(1, 4, 20) * 1.0
  counts[[3, 7]] = 0
  live = np.flatnonzero(counts)
  mean = results[live] @ counts[live] / counts.sum()
  widths, losses = (0.3, 0.6, 1.2), []
  for width in widths:
    told = []
    for i in live:
      rest = [j for j in live if j != i]
      context = shown[rest], results[rest], counts[rest]
      told.append(likely(*context, shown[i], width, 2.0, mean))
    losses.append(foresight.loss(told, results[live]))
  width = widths[int(np.argmin(losses))]
  expected = [
    likely(shown, results, counts, x, width, 2.0, mean) for x in asked
  ]
  found = foresight.foretold(
    shown, results, counts, asked, prior=2.0, widths=widths
  )
  np.testing.assert_allclose(found, expected, rtol=1e-9)
  assert len(set(np.round(losses, 6))) == 3


def test_nothing_that_is_known_is_a_half_and_far_prompts_have_the_mean():
  nothing = foresight.foretold(
    np.zeros((4, 2)), np.ones(4), np.zeros(4), np.ones((3, 2))
  )
  np.testing.assert_array_equal(nothing, 0.5)
  one = foresight.foretold(
    np.zeros((1, 2)), np.array([1.0]), np.ones(1), np.full((1, 2), 99.0)
  )
  np.testing.assert_allclose(one, 1.0)


@pytest.mark.filterwarnings('error')
def test_loss_of_nothing_is_nothing():
  assert foresight.loss(np.zeros(0), np.zeros(0)) == 0


def test_loss_is_the_papers_and_finite_where_chances_are_0_or_1():
  p, r = RNG.uniform(0.05, 0.95, 7), np.array([0, 1, 1, 0, 0.5, 1, 0])
  entropy = np.mean(
    [-y * math.log(x) - (1 - y) * math.log(1 - x) for x, y in zip(p, r)]
  )
  logit = np.log(p / (1 - p))
  wrong = [
    math.log(1 + math.exp(logit[j] - logit[i]))
    for i in range(7)
    for j in range(7)
    if r[i] > r[j]
  ]
  expected = 0.75 * entropy + 0.25 * np.mean(wrong)
  np.testing.assert_allclose(foresight.loss(p, r), expected, rtol=1e-9)
  assert np.isfinite(foresight.loss([0.0, 1.0], [1.0, 0.0]))
  np.testing.assert_allclose(
    foresight.loss([0.3, 0.3], [1.0, 1.0]), -0.75 * math.log(0.3)
  )


def test_features_tell_prompts_by_their_tokens_and_not_by_padding():
  tokens = np.array([[1, 2, 3], [9, 2, 3], [3, 2, 1], [1, 2, 3], [0, 0, 0]])
  mask = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]], bool)
  found = foresight.features(tokens, mask)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0])
  np.testing.assert_array_equal(found[0], found[3])
  assert np.abs(found[0] - found[2]).max() > 0.1  # the order of neighbours
  other = tokens.copy()
  other[1, 0] = 5
  np.testing.assert_array_equal(found, foresight.features(other, mask))


@pytest.mark.parametrize(
  ('weight', 'expected'), [(1.0, [1, 1]), (0.0, [0, 0]), (0.5, [0, 1])]
)
def test_a_prompt_goes_to_whom_it_pays_to_ask(weight, expected):
  chances = np.array([[0.5, 0.1], [0.6, 0.9]])
  found = foresight.routed(chances, [0.0, 0.4], weight=weight)
  assert found.tolist() == expected
