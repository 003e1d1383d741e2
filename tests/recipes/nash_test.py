"""Entries that read an oracle's preferences, through the whole iteration."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import battery_test as battery

NAMES = ['spo', 'online_ipo', 'nash_mp']


def _case(recipe):
  """The battery's rows, with the chances of an oracle."""
  rollouts, scores = battery.case_of(recipe)
  samples, rows = recipe.plan.samples, rollouts.valid.shape[0]
  odds = np.random.default_rng(0).standard_normal((rows // samples, samples, 1))
  chance = 1 / (1 + np.exp(np.swapaxes(odds, 1, 2) - odds))
  preference = jnp.asarray(chance.reshape(rows, samples), jnp.float32)
  return battery.Case(rollouts, scores.replace(preference=preference))


@pytest.mark.parametrize('name', NAMES)
def test_an_oracles_preferences_decide_and_microbatches_do_not(name):
  recipe = battery.twice(name)
  case, move = _case(recipe), battery.move_of(recipe)
  whole, split = (
    battery.quick_jit(battery.iteration(recipe, pieces))(
      battery.begin(recipe), move, case
    )[1]
    for pieces in (1, 4)
  )
  battery.assert_finite(whole)
  battery.assert_same(whole, split)
  judged = battery.usual(name)
  moved = jnp.abs(whole.gradients['logits'] - judged.gradients['logits'])
  assert float(jnp.max(moved)) > 1e-6
