"""A step that is taken to be answered by what it makes, and forgotten."""

import jax.numpy as jnp

from jaxrl_llm.plans import half_steps
from tests.plans import scripted
from tests.plans.opponents_test import duel


def test_half_a_step_is_taken_on_self_play_and_answered_by_what_it_makes():
  tools, rollouts, _ = duel(half_steps.HalfStep(samples=2))
  assert scripted.words(rollouts) == ['q0', 'y0', 'r0', 'y0']
  assert rollouts.extras['opponent'].tolist() == [False, True] * 2
  learned, scores = tools.seen
  assert scripted.words(learned) == ['q0', 'q0', 'r0', 'r0']
  assert learned.extras['opponent'].tolist() == [False, True] * 2
  assert scores.components.shape == (4, 1)
  assert jnp.all(learned.valid)
