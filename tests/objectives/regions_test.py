import math

import numpy as np
import pytest

from jaxrl_llm.objectives import base, gates, regions
from tests.objectives import cases
from tests.oracles import regions as oracle

_CASES = [
  (regions.ratio_band, {'low': 0.7, 'high': 1.4}),
  (regions.ratio_band, {'low': 0.7, 'high': 1.4, 'level': 'token'}),
  (regions.ratio_band, {'low': 0.5, 'high': 2.0, 'level': 'sum'}),
  (regions.divergence_band, {'high': 0.5}),
  (regions.divergence_band, {'high': 0.5, 'level': 'token'}),
  (regions.divergence_band, {'high': 1.5, 'form': 'k2', 'level': 'sum'}),
  (regions.divergence_band, {'high': 0.7, 'form': 'k2', 'level': 'max'}),
  (regions.outlier_rows, {'low': 0.2, 'high': 4.0}),
  (regions.mismatched_rows, {}),
  (regions.mismatched_rows, {'high': 2.5}),
  (regions.fallen_negatives, {}),
  (regions.fallen_negatives, {'fall': -0.1}),
  (regions.total_variation, {}),
  (regions.total_variation, {'low': 0.02, 'high': 0.05}),
  (regions.total_variation_ball, {}),
  (regions.coin_divergence, {}),
  (regions.coin_divergence, {'low': 0.01, 'high': 0.02}),
  (regions.second_moment, {}),
  (regions.second_moment, {'limit': 0.15}),
  (regions.uncertain_tokens, {}),
  (regions.uncertain_tokens, {'part': 0.55}),
  (regions.steady_entropy, {}),
  (regions.steady_entropy, {'low': 0.3, 'high': 2.0}),
  (regions.tapered_negatives, {}),
  (regions.gamma_weight, {}),
  (regions.gamma_weight, {'up': (1.0, 0.5), 'down': (0.0, 1.0)}),
  (regions.balanced_importance, {}),
]
_names = [f'{fn.__name__}-{hyper}' for fn, hyper in _CASES]


@pytest.mark.parametrize(('fn', 'hyper'), _CASES, ids=_names)
@pytest.mark.parametrize('seed', [0, 1])
def test_values_equal_the_loops(fn, hyper, seed):
  expected = cases.check_loops(oracle, fn, hyper, seed, rtol=2e-5)
  if hyper:  # Others may keep all.
    assert len({*expected}) > 1


_OFF = [
  (regions.ratio_band, {'low': 1e-9, 'high': math.inf}),
  (regions.divergence_band, {'high': math.inf}),
  (regions.mismatched_rows, {}),
  (regions.fallen_negatives, {'fall': math.inf}),
  (regions.total_variation, {'low': 1.0, 'high': 1.0}),
  (regions.total_variation_ball, {'width': 1.0}),
  (regions.coin_divergence, {'low': math.inf, 'high': math.inf}),
  (regions.second_moment, {'limit': math.inf}),
  (regions.uncertain_tokens, {'part': 1.0}),
  (regions.steady_entropy, {'low': 0.0, 'high': math.inf}),
  (regions.gamma_weight, {'up': (0.0, 0.0), 'down': (0.0, 0.0)}),
]


@pytest.mark.parametrize(('fn', 'hyper'), _OFF)
def test_without_bounds_it_is_a_gate_of_ones(fn, hyper):
  arrays, extra = cases.arrays_of(fn)
  extra = dict(zip(extra, cases.single(extra.values())))
  ours = fn(*cases.single(arrays), **extra, **hyper)
  mask = arrays[-1]
  np.testing.assert_array_equal(
    ours[mask], base.every_token(*cases.single(arrays))[mask]
  )


def test_an_empty_step_is_finite():
  for fn, hyper in _CASES:
    arrays, extra = cases.arrays_of(fn)
    arrays = (*arrays[:3], np.zeros_like(arrays[3]))
    if 'share' in extra:
      extra['share'] = np.zeros(arrays[0].shape)
    extra = dict(zip(extra, cases.single(extra.values())))
    assert np.all(np.isfinite(fn(*cases.single(arrays), **extra, **hyper)))


def test_no_larger_set_of_moved_tokens_fits_the_second_moment():
  arrays, extra = cases.arrays_of(regions.second_moment)
  logp, old, advantages, mask = arrays
  keep = np.asarray(
    regions.second_moment(*cases.single(arrays), **extra, limit=0.1)
  )
  d = logp - old
  moved = np.sort((d**2)[mask & (advantages * d > 0)])
  number = int(keep[mask & (advantages * d > 0)].sum())
  assert 0 < number < len(moved)
  assert moved[:number].mean() <= 0.1 < moved[: number + 1].mean()


def test_a_rare_token_may_grow_and_a_common_one_may_not():
  chance = np.array([[1e-3, 0.7]])
  grown = np.array([[3e-3, 0.95]])
  rest = np.log(chance), np.ones((1, 2)), np.ones((1, 2), bool)
  inside = regions.total_variation(*cases.single([np.log(grown), *rest]))
  np.testing.assert_array_equal(inside, [[1, 0]])
  clipped = gates.one_side(*cases.single([np.log(grown), *rest]))
  np.testing.assert_array_equal(clipped, [[0, 0]])


def test_weights_of_a_balanced_step_have_mean_one():
  arrays, extra = cases.arrays_of(regions.balanced_importance)
  weights = regions.balanced_importance(*cases.single(arrays), **extra)
  np.testing.assert_allclose(np.mean(weights[arrays[-1]]), 1, rtol=1e-5)


@pytest.mark.parametrize('sign, best', [(1.0, 2 / 3), (-1.0, 3 / 2)])
def test_the_gamma_weight_is_one_on_policy_and_highest_where_it_says(
  sign, best
):
  ratios = np.linspace(0.3, 3.0, 271)[:, None]
  rest = np.zeros_like(ratios), np.full_like(ratios, sign), ratios > 0
  weights = regions.gamma_weight(*cases.single([np.log(ratios), *rest]))
  np.testing.assert_allclose(ratios[np.argmax(weights)], best, atol=0.006)
  np.testing.assert_allclose(weights[70], 1, rtol=1e-5)


@pytest.mark.parametrize(
  ('fn', 'hyper', 'words'),
  [
    (regions.ratio_band, {'level': 'max'}, "level is 'max'; use one of"),
    (regions.divergence_band, {'form': 'k1'}, "form is 'k1'; use one of"),
    (regions.divergence_band, {'level': 'row'}, "level is 'row'"),
  ],
)
def test_an_unknown_level_or_form_is_refused(fn, hyper, words):
  arrays, extra = cases.arrays_of(fn)
  with pytest.raises(ValueError, match=words):
    fn(*cases.single(arrays), **extra, **hyper)
