import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import bandit_budgets, budgeted
from jaxrl_llm.plans.lent import Tools
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Prompts, Scores, Spec


class _Tools(Tools):
  """Answers that are right for task 0 only half of the time."""

  def __init__(self):
    self.noted = {}

  def generate(self, prompts, key, samples):
    task = np.repeat(np.asarray(prompts.task), samples)
    response = np.zeros((len(task), 2), np.int32)
    return policy.as_rollouts(
      response, np.ones_like(response, bool), task=jnp.asarray(task)
    )

  def verify(self, rollouts):
    task = np.asarray(rollouts.task)
    right = np.where(task == 0, np.arange(len(task)) % 2, task == 1)
    return rollouts, Scores(jnp.asarray(right[:, None] * 1.0), jnp.ones(1))

  def note(self, name, value):
    self.noted[name] = value


def test_plan_gives_more_rows_to_what_can_still_be_learned():
  plan = budgeted.Budgeted(samples=8, least=2, most=32)
  spec = Spec(24, 8, 1, 2, tasks=4)
  prompts = Prompts(
    tokens=jnp.zeros((3, 1), jnp.int32),
    mask=jnp.ones((3, 1), bool),
    task=jnp.arange(3, dtype=jnp.int32),
    domain=jnp.zeros(3, jnp.int32),
  )
  tools, state = _Tools(), plan.init(spec)
  rollouts, _, state = plan.collect(tools, prompts, state, None)
  np.testing.assert_array_equal(np.bincount(rollouts.group), [8, 8, 8])
  np.testing.assert_allclose(state, [0.5, 1.0, 0.0, 0.5])
  rollouts, scores, state = plan.collect(tools, prompts, state, None)
  np.testing.assert_array_equal(np.bincount(rollouts.group), [20, 2, 2])
  np.testing.assert_array_equal(rollouts.task, rollouts.group)
  assert scores.components.shape == (24, 1)
  assert tools.noted == {'plan/largest_group': 20}


def test_prompts_of_a_bin_share_by_the_square_root_of_its_variance():
  """Two bins: always passed, with rates 1/2 and 1, and never passed."""
  plan = budgeted.ByDifficulty(samples=8, least=1, most=99)
  state = plan.init(Spec(40, 8, 1, 2, tasks=5))
  state = state | {
    'rate': jnp.array([0.5, 1.0, 0.0, 0.1, 0.5]),
    'bins': state['bins'] | {'bin': jnp.array([6, 6, 0, 0, 3])},
  }
  split = plan.split(jax.tree.map(np.asarray, state), np.arange(5))
  variance = np.array([0.125, 0.125, 0.045, 0.045, 0.25])
  root = np.sqrt(variance)
  assert split.sum() == 40
  np.testing.assert_allclose(split, 40 * root / root.sum(), atol=1.0)
  assert abs(split[0] - split[1]) <= 1 and abs(split[2] - split[3]) <= 1


def test_bins_of_a_budget_are_learned_from_the_rows_it_made():
  plan = budgeted.ByDifficulty(samples=8, least=2, most=32)
  prompts = Prompts(
    tokens=jnp.zeros((3, 1), jnp.int32),
    mask=jnp.ones((3, 1), bool),
    task=jnp.arange(3, dtype=jnp.int32),
    domain=jnp.zeros(3, jnp.int32),
  )
  tools, state = _Tools(), plan.init(Spec(24, 8, 1, 2, tasks=4))
  for sizes in ([8, 8, 8], [11, 11, 2]):
    rollouts, _, state = plan.collect(tools, prompts, state, None)
    np.testing.assert_array_equal(np.bincount(rollouts.group), sizes)
  # Tasks 0 and 1 were solved, task 2 was not and task 3 was not met.
  assert state['bins']['bin'].tolist() == [6, 6, 0, 0]
  np.testing.assert_array_equal(state['bins']['visits'], [2, 2, 2, 0])


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
