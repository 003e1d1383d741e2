"""Verification survives every verifier, and says what it survived."""

import time

import numpy as np
import pytest

from jaxrl_llm.tasks import verifiers as verifiers_lib
from jaxrl_llm.tasks import verify
from jaxrl_llm.tasks.pool import Pool

FAILURES = {
  'hang': 'timeouts',
  'deaf': 'timeouts',
  'raise': 'errors',
  'exit': 'errors',
  'die': 'crashes',
  'nan': 'nan',
  'huge': 'nan',
  'two': 'errors',
  'memory': 'errors',
  'recurse': 'errors',
}


def test_every_failure_costs_its_row_alone(hostile, caplog):
  words = [w for name in FAILURES for w in ('fine', name)] + ['fine']
  rows = [{'value': float(i)} for i in range(len(words))]
  with verify.Verifiers([hostile], seconds=0.5, workers=3) as verifiers:
    verdict = verifiers.score(words, rows)
  fine = np.array([word == 'fine' for word in words])
  np.testing.assert_array_equal(verdict.ok, fine)
  np.testing.assert_array_equal(
    verdict.components[:, 0], np.where(fine, np.arange(len(words)), 0)
  )
  kinds = list(FAILURES.values())
  assert verdict.counts == {
    f'verify/{kind}': kinds.count(kind) for kind in verify.KINDS
  }
  assert verdict.components.dtype == np.float32


def test_first_example_of_a_kind_is_logged_once(hostile, caplog):
  with verify.Verifiers([hostile], workers=1) as verifiers:
    for word in ('raise', 'raise', 'nan'):
      verifiers.score([word], [{'question': 'why?'}])
  messages = [r.getMessage() for r in caplog.records]
  assert len(messages) == 2
  assert 'RuntimeError: no' in messages[0] and 'why?' in messages[0]


def test_hung_worker_does_not_stall_the_others(hostile):
  words = ['hang'] + ['fine'] * 100
  with verify.Verifiers([hostile], seconds=2.0, workers=2) as verifiers:
    verifiers.score(['fine'] * 2, [{}] * 2)  # both workers are up
    start = time.monotonic()
    verdict = verifiers.score(words, [{}] * len(words))
    assert time.monotonic() - start < 4.0
  assert verdict.ok.tolist() == [False] + [True] * 100


def test_components_have_names_and_weights():
  with verify.Verifiers(
    ['numeric:0.1', r'format:\d\.\d'], (1.0, 0.5)
  ) as verifiers:
    assert verifiers.names == ('numeric', 'format')
    assert verifiers.weights == (1.0, 0.5)
    rows = [{'answer': '2.5'}] * 3
    verdict = verifiers.score(['2.51', '2', 'x 9.9'], rows)
  np.testing.assert_array_equal(verdict.components, [[1, 1], [0, 0], [0, 1]])
  assert verdict.ok.all()


def test_one_failed_component_masks_the_row():
  with verify.Verifiers(['exact', 'numeric']) as verifiers:
    verdict = verifiers.score(['a', '1'], [{'answer': 'a'}, {'answer': '1'}])
  assert verdict.ok.tolist() == [False, True]
  np.testing.assert_array_equal(verdict.components, [[1, 0], [1, 1]])


def test_no_rows_give_an_empty_verdict():
  with verify.Verifiers(['exact']) as verifiers:
    verdict = verifiers.score([], [])
  assert verdict.components.shape == (0, 1) and verdict.ok.shape == (0,)


def test_cheap_verifiers_start_no_process(monkeypatch):
  monkeypatch.setattr(Pool, '_start', lambda self: pytest.fail('started'))
  with verify.Verifiers(['exact', 'numeric', 'countdown']) as verifiers:
    row = {'answer': '1', 'numbers': [1], 'target': 1}
    assert verifiers.score(['1'], [row]).components.tolist() == [[1, 1, 1]]


def test_math_runs_in_workers_under_the_limit():
  # An exponent tower takes the library for ever; the rest must be answered.
  responses = ['$9^{9^{9^{9^{9}}}}$', '\\boxed{\\frac{2}{4}}']
  rows = [{'answer': '9^{9^{9^{9^{9}}}}+1'}, {'answer': '1/2'}]
  with verify.Verifiers(['math'], seconds=2.0) as verifiers:
    verdict = verifiers.score(responses, rows)
  assert verdict.components[1, 0] == 1 and verdict.ok[1]
  assert verdict.components[0, 0] == 0


@pytest.mark.parametrize(
  ('names', 'weights', 'options', 'message'),
  [
    (['exact'], (1, 2), {}, '2 weights for 1 verifiers'),
    (['exact', 'exact'], (), {}, 'not all different'),
    (['exact'], (float('nan'),), {}, 'not all finite'),
    (['exakt'], (), {}, "did you mean 'exact'"),
    (['exact'], (), {'seconds': 0}, 'seconds > 0, got 0'),
    (['exact'], (), {'workers': 0}, 'workers > 0, got 0'),
  ],
)
def test_bad_settings_are_refused(names, weights, options, message):
  with pytest.raises(ValueError, match=message):
    verify.Verifiers(names, weights, **options)


def test_rows_must_match_responses():
  with verify.Verifiers(['exact']) as verifiers:
    with pytest.raises(ValueError, match='1 responses for 2 rows'):
      verifiers.score(['a'], [{}, {}])


def test_a_verifier_that_fails_on_all_it_is_tried_on_is_refused():
  rows = [{'answer': ''}, {'answer': ''}, {'answer': '3'}]
  with verify.Verifiers(('exact',)) as verifiers:
    verifiers.try_out(['3'] * 3, rows)
    words = "'exact' fails on each of 2 questions .*errors: ValueError"
    with pytest.raises(ValueError, match=words):
      verifiers.try_out(['3'] * 2, rows[:2])


BATCHED = """
import os, time
from jaxrl_llm.tasks import verifiers

@verifiers.batched
def judge(responses, rows):
  word = responses[0]
  if word == 'raise':
    raise RuntimeError('no')
  if word == 'die':
    os._exit(7)
  if word == 'short':
    return [1.0]
  if word == 'slow':
    time.sleep(0.8)
  if word == 'hang':
    time.sleep(1000)
  same = [i for i, row in enumerate(rows) if row == rows[0]]
  return [
    float('nan') if said == 'nan' else len(same) + len(rows) / 100
    for said in responses
  ]
"""


@pytest.fixture
def together(tmp_path, monkeypatch):
  """A verifier of whole batches, whose first response says what it does."""
  (tmp_path / 'together.py').write_text(BATCHED)
  monkeypatch.syspath_prepend(tmp_path)
  verifiers_lib.resolve.cache_clear()
  return 'all=together:judge'


def test_a_batched_verifier_sees_all_rows_beside_others(together):
  rows = [{'answer': x} for x in 'aab']
  with verify.Verifiers(['exact', together], workers=1) as verifiers:
    verifiers.try_out(['a', 'b'], rows[:2])
    verdict = verifiers.score(['a', 'nan', 'b'], rows)
    empty = verifiers.score([], [])
  expected = [[1, 2.03], [0, 0], [1, 2.03]]
  np.testing.assert_allclose(verdict.components, expected, rtol=1e-6)
  assert verdict.ok.tolist() == [True, False, True]
  assert verdict.counts['verify/nan'] == 1
  assert empty.components.shape == (0, 2)


def test_a_failure_of_a_batched_verifier_costs_its_batch(together):
  rows = [{'answer': 'a'}] * 3
  with verify.Verifiers([together], seconds=0.5, workers=1) as verifiers:
    # Three rows have the time of three.
    assert verifiers.score(['slow', 'a', 'a'], rows).ok.all()
    for word, kind in [
      ('raise', 'errors'),
      ('short', 'errors'),
      ('die', 'crashes'),
      ('hang', 'timeouts'),
    ]:
      verdict = verifiers.score([word, 'a', 'a'], rows)
      assert not verdict.ok.any()
      assert verdict.counts[f'verify/{kind}'] == 3
    assert verifiers.score(['a', 'a', 'a'], rows).ok.all()
