"""The questions that are asked are those of the largest perplexity."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import demonstrations, hardest, sampled
from tests.plans import scripted

# The log-prob of a token is minus a tenth of its place in the alphabet.
SHOWN = ['a', 'zz', 'b', 'yy', 'c', 'abcdefgh']


class Pool(scripted.Scripted):
  """Draws two questions at a time."""

  def draw(self):
    self.drawn = getattr(self, 'drawn', 0) + 2
    every = scripted.ask(*'qrstuv')
    return jax.tree.map(lambda x: x[self.drawn : self.drawn + 2], every)


def collect(pool, shown=SHOWN):
  tools = Pool(
    lambda text, i: text, records=[{'demonstration': text} for text in shown]
  )
  plan = hardest.Hardest(sampled.independent(samples=2), pool=pool)
  first = jax.tree.map(lambda x: x[:2], scripted.ask(*'qrstuv'))
  rollouts, *_ = plan.collect(tools, first, plan.init(None), jax.random.key(0))
  return rollouts, tools


def test_the_most_unlikely_demonstrations_say_what_is_asked():
  rollouts, tools = collect(3)
  assert tools.asked == [['r', 't']]
  assert rollouts.task.tolist() == [1, 1, 3, 3]
  assert rollouts.group.tolist() == [0, 0, 1, 1]
  wanted = [np.exp((26 + 26) / 30), np.exp((25 + 25) / 30)]
  assert tools.notes['plan/perplexity'] == pytest.approx(np.mean(wanted))


def test_a_pool_of_one_leaves_the_questions():
  rollouts, tools = collect(1)
  assert sorted(rollouts.task.tolist()) == [0, 0, 1, 1]
  assert not hasattr(tools, 'drawn')


def test_what_cannot_be_judged_comes_last():
  rollouts, _ = collect(3, ['a', '', '', 'abcdefgh', 'b', ''])
  assert rollouts.task.tolist() == [4, 4, 0, 0]


def test_questions_need_demonstrations_and_a_pool_a_question():
  plan = hardest.Hardest(sampled.independent())
  assert plan.contract.checks == (demonstrations.required,)
  with pytest.raises(ValueError, match='a pool of 0 asks nothing'):
    hardest.Hardest(sampled.independent(), pool=0)
