import jax
import pytest

from experiments.benchmarks import packed, ragged


def test_padding_is_what_is_computed_and_holds_no_token():
  rollouts = jax.tree.map(lambda x: x[:32], ragged.made_up('ragged')[0])
  tokens = 32 * 64 + int(rollouts.length.sum())
  whole = 32 * (64 + 512)
  assert packed.padding(rollouts, 1.0, False) == pytest.approx(
    1 - tokens / whole
  )
  assert packed.padding(rollouts, 0.5, True) == pytest.approx(
    1 - 2 * tokens / whole
  )
  assert packed.padding(rollouts, 0.5, False) == pytest.approx(
    1 - tokens / (32 * (64 + 256))
  )
