import functools

import numpy as np
import pytest

from jaxrl_llm.objectives import aggregate
from tests.objectives import cases

_ROWS = np.arange(8)
_ALL = [
  aggregate.token_sum,
  aggregate.prompt_mean,
  aggregate.token_mean,
  aggregate.sequence_mean,
  aggregate.sequence_sum,
  aggregate.budget_mean,
  functools.partial(aggregate.budget_mean, budget=10),
]
# Rows of one length do not weigh alike there, nor their tokens.
_EVERY = [*_ALL, aggregate.split_first]


def _inputs():
  _, _, losses, mask = cases.inputs()
  rng = np.random.default_rng(5)
  losses = rng.standard_normal(mask.shape)
  keep = rng.integers(0, 3, 8) * 0.5
  keep[0] = 1.0
  return losses, mask * 1.0, keep


def _loop(name, losses, mask, keep, budget):
  """The definition, row by row, in float64."""
  rows = [i for i in range(8) if mask[i].sum() > 0]
  count = sum(keep[i] for i in rows)
  tokens = sum(keep[i] * mask[i].sum() for i in rows)
  total = 0.0
  for i in rows:
    row = sum(mask[i, t] * losses[i, t] for t in range(mask.shape[1]))
    scale = {
      'token_sum': 1,
      # Each row is a prompt of its own: what it weighs falls out.
      'prompt_mean': keep[i]
      * mask[i].sum()
      * len([j for j in rows if keep[j]]),
      'token_mean': tokens,
      'sequence_mean': mask[i].sum() * count,
      'sequence_sum': count,
      'budget_mean': budget * count,
    }[name]
    total += keep[i] * row / (scale or 1)
  return total


@pytest.mark.parametrize('fn', _ALL)
def test_weighted_sum_equals_the_definition(fn):
  losses, mask, keep = _inputs()
  name = getattr(fn, 'func', fn).__name__
  budget = getattr(fn, 'keywords', {}).get('budget', mask.shape[1])
  ours = np.sum(losses * fn(mask, keep, _ROWS))
  expected = _loop(name, losses, mask, keep, budget)
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize('fn', _EVERY)
def test_nothing_to_learn_from_weighs_nothing(fn):
  _, mask, keep = _inputs()
  np.testing.assert_array_equal(fn(mask * 0, keep, _ROWS), 0)
  np.testing.assert_array_equal(fn(mask, keep * 0, _ROWS), 0)


@pytest.mark.parametrize('fn', _EVERY)
def test_a_dropped_row_leaves_every_count(fn):
  _, mask, keep = _inputs()
  keep = np.ones_like(keep)
  keep[2] = 0.0
  without = np.delete(np.asarray(fn(mask, keep, _ROWS)), 2, axis=0)
  fewer = np.delete(mask, 2, axis=0), np.delete(keep, 2), _ROWS[:-1]
  np.testing.assert_allclose(without, fn(*fewer), rtol=1e-6)


@pytest.mark.parametrize('fn', [*_EVERY, aggregate.row_weights])
def test_a_row_of_weight_two_is_two_rows(fn):
  _, mask, _ = _inputs()
  keep = np.ones(8)
  keep[2] = 2.0
  ours = np.array(fn(mask, keep, _ROWS))
  twice = np.append(_ROWS, 2)
  apart = np.asarray(fn(mask[twice], np.ones(9), twice))
  ours[2] /= 2
  np.testing.assert_allclose(ours[twice], apart, rtol=1e-6)


@pytest.mark.parametrize('fn', [*_EVERY[1:], aggregate.row_weights])
def test_twice_the_weight_of_all_changes_nothing(fn):
  _, mask, keep = _inputs()
  weights = fn(mask, keep, _ROWS)
  np.testing.assert_allclose(fn(mask, 2 * keep, _ROWS), weights, rtol=1e-6)


def test_all_agree_up_to_scale_when_rows_are_equally_long():
  mask, keep = np.ones((4, 5)), np.ones(4)
  weights = [np.asarray(fn(mask, keep, _ROWS[:4])) for fn in _ALL]
  for w in weights:
    np.testing.assert_allclose(w / w[0, 0], 1, rtol=1e-6)


def test_prompts_weigh_alike_whatever_their_ids_are():
  losses, mask, keep = _inputs()
  # The last row has no token, and its prompt no other.
  group = np.array([90, 90, 90, 7, 7, 40, 40, 55])
  ours = np.sum(losses * aggregate.prompt_mean(mask, keep, group))
  means = []
  for prompt in (90, 7, 40, 55):
    rows = np.flatnonzero(group == prompt)
    tokens = sum(keep[i] * mask[i].sum() for i in rows)
    total = sum(keep[i] * (mask[i] * losses[i]).sum() for i in rows)
    means += [total / tokens] if tokens else []
  assert len(means) == 3
  np.testing.assert_allclose(ours, np.mean(means), rtol=1e-5)


def test_prompt_mean_of_one_prompt_is_token_mean():
  _, mask, keep = _inputs()
  one = np.full(8, 3)
  ours = aggregate.prompt_mean(mask, keep, one)
  np.testing.assert_allclose(ours, aggregate.token_mean(mask, keep, one))


def test_row_weights_sum_to_one_over_rows_that_count():
  _, mask, keep = _inputs()
  weights = aggregate.row_weights(mask, (keep > 0) * 1.0, _ROWS)
  np.testing.assert_allclose(np.sum(weights), 1, rtol=1e-6)
  assert weights[-1] == 0


def test_first_tokens_split_off_weigh_what_they_are_given_whatever_the_length():
  _, mask, keep = _inputs()
  for weight in (0.0, 0.3):
    ours = aggregate.split_first(mask, keep, _ROWS, first_weight=weight)
    first = np.cumsum(mask > 0, axis=1) * (mask > 0) == 1
    np.testing.assert_allclose(np.sum(ours, where=first), weight, rtol=1e-6)
    np.testing.assert_allclose(np.sum(ours, where=~first), 1, rtol=1e-6)


def test_a_split_by_the_share_of_first_tokens_is_the_mean_over_all():
  """Both then have the same relative weights: limit of Thinkless's loss."""
  _, mask, keep = _inputs()
  tokens = keep @ mask.sum(1)
  heads = keep @ np.any(mask, axis=1)
  share = heads / (tokens - heads)
  ours = aggregate.split_first(mask, keep, _ROWS, first_weight=share)
  plain = (1 + share) * aggregate.token_mean(mask, keep, _ROWS)
  np.testing.assert_allclose(ours, plain, rtol=1e-5)


@pytest.mark.parametrize(
  ('fn', 'whole'),
  [
    (aggregate.sequence_mean_of_agents, aggregate.sequence_mean),
    (aggregate.token_mean_of_agents, aggregate.token_mean),
  ],
)
def test_every_agent_has_a_mean_of_its_own(fn, whole):
  """As if its rows were all; numbers of agents may be any."""
  _, mask, keep = _inputs()
  agent = np.array([0, 3, 0, 99, 3, 0, 99, 5], np.int32)
  keep[agent == 5] = 0.0
  found = np.asarray(fn(mask, keep, _ROWS, agent=agent))
  for name in (0, 3, 99):
    mine = agent == name
    alone = whole(mask[mine], keep[mine], _ROWS[mine])
    np.testing.assert_allclose(found[mine], alone, rtol=1e-6)
  assert not found[agent == 5].any()
  one = fn(mask, keep, _ROWS, agent=0 * agent)
  np.testing.assert_allclose(one, whole(mask, keep, _ROWS), rtol=1e-6)
  mixed = fn(mask, keep, _ROWS, agent=agent, apart=0.0)
  np.testing.assert_allclose(mixed, whole(mask, keep, _ROWS), rtol=1e-6)
