"""Bandits that choose how often questions are asked."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import bandit_budgets
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Spec


def _bandits():
  plan = bandit_budgets.Bandits(samples=4, least=2, most=7, rate=2.0, floor=0.1)
  state = plan.init(Spec(40, 4, 1, 2, tasks=10))
  place = jnp.array([0, 0, 0, 3, 3, 6, 6, 6, 6, 6])
  return plan, state | {'bins': state['bins'] | {'bin': place}}


def test_bandits_choose_the_likeliest_numbers_that_fill_the_budget():
  """All 6^3 choices of three bins of 3, 2 and 5 prompts, one by one."""
  plan, state = _bandits()
  counts, arms = {0: 3, 3: 2, 6: 5}, range(2, 8)
  for seed in range(5):
    score = np.random.default_rng(seed).normal(size=(7, 6))
    weight = np.exp(2.0 * score)
    chance = np.log(0.9 * weight / weight.sum(1, keepdims=True) + 0.1 / 6)
    best = max(
      itertools.product(arms, repeat=3),
      key=lambda chosen: (
        used if (used := np.dot(chosen, [3, 2, 5])) <= 40 else -1,
        sum(chance[b, n - 2] for b, n in zip(counts, chosen)),
      ),
    )
    split = plan.split(
      jax.tree.map(np.asarray, state | {'score': score}), np.arange(10)
    )
    assert split.sum() == 40 and split.max() <= 7
    ends = np.cumsum([0, 3, 2, 5])
    found = [split[a:b].min() for a, b in itertools.pairwise(ends)]
    assert found == list(best)
    assert np.all(np.isin(split - np.repeat(found, [3, 2, 5]), [0, 1]))


def test_bandits_hear_the_variance_of_a_mean_and_move_rows_to_it():
  """Only the last bin's rewards vary; the others' numbers are all as good."""
  plan, state = _bandits()
  state = jax.tree.map(np.asarray, state)
  place, rng, told = state['bins']['bin'], np.random.default_rng(0), []
  for _ in range(40):
    split = plan.split(state, np.arange(10))
    index = np.repeat(np.arange(10), split)
    rollouts = policy.as_rollouts(
      np.zeros((40, 1), np.int32),
      np.ones((40, 1), bool),
      task=jnp.asarray(index, jnp.int32),
      group=jnp.asarray(index, jnp.int32),
    )
    rewards = np.where(place[index] == 6, rng.integers(0, 2, 40), 1.0)
    after = plan.observed(state, rollouts, jnp.asarray(rewards))
    chosen = split[5:].min()
    spread = [np.var(rewards[index == g], ddof=1) for g in range(5, 10)]
    wanted = np.array(state['score'])
    wanted[6, chosen - 2] *= 0.6
    wanted[6, chosen - 2] -= 0.4 * np.mean(spread) / chosen
    np.testing.assert_allclose(after['score'], wanted, rtol=1e-4, atol=1e-6)
    # Tasks stay in their bins, so that one bin has all the variance.
    state = jax.tree.map(np.asarray, after) | {'bins': state['bins']}
    told.append(chosen)
  assert np.mean(told[20:]) > 5
