"""What rejection sampling keeps of the reference's responses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import rejected
from tests.plans import scripted

KEY = jax.random.key(0)


class Referring(scripted.Scripted):
  """The reference says a letter for each of its responses, a to h."""

  def opponent(self, prompts, key, samples, share):
    assert share == 1
    said = scripted.Scripted(lambda text, i: 'abcdefgh'[i], columns=3)
    return said.generate(prompts, key, samples)


def collected(judge, temperature):
  plan = rejected.Rejected(samples=3, candidates=8, temperature=temperature)
  tools = Referring(None, judge)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('q', 'r'), (), KEY)
  return plan, tools, rollouts, scores


def letters(text, record):
  """a is worth 1, b 2, ..., and c cannot be judged."""
  return None if text == 'c' else 1.0 + 'abcdefgh'.index(text)


def test_cold_keeps_the_best_with_their_scores():
  plan, tools, rollouts, scores = collected(letters, 1e-4)
  assert plan.contract.refers and plan.contract.samples == 3
  assert scripted.words(rollouts) == [*'fgh', *'fgh']
  assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
  assert scores.components[:, 0].tolist() == [6, 7, 8] * 2
  assert rollouts.task.tolist() == [0, 0, 0, 1, 1, 1]
  # Of those that could be judged, kept or not.
  np.testing.assert_allclose(tools.notes['plan/candidates'], 33 / 7, rtol=1e-6)
  own = scripted.Scripted(None).score(rollouts).logp
  assert jnp.allclose(rollouts.logp, own) and jnp.all(own[:, 0] < 0)


def test_hot_keeps_the_first_but_nobody_who_could_not_be_judged():
  _, _, rollouts, _ = collected(letters, 1e6)
  assert scripted.words(rollouts)[:3] == [*'abd']
  assert rollouts.valid.all()


def test_fewer_candidates_than_rows_are_refused():
  with pytest.raises(ValueError, match='2 candidates leave no choice of 3'):
    rejected.Rejected(samples=3, candidates=2)
