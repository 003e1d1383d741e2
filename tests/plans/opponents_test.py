"""Groups that two policies write."""

import jax
import jax.numpy as jnp
import pytest

from jaxrl_llm.plans import half_steps, opponents
from tests.plans import scripted

KEY = jax.random.key(0)


class Duellists(scripted.Scripted):
  """The rival says x, the policy a step ahead y, and learns from `seen`.

  A mixture says the letter of its share, of a to k.
  """

  seen = None

  def opponent(self, prompts, key, samples, share):
    letter = 'abcdefghijk'[round(10 * share)]
    return scripted.Scripted(lambda text, i: f'{letter}{i}').generate(
      prompts, key, samples
    )

  def rival(self, prompts, key, samples):
    return scripted.Scripted(lambda text, i: f'x{i}').generate(
      prompts, key, samples
    )

  def ahead(self, rollouts, scores, key):
    self.seen = rollouts, scores
    return scripted.Scripted(lambda text, i: f'y{i}')


def duel(plan):
  tools = Duellists(
    lambda text, i: text + str(i), lambda text, record: float(text[0] == 'x')
  )
  return tools, *plan.collect(tools, scripted.ask('q', 'r'), (), KEY)[:2]


@pytest.mark.parametrize(
  ('share', 'letter'), [(1.0, 'k'), (0.3, 'd'), (0.0, 'a')]
)
def test_the_second_half_of_a_group_is_the_mixtures(share, letter):
  plan = opponents.Versus(samples=2, share=share)
  _, rollouts, _ = duel(plan)
  assert plan.contract.refers
  assert scripted.words(rollouts) == ['q0', f'{letter}0', 'r0', f'{letter}0']
  assert rollouts.extras['opponent'].tolist() == [False, True] * 2
  # The policy chose none of the opponent's tokens.
  assert jnp.all(rollouts.logp[1::2] == 0)


def test_a_share_is_a_share():
  with pytest.raises(ValueError, match=r'a share of 1.5 is not in \[0, 1\]'):
    opponents.Versus(share=1.5)


def test_the_second_half_of_a_group_is_the_teachers():
  _, rollouts, scores = duel(opponents.VersusTeacher(samples=4))
  assert scripted.words(rollouts) == [
    *('q0', 'q1', 'x0', 'x1'),
    *('r0', 'r1', 'x0', 'x1'),
  ]
  marks = rollouts.extras['opponent'].tolist()
  assert marks == [False, False, True, True] * 2
  chosen = rollouts.action_mask.any(axis=1).tolist()
  assert chosen == [True, True, False, False] * 2
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4
  assert scores.components[:, 0].tolist() == [0, 0, 1, 1] * 2


def test_the_references_responses_are_learned_from_as_the_policys():
  plan = opponents.BesideReference(samples=2)
  _, rollouts, _ = duel(plan)
  assert plan.contract.refers
  assert scripted.words(rollouts) == ['q0', 'k0', 'r0', 'k0']
  assert rollouts.extras['opponent'].tolist() == [False, True] * 2
  assert rollouts.action_mask.any(axis=1).all()
  # With the log-probs of the policy, which are those of scripted tokens.
  own = scripted.Scripted(None).score(rollouts).logp
  assert jnp.allclose(rollouts.logp, own) and jnp.any(own[1] < 0)


@pytest.mark.parametrize(
  'plan',
  [
    opponents.Versus,
    opponents.VersusTeacher,
    half_steps.HalfStep,
    opponents.BesideReference,
  ],
  ids=lambda plan: plan.__name__,
)
def test_odd_groups_have_no_halves(plan):
  with pytest.raises(ValueError, match='3 samples .* by 2 halves'):
    plan(samples=3)
