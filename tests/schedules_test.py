import functools
import json

import numpy as np
import pytest

from jaxrl_llm import optimizers, schedules


def test_a_warm_up_rises_to_the_rate_and_the_rest_decays():
  rate = schedules.rate_of('linear', learning_rate=1.0, warmup=4, total=8)
  expected = [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]
  np.testing.assert_allclose([rate(s) for s in range(9)], expected, rtol=1e-6)


def test_unknown_names_and_endless_warm_ups_are_refused():
  with pytest.raises(ValueError, match="optimizer.name 'adam'; known: adamw"):
    optimizers.chain('adam', learning_rate=1.0)
  with pytest.raises(ValueError, match="optimizer.schedule 'step'"):
    optimizers.chain(learning_rate=1.0, schedule='step')
  with pytest.raises(ValueError, match='at most 7'):
    schedules.rate_of('rex', learning_rate=1.0, warmup=8, total=8)


@pytest.mark.parametrize('beta', [0.0, 0.9, 1.0])
def test_rex_equals_its_formula(beta):
  schedule = schedules.rex(3.0, 10, beta=beta)
  for step in range(11):
    p = step / 10
    expected = 3 * (1 - p) / (0.5 + (1 - beta * p) / 2)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)
  assert schedule(25) == 0


def test_rex_without_reflection_is_linear():
  schedule = schedules.rex(2.0, 8, beta=0.0)
  rates = [float(schedule(s)) for s in range(9)]
  np.testing.assert_allclose(np.diff(rates), -0.25, rtol=1e-5)


def test_constant_norms_recommend_linear_decay():
  schedule = schedules.refined(np.full(50, 7.0), 1.0)
  rates = [float(schedule(s)) for s in range(50)]
  np.testing.assert_allclose(rates, np.linspace(1, 0, 50), atol=1e-6)


def test_large_early_norms_recommend_a_warm_up():
  norms = np.concatenate([np.linspace(20, 1, 30), np.ones(70)])
  schedule = schedules.refined(norms, 2.0)
  rates = np.array([float(schedule(s)) for s in range(100)])
  assert 15 < rates.argmax() < 50
  np.testing.assert_allclose(rates.max(), 2.0, rtol=1e-6)
  assert rates[-1] == 0 and rates[0] < 0.1


def test_refined_equals_the_loops():
  rng = np.random.default_rng(0)
  norms = rng.exponential(1.0, 40) + 0.1
  half = int(0.1 * 40) // 2
  smooth = []
  for t in range(40):
    window = []
    for s in range(t - half, t + half + 1):
      s = max(s, 0)
      window.append(norms[s if s < 40 else 2 * 39 - s])
    smooth.append(np.median(window))
  weights = [1 / g for g in smooth]
  rates = [w * sum(weights[t + 1 :]) for t, w in enumerate(weights)]
  schedule = schedules.refined(norms, 1.0, power=1.0)
  ours = [float(schedule(s)) for s in range(40)]
  np.testing.assert_allclose(ours, np.array(rates) / max(rates), rtol=1e-5)


@pytest.mark.parametrize('bad', [[1.0, 0.0], [1.0, np.nan], [[1.0]]])
def test_norms_that_recommend_nothing_are_refused(bad):
  with pytest.raises(ValueError, match='one positive number per step'):
    schedules.refined(bad, 1.0)


def _ran(folder, **norms):
  """A run folder whose metrics hold these norms, one an iteration."""
  count = len(next(iter(norms.values())))
  rows = [
    {f'grad/{name}': x[i] for name, x in norms.items()} for i in range(count)
  ]
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / 'metrics.jsonl').write_text(lines)
  return str(folder)


@pytest.mark.parametrize(
  ('adaptive', 'name', 'power'),
  [(True, 'norm_l1', 1.0), (False, 'norm', 2.0)],
)
def test_a_run_recommends_the_schedule_of_the_next(
  tmp_path, adaptive, name, power
):
  """Adam's by its l1 norms, as often as the next one has steps."""
  rng = np.random.default_rng(0)
  l1, l2 = (rng.exponential(1.0, 31) + 0.1 for _ in range(2))
  folder = _ran(tmp_path, norm=[*l2, None], norm_l1=[*l1, None])
  rate = schedules.rate_of(
    'refined',
    learning_rate=0.3,
    warmup=0,
    total=61,
    norms=folder,
    adaptive=adaptive,
  )
  norms = {'norm': l2, 'norm_l1': l1}[name]
  between = [(a + b) / 2 for a, b in zip(norms, norms[1:])]
  stretched = np.zeros(61)
  stretched[::2], stretched[1::2] = norms, between
  expected = schedules.refined(stretched, 0.3, power=power)
  for step in range(61):
    np.testing.assert_allclose(rate(step), expected(step), rtol=1e-5)


def test_a_schedule_of_no_run_is_refused(tmp_path):
  refined = functools.partial(
    optimizers.chain, learning_rate=1.0, schedule='refined', total=9
  )
  with pytest.raises(ValueError, match="norms is ''; name the folder"):
    refined()
  with pytest.raises(ValueError, match='holds no grad/norm_l1'):
    refined(norms=_ran(tmp_path, norm=[1.0, 2.0]))


def test_inverse_decay_halves_after_two_steps():
  rate = schedules.rate_of('inverse', learning_rate=3.0, warmup=0, total=9)
  np.testing.assert_allclose([rate(s) for s in (0, 2, 4)], [3, 1.5, 1])
