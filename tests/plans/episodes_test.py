"""Episodes: who said what, where it stands, and how it is cut into steps."""

import itertools
import types

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import by_turn, ending, episodes, playing, resampled
from jaxrl_llm.plans import turns as turns_lib
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


class Opens(environments.Lookup):
  """Asks the question itself, as its record says."""

  def reset(self, rows):
    states = super().reset(rows)
    opened = [environments.Opening(state, 'q') for state in states]
    # A state by itself is opened as the others.
    return [opened[0], states[1], *opened[2:]]


def test_what_reset_opens_with_stands_in_place_of_the_record():
  plan = episodes.MultiTurn(samples=3, turns=4)
  wanted, marks = collect(plan)
  lent = tools()
  lent.environment = Opens()
  found, scores, _ = plan.collect(lent, scripted.ask('no'), (), KEY)
  np.testing.assert_array_equal(found.content.prompt, wanted.content.prompt)
  np.testing.assert_array_equal(found.content.response, wanted.content.response)
  np.testing.assert_array_equal(found.group, wanted.group)
  np.testing.assert_array_equal(scores.components, marks.components)


def test_episodes_of_one_question_open_alike():
  lent = tools()
  lent.environment = environments.Lookup()
  begun = environments.Opening(None, 'q'), environments.Opening(None, 'r')
  lent.environment.reset = lambda rows: begun
  with pytest.raises(ValueError, match="with 'q' and with 'r'"):
    collect(episodes.MultiTurn(samples=2, turns=2), lent)


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


def test_rows_of_steps_are_turns_after_what_came_before():
  plan = by_turn.Steps(episodes=2, turns=4)
  assert plan.contract.samples == 8
  rollouts, scores = collect(plan)
  prompts = ['q', 'qa7\n', 'qa7\nb2\n']
  tokens, masks = (
    np.asarray(rollouts.content.prompt),
    np.asarray(rollouts.content.prompt_mask),
  )
  contexts = [scripted.decode(t[m]) for t, m in zip(tokens, masks)]
  assert contexts[:3] == prompts and contexts[4:7] == prompts
  assert scripted.words(rollouts)[:4] == ['a', 'b', '72', '']
  assert rollouts.valid.tolist() == [True, True, True, False] * 2
  expected = [1.2, 1.2, 1.2, 0] * 2
  np.testing.assert_allclose(scores.components[:, 0], expected, rtol=1e-6)
  assert rollouts.group.tolist() == [0] * 8


def test_extras_say_what_steps_have_in_common():
  def reply(text, i):
    return 'a' if text == 'q' else '0'

  mixed = tools(lambda text, i: reply(text, i))
  rollouts, _ = collect(by_turn.Steps(episodes=2, turns=3), mixed)
  extras = {k: np.asarray(v) for k, v in rollouts.extras.items()}
  np.testing.assert_array_equal(extras['trajectory'], [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(extras['step'], [0, 1, 2] * 2)
  np.testing.assert_array_equal(extras['agent'][[0, 1]], [0, 1])
  np.testing.assert_allclose(extras['step_reward'][:3], [0.1, 0, 0])
  anchor, node = extras['anchor'], extras['node']
  assert anchor[0] == anchor[3] != anchor[1] == anchor[4]
  assert node[0] == node[3] and node[1] == node[4] and node[0] != node[1]


def test_what_was_paid_in_another_order_adds_up_to_the_same():
  """Or a norm would tell episodes apart by what rounding left of their sums."""

  class Lent:
    def rows(self, tasks):
      return [{} for _ in tasks]

    def verify(self, rollouts, texts, records):
      return np.float32([record['return'] for record in records])

  pay = [*itertools.permutations((0.1, 0.2, 0.3, 0.4)), (1.0, 0.0, 0.0, 0.0)]
  log = turns_lib.empty(len(pay), 4)
  log.reward[:] = pay
  rollouts = types.SimpleNamespace(task=range(len(pay)))
  assert len({*ending.judged(Lent(), rollouts, log).tolist()}) == 1


def test_what_the_environment_paid_goes_with_its_turn():
  cut, _ = collect(by_turn.Steps(episodes=3, turns=4))
  paid = np.asarray(cut.paid).sum(axis=1)
  wanted = np.where(cut.valid, cut.extras['step_reward'], 0)
  np.testing.assert_allclose(paid, wanted, rtol=1e-6)
  assert paid.any()


def test_steps_hold_the_tokens_and_log_probs_of_the_episode():
  whole, _ = collect(episodes.MultiTurn(samples=3, turns=4))
  cut, _ = collect(by_turn.Steps(episodes=3, turns=4))
  whole, cut = (
    [
      np.asarray(x)[np.asarray(r.action_mask)]
      for x in (r.content.response, r.logp)
    ]
    for r in (whole, cut)
  )
  for chosen, steps in zip(whole, cut):
    np.testing.assert_array_equal(chosen, steps)


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


def test_fewer_tokens_than_turns_are_refused():
  with pytest.raises(ValueError, match='3 response tokens do not hold 4 turns'):
    collect(episodes.MultiTurn(samples=1, turns=4), tools(columns=3))


def resample(reply, turns=3, samples=2):
  lent = tools(reply)
  rollouts, _ = collect(resampled.Resampled(samples=samples, turns=turns), lent)
  return lent, rollouts


def test_resampled_episodes_share_what_came_before_their_turn():
  lent, rollouts = resample(lambda text, i: told(text))
  turn = int(rollouts.extras['resampled'][0])
  assert rollouts.extras['resampled'].tolist() == [turn] * 2
  assert scripted.words(rollouts) == ['a7\nb2\n72'] * 2
  # The first episode takes three turns; the others start at the drawn one.
  contexts = ['q', 'qa7\n', 'qa7\nb2\n']
  assert [asked[0] for asked in lent.asked] == contexts + contexts[turn:]
  np.testing.assert_array_equal(
    rollouts.extras['turn'][0], [0] * 4 + [1] * 4 + [2] * 16
  )


def test_a_parted_episode_has_its_turns_before_and_the_state_it_goes_on_from():
  rollouts, log = playing.play(
    tools(), scripted.ask('q'), KEY, samples=1, turns=3
  )
  cut, kept = turns_lib.parted(rollouts, log, np.array([1]))
  assert scripted.words(cut) == ['a7\n']
  assert kept.taken.tolist() == [[True, False, False]]
  assert kept.state[0, 1] == (RECORDS[0]['digits'], 'a')
  assert kept.anchor.tolist() == [['', 'a', '']]
  assert kept.action.tolist() == [['a', '', '']]


def stops(rollouts):
  return [environments.STOPS[i] for i in np.asarray(rollouts.extras['stop'])]


@pytest.mark.parametrize(
  ('reply', 'turns', 'columns', 'reason'),
  [
    (told, 4, 24, 'done'),
    (lambda text: 'a', 2, 24, 'turns'),
    (lambda text: 'a', 4, 5, 'tokens'),
  ],
)
def test_an_episode_says_why_it_ended(reply, turns, columns, reason):
  for plan in (
    episodes.MultiTurn(samples=2, turns=turns),
    by_turn.Steps(episodes=2, turns=turns),
    resampled.Resampled(samples=2, turns=turns),
  ):
    lent = tools(lambda text, i: reply(text), columns)
    rollouts, _ = collect(plan, lent)
    assert set(stops(rollouts)) == {reason}
    assert rollouts.truncated.tolist() == [reason != 'done'] * len(
      rollouts.truncated
    )
    assert lent.notes == {
      f'stop/{name}': float(name == reason)
      for name in ('done', 'turns', 'tokens')
    }


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


class Judged(Patient):
  """Ends for reasons of its own, and pays for what it did not end."""

  stops = ('said', 'failed')

  def _answer(self, action):
    if action.endswith('?'):
      return environments.Step(action, 'a')
    stop = {'bad': 'failed', 'odd': 'tired'}.get(action, 'said')
    return environments.Step(action, done=True, reward=1.0, stop=stop)

  def truncated(self, states):
    return [len(state) for state in states]


def judged_rows(says, **more):
  begins = iter(says)
  lent = scripted.Scripted(
    lambda text, i: next(begins), judge, RECORDS, 24, Judged()
  )
  rollouts, scores = collect(
    episodes.MultiTurn(samples=len(says) // 2, turns=2), lent
  )
  return lent, rollouts, np.asarray(rollouts.paid.sum(axis=1)).tolist()


def test_what_turns_ended_is_paid_for_and_what_failed_does_not_count():
  lent, rollouts, paid = judged_rows(['a?', 'yes', 'bad', 'abc?', '', ''])
  assert stops(rollouts) == ['turns', 'said', 'failed']
  assert rollouts.valid.tolist() == [True, True, False]
  assert paid == [len('abc?'), 1, 1]
  assert rollouts.truncated.tolist() == [True, False, False]
  assert lent.notes['stop/failed'] == pytest.approx(1 / 3)


def test_a_reason_that_an_environment_has_not_is_refused():
  with pytest.raises(ValueError, match="reason 'tired'.* are said, failed"):
    judged_rows(['odd', 'odd'])
