import jax
import numpy as np
import pytest

from jaxrl_llm.plans import temperature
from jaxrl_llm.types import Spec
from tests.plans import scripted


class Thermal(scripted.Scripted):
  """Says h when sampled hot, c when cold."""

  def tempered(self, prompts, key, samples, temperature):
    said = 'h' if temperature > 1 else 'c'
    other = scripted.Scripted(lambda text, i: said, columns=self.columns)
    return other.generate(prompts, key, samples)


def test_the_last_rows_are_hot_until_the_entropy_exceeds_its_target():
  # A token's log-prob is -token / 10: those of "a" and of the end, 0.1 and 0.
  plan = temperature.tempered(samples=3, count=1, target=0.04)
  tools, state = Thermal(lambda text, i: 'a'), plan.init(Spec(6, 3, 1, 6))
  for expected, heat in ('h', 1.2), ('c', 0.8):
    rollouts, scores, state = plan.collect(
      tools, scripted.ask('q', 'r'), state, jax.random.key(0)
    )
    assert scripted.words(rollouts) == ['a', 'a', expected] * 2
    marks = rollouts.extras['tempered'].tolist()
    assert marks == [False, False, True] * 2
    assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert scores.components.shape == (6, 1)
    np.testing.assert_allclose(tools.notes['plan/temperature'], heat)
    np.testing.assert_allclose(state, 0.05, rtol=1e-6)


@pytest.mark.parametrize('count', [0, 4])
def test_a_group_needs_rows_of_both_kinds(count):
  with pytest.raises(ValueError, match='leave one kind without a row'):
    temperature.tempered(samples=4, count=count)
