"""Groups that demonstrations are rows of."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import imitated
from tests.plans import scripted
from tests.plans.demonstrations_test import KEY, RECORDS, tools


def test_the_last_row_of_a_group_is_the_demonstration():
  plan = imitated.WithDemonstration(samples=3)
  rollouts, scores, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), KEY)
  assert scripted.words(rollouts) == ['x', 'y', 'ab', 'x', 'y', '']
  assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
  assert rollouts.extras['offline'].tolist() == [False, False, True] * 2
  assert scores.components[:, 0].tolist() == [0, 0, 1, 0, 0, 0]
  # With its end, under the current policy, and learned like any action.
  row = jax.tree.map(lambda x: np.asarray(x[2]), rollouts)
  np.testing.assert_allclose(row.logp, [-0.1, -0.2, 0, 0], rtol=1e-6)
  assert row.action_mask.tolist() == [True, True, True, False]


class Referring(scripted.Scripted):
  def opponent(self, prompts, key, samples, share):
    assert share == 1
    said = scripted.Scripted(lambda text, i: 'uvw'[i], columns=self.columns)
    return said.generate(prompts, key, samples)


def test_the_references_responses_may_stand_before_the_demonstration():
  plan = imitated.BesideReference(samples=3)
  assert plan.contract.refers and plan.contract.provides == {'offline'}
  tools = Referring(None, lambda text, record: 0.0, RECORDS, columns=4)
  rollouts, _, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  assert scripted.words(rollouts) == ['u', 'v', 'ab']
  assert rollouts.extras['offline'].tolist() == [False, False, True]
  np.testing.assert_allclose(rollouts.logp[0, :2], [-2.1, 0], rtol=1e-6)


def test_a_demonstration_that_does_not_fit_does_not_count():
  plan = imitated.WithDemonstration(samples=2)
  rollouts, _, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), KEY)
  assert rollouts.valid.tolist() == [True, True, True, False]


def test_an_iteration_has_own_responses_or_demonstrations():
  seen = set()
  for seed in range(8):
    plan, key = (
      imitated.OrDemonstrations(samples=2),
      jax.random.key(seed),
    )
    rollouts, scores, _ = plan.collect(tools(), scripted.ask('q', 'r'), (), key)
    assert rollouts.group.tolist() == [0, 0, 1, 1]
    seen.add(tuple(scripted.words(rollouts)))
    right = (scripted.words(rollouts)[0] == 'ab') * 1.0
    assert scores.components[:, 0].tolist() == [right, right, 0, 0]
  assert seen == {('x', 'y', 'x', 'y'), ('ab', 'ab', '', '')}


@pytest.mark.parametrize(('share', 'first'), [(1.0, 'x'), (0.0, 'ab')])
def test_a_share_may_be_all(share, first):
  plan = imitated.OrDemonstrations(share=share)
  rollouts, _, _ = plan.collect(tools(), scripted.ask('q'), (), KEY)
  assert scripted.words(rollouts) == [first]
  assert len(plan.contract.checks) == (share < 1)


def test_a_share_is_a_probability():
  with pytest.raises(ValueError, match=r'not in \[0, 1\]'):
    imitated.OrDemonstrations(share=1.5)


def test_a_group_needs_a_response_of_its_own():
  with pytest.raises(ValueError, match='use at least 2'):
    imitated.WithDemonstration(samples=1)
