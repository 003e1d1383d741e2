import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import budgeted
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
