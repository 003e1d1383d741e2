import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import masked, refill, sampled
from jaxrl_llm.selection import filters
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Prompts, Scores, Spec

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


def collect(live, rounds=4):
  tools = Lender(live)
  plan = refill.Refill(filters.mixed_groups, samples=SAMPLES, rounds=rounds)
  state = plan.init(Spec(GROUPS * SAMPLES, SAMPLES, 1, 1))
  rollouts, scores, state = plan.collect(tools, tools.draw(), state, KEY)
  assert state == ()
  return tools, rollouts, scores


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


def test_refill_stops_at_once_when_every_group_is_live():
  tools, rollouts, _ = collect(live=(0, 1, 2, 3))
  assert tools.notes == {'plan/rounds': 1}
  assert tasks_of(rollouts) == [0, 1, 2, 3]


def test_refill_replaces_dead_groups_by_live_ones_of_later_rounds():
  tools, rollouts, scores = collect(live=(1, 3, 6, 9, 10))
  assert tasks_of(rollouts) == [1, 3, 6, 9]
  assert tools.notes == {'plan/rounds': 3}
  rewards = np.asarray(scores.components).reshape(GROUPS, SAMPLES)
  np.testing.assert_array_equal(rewards, [[0, 1]] * GROUPS)


def test_refill_stops_after_its_rounds_and_leaves_places_to_dead_groups():
  tools, rollouts, scores = collect(live=(5,), rounds=2)
  assert tools.notes == {'plan/rounds': 2}
  assert tools.drawn == 2 * GROUPS
  assert tasks_of(rollouts) == [5, 0, 1, 2]
  live = filters.mixed_groups(
    scores.components[:, 0], rollouts.group, rollouts.valid
  )
  np.testing.assert_array_equal(live, [1, 1, 0, 0, 0, 0, 0, 0])


def test_refill_without_a_round_is_refused():
  with pytest.raises(ValueError, match='0 rounds sample nothing'):
    refill.Refill(filters.mixed_groups, rounds=0)


def test_refill_gives_groups_that_meet_different_adjacent_ids():
  _, rollouts, _ = collect(live=(0, 4, 8, 12))
  np.testing.assert_array_equal(rollouts.group, [0, 0, 1, 1, 2, 2, 3, 3])


def test_refill_samples_every_round_with_a_key_of_its_own():
  tools, _, _ = collect(live=(), rounds=3)
  assert len(set(tools.keys)) == 3


@pytest.mark.parametrize('rounds', [1, 3])
def test_refill_keeps_the_shapes_of_one_round(rounds):
  _, rollouts, scores = collect(live=(2,), rounds=rounds)
  assert rollouts.content.response.shape == (GROUPS * SAMPLES, 1)
  assert scores.components.shape == (GROUPS * SAMPLES, 1)


class Recorder(Lender):
  """A sampler that records as many tokens as a masking policy keeps."""

  def masked(self, prompts, key, samples, *, share, least):
    assert share == 0.8
    rollouts = self.generate(prompts, key, samples)
    rows = rollouts.valid.shape[0]
    support = jnp.tile(jnp.arange(least, dtype=jnp.int32), (rows, 1, 1))
    return rollouts.with_extras(support=support)


def test_masked_says_among_which_tokens_it_drew():
  plan = masked.Masked(samples=SAMPLES, share=0.8, least=50)
  assert plan.contract.refers
  tools = Recorder(())
  rollouts, _, _ = plan.collect(tools, tools.draw(), (), KEY)
  assert rollouts.extras['support'].shape[-1] == 50


def test_a_mask_keeps_something():
  with pytest.raises(ValueError, match=r'a share of 0.0 is not in \(0, 1\]'):
    masked.Masked(share=0.0)
