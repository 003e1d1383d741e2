import jax
import numpy as np
import pytest

from jaxrl_llm.plans import begun
from tests.plans import scripted

KEY = jax.random.key(0)


def collect(plan, reply, columns=6, prompts=('q', 'r')):
  tools = scripted.Scripted(reply, columns=columns)
  rollouts, _, _ = plan.collect(tools, scripted.ask(*prompts), (), KEY)
  return rollouts, tools


def test_rows_go_on_from_their_beginnings_as_many_from_each():
  plan = begun.Begun(('ab', 'c'), samples=4)
  rollouts, tools = collect(plan, lambda text, i: f'x{len(text)}')
  said = ['abx3', 'abx3', 'cx2', 'cx2']
  assert scripted.words(rollouts) == said * 2
  assert tools.asked == [['qab', 'qab', 'qc', 'qc', 'rab', 'rab', 'rc', 'rc']]
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4
  assert rollouts.extras['beginning'].tolist() == [0, 0, 1, 1] * 2
  assert rollouts.extras['assigned'].all()
  assert rollouts.extras['begun'].sum(1).tolist() == [2, 2, 1, 1] * 2
  assert not rollouts.truncated.any()


@pytest.mark.parametrize('chosen', [False, True])
def test_a_beginning_is_an_action_with_a_log_prob_where_it_is_chosen(chosen):
  plan = begun.Begun(('ab', 'c'), samples=2, chosen=chosen)
  rollouts, _ = collect(plan, lambda text, i: 'x')
  mask, head = rollouts.response_mask, rollouts.extras['begun']
  actions = mask if chosen else mask & ~head
  np.testing.assert_array_equal(rollouts.action_mask, actions)
  tokens = np.asarray(rollouts.content.response)
  logp = np.where(actions, -tokens / 10, 0)
  np.testing.assert_allclose(rollouts.logp, logp, rtol=1e-6)


def test_free_rows_have_the_beginning_that_they_say():
  plan = begun.Begun(('a', 'b', ''), samples=6)
  said = iter(['x', 'x', 'x', 'x', 'bx', 'xb'])
  rollouts, _ = collect(plan, lambda text, i: next(said), prompts=('q',))
  assert scripted.words(rollouts) == ['ax', 'ax', 'bx', 'bx', 'bx', 'xb']
  assert rollouts.extras['beginning'].tolist() == [0, 0, 1, 1, 1, -1]
  assert rollouts.extras['assigned'].tolist() == [True] * 4 + [False] * 2
  assert not rollouts.extras['begun'][4:].any()


def test_without_a_text_rows_are_independent_ones():
  plan = begun.Begun(('',), samples=2)
  rollouts, _ = collect(plan, lambda text, i: text + 'x')
  assert scripted.words(rollouts) == ['qx', 'qx', 'rx', 'rx']
  np.testing.assert_array_equal(rollouts.action_mask, rollouts.response_mask)


def test_a_response_that_does_not_fit_behind_its_beginning_is_cut():
  plan = begun.Begun(('ab', ''), samples=2)
  rollouts, _ = collect(plan, lambda text, i: 'xyz', columns=5, prompts=('q',))
  assert scripted.words(rollouts) == ['abxyz', 'xyz']
  assert rollouts.truncated.tolist() == [True, False]


def test_a_chosen_beginning_need_not_be_in_the_support_of_the_sampler():
  class Recording(scripted.Scripted):
    def generate(self, *args, **kwargs):
      rollouts = super().generate(*args, **kwargs)
      support = rollouts.content.response[:, :, None]
      extras = {**rollouts.extras, 'support': support}
      return rollouts.replace(extras=extras)

  tools, prompts = Recording(lambda text, i: 'x'), scripted.ask('q')
  begun.Begun(('a',), samples=1).collect(tools, prompts, (), KEY)
  with pytest.raises(ValueError, match='set sample.support = 0'):
    begun.Begun(('a',), samples=1, chosen=True).collect(tools, prompts, (), KEY)


@pytest.mark.parametrize(
  ('beginnings', 'samples', 'message'),
  [
    (('a', 'a'), 2, 'are the same'),
    (('a', 'b', 'c'), 4, '4 samples are not shared evenly by 3'),
    ((), 4, '4 samples are not shared evenly by 0'),
  ],
)
def test_beginnings_that_cannot_share_the_rows_are_refused(
  beginnings, samples, message
):
  with pytest.raises(ValueError, match=message):
    begun.Begun(beginnings, samples=samples)
