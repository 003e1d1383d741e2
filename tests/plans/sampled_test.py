import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import sampled
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Prompts, Scores

GROUPS, SAMPLES = 4, 2
KEY = jax.random.key(0)


@dataclasses.dataclass
class Lender:
  """Tools whose prompts are numbered, and live where `live` says so."""

  live: tuple[int, ...]
  drawn: int = 0
  keys: list = dataclasses.field(default_factory=list)
  notes: dict = dataclasses.field(default_factory=dict)

  def draw(self):
    task = jnp.arange(self.drawn, self.drawn + GROUPS, dtype=jnp.int32)
    self.drawn += GROUPS
    return Prompts(
      tokens=task[:, None],
      mask=jnp.ones((GROUPS, 1), bool),
      task=task,
      domain=jnp.zeros_like(task),
    )

  def generate(self, prompts, key, samples):
    self.keys.append(tuple(np.asarray(jax.random.key_data(key))))
    task = jnp.repeat(prompts.task, samples)
    rows = task.shape[0]
    group = jnp.arange(rows, dtype=jnp.int32) // samples
    response = np.arange(rows, dtype=np.int32)[:, None] % samples
    mask = np.ones((rows, 1), bool)
    return policy.as_rollouts(response, mask, task=task, group=group)

  def verify(self, rollouts):
    # In a live group the first row fails and the others succeed.
    live = jnp.isin(rollouts.task, jnp.asarray(self.live))
    reward = jnp.where(live, rollouts.content.response[:, 0] > 0, 1) * 1.0
    return rollouts, Scores(reward[:, None], jnp.ones(1))

  def note(self, name, value):
    self.notes[name] = value


def tasks_of(rollouts):
  """The task of each group, which its rows must share."""
  task = np.asarray(rollouts.task).reshape(GROUPS, SAMPLES)
  np.testing.assert_array_equal(task, task[:, :1].repeat(SAMPLES, 1))
  return task[:, 0].tolist()


def test_independent_asks_once_for_samples_of_every_prompt():
  tools = Lender(live=())
  plan = sampled.independent(samples=3)
  rollouts, scores, _ = plan.collect(tools, tools.draw(), (), KEY)
  assert rollouts.task.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
  assert scores.components.shape == (12, 1)
  assert len(tools.keys) == 1 and tools.drawn == GROUPS
