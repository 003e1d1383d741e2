import jax
import numpy as np
import pytest

from jaxrl_llm.plans import resets
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'demonstration': 'abcd'}, {'demonstration': 'abcdefghijk'})


def _collect(**hyper):
  tools = scripted.Scripted(lambda text, i: 'xy', records=RECORDS, columns=8)
  plan = resets.DatasetReset(samples=4, **hyper)
  return plan.collect(tools, scripted.ask('q', 'r'), (), KEY)[0]


def test_rows_go_on_from_a_prefix_that_is_no_action():
  rollouts = _collect()
  for i, word in enumerate(scripted.words(rollouts)):
    mask = np.asarray(rollouts.action_mask[i])
    cut = word.index('x')
    # A demonstration that does not fit the budget is not used.
    assert ('abcd'[:cut] if i < 4 else '') + 'xy' == word
    assert not mask[:cut].any() and mask[cut : cut + 2].all()
    assert (i >= 4) == (cut == 0)
  assert rollouts.valid.all()
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4


def test_without_a_share_rows_start_afresh():
  rollouts = _collect(share=0.0)
  assert scripted.words(rollouts) == ['xy'] * 8


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_cuts_are_uniform_inside_the_demonstration(share):
  """Of 20,000 draws; frequencies are off by about half a percent."""
  length = np.full(20_000, 5)
  found = resets.cuts(KEY, jax.numpy.asarray(length), share=share)
  counts = np.bincount(found, minlength=5) / 20_000
  expected = [1 - share] + [share / 4] * 4
  np.testing.assert_allclose(counts, expected, atol=0.015)


@pytest.mark.parametrize('length', [0, 1])
def test_too_short_a_demonstration_is_not_cut(length):
  found = resets.cuts(KEY, jax.numpy.full(9, length))
  np.testing.assert_array_equal(found, 0)
