import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import budgeted
from jaxrl_llm.plans.base import Tools
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
