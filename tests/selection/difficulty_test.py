import collections

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.selection.difficulty import PassBins
from tests.advantages import cases


def _visited(bins, state, rewards, *, tasks=None, valid=None):
  """The state after groups of 4 rows, one a task if nothing else is said."""
  rollouts = cases.rollouts()
  if tasks is not None:
    rollouts = rollouts.replace(task=jnp.repeat(jnp.asarray(tasks), 4))
  rollouts = rollouts.replace(
    valid=jnp.ones(16, bool) if valid is None else jnp.asarray(valid)
  )
  return jax.jit(bins.update)(state, rollouts, jnp.asarray(rewards))


def _solved(*groups):
  """Rewards of 4 groups with one right response where it says so."""
  rewards = np.zeros((4, 4), np.float32)
  rewards[:, 2] = groups
  return rewards.reshape(-1)


def test_bins_are_those_of_a_loop_over_visits():
  bins = PassBins(window=1000)
  state = bins.init(4)
  rng = np.random.default_rng(0)
  visits, place = collections.defaultdict(list), [0] * 4
  for _ in range(60):
    solved = rng.random(4) < [0.1, 0.4, 0.8, 0.97]
    state = _visited(bins, state, _solved(*solved))
    for task in range(4):
      visits[task].append(solved[task])
      share = np.mean(visits[task])
      new = sum(share >= edge for edge in bins.edges)
      old = place[task]
      edge = bins.edges[min(old, new)] if new != old else 0
      if (new > old and share >= edge + bins.margin) or (
        new < old and share <= edge - bins.margin
      ):
        place[task] = new
    np.testing.assert_array_equal(state['bin'], place)


def test_an_edge_belongs_to_the_bin_above():
  bins = PassBins(edges=(0.5,), margin=0.0)
  state = _visited(bins, bins.init(4), _solved(1, 0, 1, 0))
  state = _visited(bins, state, _solved(0, 0, 1, 1))
  assert state['bin'].tolist() == [1, 0, 1, 1]


def test_a_task_stays_until_its_rate_is_past_the_margin():
  bins = PassBins(edges=(0.5,), margin=0.1)
  state, place = bins.init(1), []
  for solved in (1, 0, 0, 1, 1, 1):
    state = _visited(bins, state, _solved(solved, 0, 0, 0), tasks=[0] + [1] * 3)
    place.append(int(state['bin'][0]))
  # Rates 1, 1/2, 1/3, 1/2, 3/5, 2/3.
  assert place == [1, 1, 0, 0, 1, 1]


def test_a_visit_is_one_whatever_its_rows_and_invalid_ones_are_none():
  bins = PassBins()
  valid = np.ones(16, bool)
  valid[2], valid[4:8] = False, False
  state = _visited(
    bins, bins.init(4), _solved(1, 1, 1, 0), tasks=[0, 1, 2, 2], valid=valid
  )
  np.testing.assert_array_equal(state['visits'], [1, 0, 2, 0])
  np.testing.assert_array_equal(state['passes'], [0, 0, 1, 0])


def test_a_full_window_forgets():
  bins = PassBins(window=4)
  state = bins.init(4)
  for _ in range(4):
    state = _visited(bins, state, _solved(1, 1, 1, 1))
  for n in range(1, 20):
    state = _visited(bins, state, _solved(0, 1, 1, 1))
    rate = np.asarray(state['passes'] / state['visits'])
    np.testing.assert_allclose(rate, [0.75**n, 1, 1, 1], rtol=1e-5)
  assert state['bin'].tolist() == [0, 6, 6, 6]
