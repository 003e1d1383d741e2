"""Rows that a second policy rates."""

import jax
import numpy as np

from jaxrl_llm.plans import rated, sampled
from tests.plans import scripted


class Rating(scripted.Scripted):
  """A second policy that says 1, 2, ... of the tokens of every row."""

  def rated(self, rollouts, scores):
    self.seen = scores.components[:, 0].tolist()
    mask = rollouts.response_mask
    return np.where(mask, np.cumsum(mask, axis=1), 0)


def test_a_second_policy_hears_the_scores_and_rates_the_tokens():
  rater = object()
  plan = rated.Rated(sampled.independent(samples=2), rater, weight=0.5)
  assert plan.contract.rater is rater and not plan.contract.may_lag
  assert plan.contract.provides == {'implicit_reward'}
  tools = Rating(lambda text, i: 'ab'[i], lambda text, _: float(text == 'a'))
  key = jax.random.key(0)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('q'), (), key)
  assert tools.seen == scores.components[:, 0].tolist() == [1, 0]
  said = rollouts.extras['implicit_reward']
  assert said[:, :3].tolist() == [[0.5, 1, 0], [0.5, 1, 0]]
