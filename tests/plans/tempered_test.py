import jax
import numpy as np
import pytest

from jaxrl_llm.plans import tempered
from jaxrl_llm.types import Spec
from tests.plans import scripted


class Thermal(scripted.Scripted):
  """Says h when sampled hot, c when cold."""

  def tempered(self, prompts, key, samples, heat):
    said = 'h' if heat > 1 else 'c'
    other = scripted.Scripted(lambda text, i: said, columns=self.columns)
    return other.generate(prompts, key, samples)


def test_the_last_prompts_are_hot_until_the_entropy_exceeds_its_target():
  # A token's log-prob is -token / 10: those of "a" and of the end, 0.1 and 0.
  plan = tempered.Tempered(samples=2, share=0.3, target=0.04)
  tools, state = Thermal(lambda text, i: 'a'), plan.init(Spec(6, 2, 1, 6))
  for said, heat in ('h', 1.2), ('c', 0.8):
    rollouts, scores, state = plan.collect(
      tools, scripted.ask('q', 'r', 's'), state, jax.random.key(0)
    )
    assert scripted.words(rollouts) == ['a'] * 4 + [said] * 2
    heats = rollouts.extras['heat']
    np.testing.assert_allclose(heats, [1, 1, 1, 1, heat, heat])
    assert rollouts.task.tolist() == [0, 0, 1, 1, 2, 2]
    assert rollouts.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert scores.components.shape == (6, 1)
    np.testing.assert_allclose(tools.notes['plan/temperature'], heat)
    np.testing.assert_allclose(state, 0.05, rtol=1e-6)


def test_a_share_is_rounded_and_at_least_one_prompt():
  plan = tempered.Tempered(share=0.2)
  assert [plan.tempered(n) for n in (2, 4, 10, 12, 40)] == [1, 1, 2, 2, 8]


@pytest.mark.parametrize(('share', 'prompts'), [(0.2, 1), (0.9, 3)])
def test_there_are_prompts_of_both_kinds(share, prompts):
  with pytest.raises(ValueError, match='leaves one kind without a prompt'):
    tempered.Tempered(share=share).tempered(prompts)
