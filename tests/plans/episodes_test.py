"""Episodes: who said what, where it stands, and how it is cut into steps."""

import jax
import numpy as np

from jaxrl_llm.plans import episodes
from jaxrl_llm.tasks import environments
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = ({'digits': {'a': '7', 'b': '2'}, 'answer': '72'},)
# What the policy says after each context; samples of a prompt are rows.
SPELLS = {'q': 'a', 'qa7\n': 'b', 'qa7\nb2\n': '72'}


def told(text):
  """The context without end tokens, which `scripted.decode` leaves out."""
  return SPELLS.get(text, '0')


def judge(text, record):
  return float(text == record['answer']) + record['return']


def tools(reply=lambda text, i: told(text), columns=24):
  return scripted.Scripted(
    reply, judge, RECORDS, columns, environments.Lookup()
  )


def collect(plan, lent=None):
  lent = lent or tools()
  return plan.collect(lent, scripted.ask('q'), (), KEY)[:2]


def test_the_environment_is_read_and_the_policy_chosen():
  rollouts, scores = collect(episodes.MultiTurn(samples=1, turns=4))
  tokens = np.asarray(rollouts.content.response[0])
  assert scripted.words(rollouts) == ['a7\nb2\n72']
  # Each turn of the policy and its end token, then what it was told.
  chosen = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1]
  mask = np.asarray(rollouts.response_mask[0])
  np.testing.assert_array_equal(rollouts.action_mask[0][mask], chosen)
  assert mask.sum() == len(chosen)
  logp = np.where(rollouts.action_mask[0], -tokens / 10, 0)
  np.testing.assert_allclose(rollouts.logp[0], logp, rtol=1e-6)
  assert not rollouts.truncated[0]
  # The answer is right and two new questions earned 0.1 each.
  np.testing.assert_allclose(scores.components, [[1.2]], rtol=1e-6)


def test_extras_say_where_turns_are_in_a_row():
  rollouts, _ = collect(episodes.MultiTurn(samples=2, turns=4))
  extras = rollouts.extras
  turn = [0] * 4 + [1] * 4 + [2] * 16
  np.testing.assert_array_equal(extras['turn'], [turn] * 2)
  ends = np.flatnonzero(extras['action_end'][0])
  np.testing.assert_array_equal(ends, [1, 5, 10])
  reward = np.zeros(24)
  reward[[0, 1, 4, 5]] = 0.1
  np.testing.assert_allclose(extras['decision_reward'][0], reward, rtol=1e-6)
  # Paid once a turn, with the last token of its action.
  once = np.where(extras['action_end'][0], reward, 0)
  np.testing.assert_allclose(rollouts.paid[0], once, rtol=1e-6)
  assert extras['tool_calls'].tolist() == [2, 2]
  assert extras['tool_start'].tolist() == [0, 0]


class Patient:
  """Hears out thoughts, which end in '!', and answers calls, at a '?'."""

  def reset(self, rows):
    return [None] * len(rows)

  def step(self, states, actions):
    return [self._answer(action) for action in actions]

  def _answer(self, action):
    if action.endswith('!'):
      return environments.Step(None, '\n', call=-1)
    if action.endswith('?'):
      return environments.Step(None, '7\n', call=action.index('?'))
    return environments.Step(None, done=True)


def test_text_may_come_before_a_call():
  """In the turn of the call, and in turns that went on without one."""
  begins = iter(['?', 'hm?', 'hm!', 'hm hm hm?', 'no'])

  def reply(text, i):
    return next(begins) if text == 'q' else '?' if text == 'qhm!\n' else '9'

  lent = scripted.Scripted(reply, judge, RECORDS, 40, Patient())
  rollouts, _ = collect(episodes.MultiTurn(samples=5, turns=4), lent)
  # Each turn ends with a token of its own, before what the policy is told.
  assert rollouts.extras['tool_start'].tolist() == [0, 2, 5, 8, -1]
  assert rollouts.extras['tool_calls'].tolist() == [1, 1, 1, 1, 0]


def test_an_episode_without_a_call_has_none():
  rollouts, _ = collect(
    episodes.MultiTurn(samples=1, turns=4), tools(lambda text, i: '9')
  )
  assert rollouts.extras['tool_calls'].tolist() == [0]
  assert rollouts.extras['tool_start'].tolist() == [-1]
  assert scripted.words(rollouts) == ['9']


def test_turns_and_tokens_that_run_out_truncate_an_episode():
  asks = tools(lambda text, i: 'a')
  rollouts, _ = collect(episodes.MultiTurn(samples=1, turns=2), asks)
  assert rollouts.truncated.tolist() == [True]
  assert scripted.words(rollouts) == ['a7\na']
  # Five columns hold the first turn, what it was told and one token more.
  short = tools(columns=5)
  rollouts, _ = collect(episodes.MultiTurn(samples=1, turns=2), short)
  assert rollouts.truncated.tolist() == [True]
  assert rollouts.length.tolist() == [5]


def test_what_cannot_be_heard_is_not_said():
  short = tools(columns=4)
  rollouts, _ = collect(episodes.MultiTurn(samples=1, turns=2), short)
  assert scripted.words(rollouts) == ['a']
  assert rollouts.truncated.tolist() == [True]


def test_a_verifier_hears_the_last_words_alone():
  heard = []

  def listen(text, record):
    heard.append(text)
    return 0.0

  lent = scripted.Scripted(
    lambda text, i: told(text), listen, RECORDS, 24, environments.Lookup()
  )
  collect(episodes.MultiTurn(samples=1, turns=4), lent)
  assert heard == ['72']


def test_an_environment_sees_that_an_action_was_cut():
  class Heard(Patient):
    cut = []

    def _answer(self, action):
      self.cut.append((str(action), action.cut))
      return super()._answer(action)

  lent = scripted.Scripted(
    lambda text, i: 'hm?' if text == 'q' else 'hm hm hm',
    judge,
    RECORDS,
    16,
    Heard(),
  )
  collect(episodes.MultiTurn(samples=1, turns=4), lent)
  # Four tokens a turn hold 'hm?' and its end, and no more.
  assert Heard.cut == [('hm?', False), ('hm h', True)]
