"""Groups whose rows answer one question in several wordings."""

import pytest

from jaxrl_llm.plans import variants
from tests.plans import scripted
from tests.plans.wordings_test import collect


def test_variants_share_one_group():
  rollouts = collect(variants.Variants(samples=4, wordings=2))
  assert scripted.words(rollouts)[:4] == ['a0', 'a1', 'b0', 'b1']
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4


def test_wordings_that_do_not_share_the_samples_are_refused():
  with pytest.raises(ValueError, match='8 samples .* 3 wordings'):
    variants.Variants(samples=8, wordings=3)
