"""The first stage of FAKER-Air: errors along a forecast's own way."""

import pathlib

import jax
import numpy as np
import pytest

from experiments.configs import control
from jaxrl_llm import problems
from jaxrl_llm.environments.air import Air
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.problems import forecasts

# One layer, so that its gradient can be written down.
LINEAR = Gaussian(4, 3, widths=(), critic=False)


def by_hand(sky, weight, bias, least):
  """Loss and gradient in float64, step by step, of a linear policy."""
  steps, rows = sky.horizon, sky.records
  rising = [
    least + (1 - least) * i / (steps - 1) if steps > 1 else 1.0
    for i in range(steps)
  ]
  fields = sky.fields.astype(np.float64)
  loss, gradient = 0.0, [np.zeros_like(weight), np.zeros_like(bias)]
  for row in range(rows):
    seen = fields[row, 0]
    for i in range(steps):
      asked = np.append(seen, 1 - i / steps)
      seen = asked @ weight + bias  # a constant where it is asked with next
      share = rising[i] / sum(rising) / (rows * sky.stations)
      missed = seen - fields[row, i + 1]
      loss += share * missed @ missed
      gradient[0] += 2 * share * np.outer(asked, missed)
      gradient[1] += 2 * share * missed
  return loss, gradient


@pytest.mark.parametrize(('horizon', 'least'), [(1, 0.5), (3, 0.2), (3, 1.0)])
def test_errors_are_of_forecasts_that_go_on_from_forecasts(horizon, least):
  sky = Air(stations=3, records=5, horizon=horizon)
  params = initial(LINEAR.table(), jax.random.key(0))
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32) / 2, params
  )
  loss, found = jax.value_and_grad(
    lambda params: forecasts.accumulated(LINEAR, sky, params, least=least)
  )(params)
  leaves = {x.ndim: x for x in jax.tree.leaves(params['mean'])}
  weight, bias = (leaves[n].astype(np.float64) for n in (2, 1))
  wanted, gradient = by_hand(sky, weight, bias, least)
  np.testing.assert_allclose(loss, wanted, rtol=1e-5)
  slopes = {x.ndim: x for x in jax.tree.leaves(found['mean'])}
  np.testing.assert_allclose(slopes[2], gradient[0], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(slopes[1], gradient[1], rtol=1e-4, atol=1e-6)


def assembled(**changed):
  config = control.get_config('faker_air')
  with config.unlocked():
    config.update_from_flattened_dict(
      {'sample.prompts': 4, 'warm_start.steps': 20} | changed
    )
  return problems.assemble(config, pathlib.Path('unused'))


def test_a_run_begins_with_the_first_stage_and_then_samples_in_pairs():
  session, params = assembled()
  _, fresh = assembled(**{'warm_start.steps': 0})
  sky = Air()
  before, after = (
    forecasts.accumulated(session.policy, sky, p, least=0.75)
    for p in (fresh, params)
  )
  assert after < 0.8 * before
  rows = session.sample(params, jax.random.key(0))
  seen = session.policy.mode(params, rows.content.observation[:, 0])
  noise = rows.content.action[:, 0] - seen
  np.testing.assert_allclose(noise[::2], -noise[1::2], atol=1e-6)


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'environment.name': 'pendulum'}, 'pendulum.* has none; set it to 0'),
    ({'warm_start.least': 0.0}, r'least is 0.0; use a number in \(0, 1\]'),
    ({'recipe.samples': 3}, 'a group has 3 rows; set recipe.samples'),
    (
      {'environment.name': 'grid', 'warm_start.steps': 0},
      'opposite normal noise, .*leave it False',
    ),
  ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    assembled(**wrong)
