"""Requests of programs, and the rows that are learned from them."""

import itertools
import json
import random

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import wire
from jaxrl_llm.tasks.speech import Said
from tests.serving.letters import TOOLS, Letters


class Client:
  """Asks a ledger as a program would, and keeps what it was told."""

  def __init__(self, name=0):
    chat = Letters()
    self.ledger = ledger_lib.Ledger(lambda tools: chat, name)
    self.known = []

  def ask(self, messages, tools=(), said=None):
    read = wire.request({'messages': messages, 'tools': list(tools)})
    asked = self.ledger.asked(read.messages, read.tools)
    if said is None:
      rng = random.Random(asked.identity)
      said = rng.choice('pq') + '~ ' + rng.choice('xy') + rng.choice('!|')
    turn = asked.read(self.ids(said))
    answer = wire.message(turn, asked.identity)
    facts = {'logp': [-1.0] * len(said)}
    self.ledger.answered(asked, turn, facts, answer)
    sent = json.loads(json.dumps(wire.written(answer)))
    self.known.append((messages, tools, sent))
    return sent

  def ids(self, text):
    return tuple(map(ord, text))

  @property
  def rows(self):
    return ledger_lib.rows(self.ledger.turns)


def user(words):
  return {'role': 'user', 'content': words}


def test_an_answer_that_is_given_back_is_gone_on_from():
  client = Client()
  first = client.ask([user('hi')], said='think~ yes|')
  assert first['content'] == ' yes' and first['reasoning_content'] == 'think'
  client.ask([user('hi'), first, user('and')], said='no|')
  [row] = client.rows
  assert ''.join(map(chr, row.ids)) == 'uhi|athink~ yes|uand|ano|'
  assert [at for at, _ in row.turns] == [5, 22]


def reworded(message, how):
  """A message of ours as some client gives it back."""
  message = json.loads(json.dumps(message))
  message.pop('reasoning_content', None)
  if how == 'list' and message['content'] is not None:
    message['content'] = [{'type': 'text', 'text': message['content']}]
  if how == 'bare':
    message['content'] = (message['content'] or '').strip() or None
    message['refusal'] = None
  for call in message.get('tool_calls') or ():
    arguments = json.loads(call['function']['arguments'])
    spaces = (',', ':') if how == 'bare' else (' ,  ', ' :  ')
    call['function']['arguments'] = json.dumps(arguments, separators=spaces)
  return message


@pytest.mark.parametrize('how', ['list', 'bare', 'same'])
def test_clients_that_reword_answers_get_one_row(how):
  client = Client()
  start = [
    {'role': 'developer', 'content': [{'type': 'text', 'text': 'You add.'}]},
    user('one and one'),
  ]
  call = reworded(client.ask(start, TOOLS, said='so~ add!'), how)
  [made] = call['tool_calls']
  result = {'role': 'tool', 'tool_call_id': made['id'], 'content': '2'}
  history = [{**start[0], 'role': 'system'}, start[1], call, result]
  said = reworded(client.ask(history, TOOLS, said='well~ 2 |'), how)
  client.ask([*history, said, user('thanks')], TOOLS, said='bye|')
  [row] = client.rows
  assert len(row.turns) == 3


def test_what_nobody_drew_begins_a_new_row():
  client = Client()
  said = client.ask([user('hi')], said='so~yes|')
  changed = {**said, 'content': 'no'}
  client.ask([user('hi'), changed, user('and')], said='x|')
  client.ask([user('HI'), said, user('and')], said='x|')
  client.ask([user('hi'), said, user('and')], TOOLS, said='x|')
  added = [user('hi'), said, user('a'), {**said, 'content': 'b'}, user('c')]
  client.ask(added, said='x|')
  assert len(client.rows) == 5


def test_history_of_the_template_makes_a_row_of_what_it_rewrites():
  """Thoughts are left out when the chat writes the history anew."""
  for anew, count in ((False, 1), (True, 2)):
    client = Client()
    client.ledger = ledger_lib.Ledger(lambda tools: Letters(), anew=anew)
    first = client.ask([user('hi')], said='think~ yes|')
    client.ask([user('hi'), first, user('and')], said='no|')
    assert len(client.rows) == count
    assert sum(len(row.turns) for row in client.rows) == 2
  assert ''.join(map(chr, client.rows[1].ids)) == 'uhi|a yes|uand|ano|'
  assert len(client.rows[1].turns) == 1


class Unended(Letters):
  """What ends a turn is no part of its text."""

  def read(self, ids, tools=(), *, cut=False):
    said = super().read(ids, tools, cut=cut)
    return Said(said.rstrip('|'), ids=ids, ended=said.ended)


def test_history_of_a_template_that_keeps_it_is_one_row():
  client = Client()
  client.ledger = ledger_lib.Ledger(lambda tools: Unended(), anew=True)
  first = client.ask([user('hi')], said='yes|')
  client.ask([user('hi'), first, user('and')], said='no|')
  [row] = client.rows
  assert ''.join(map(chr, row.ids)) == 'uhi|ayes|uand|ano|'
  assert len(row.turns) == 2


def test_an_answer_is_paid_by_its_name_or_as_the_last():
  client = Client()
  ledger = client.ledger
  with pytest.raises(ValueError, match='no such answer'):
    ledger.pay(1.0)
  unheard = ledger.asked([user('hi')])
  client.ask([user('ho')], said='yes|')
  [identity] = ledger._places
  client.ask([user('ha')], said='no|')
  ledger.pay(0.5)
  ledger.pay(0.25, identity)
  ledger.pay(0.25, identity)
  with pytest.raises(ValueError, match='no such answer'):
    ledger.pay(1.0, unheard.identity)
  assert [turn.earned for turn in ledger.turns] == [0.5, 0.5]


def test_answers_of_one_meaning_are_told_apart_by_thought_or_call():
  client = Client()
  for thought in 'qp':
    client.ask([user('hi')], TOOLS, said=f'{thought}~add!')
  for _, _, said in list(client.known):
    made = said['tool_calls'][0]['id']
    result = {'role': 'tool', 'tool_call_id': made, 'content': '2'}
    dropped = {k: v for k, v in said.items() if k != 'reasoning_content'}
    client.ask([user('hi'), dropped, result], TOOLS, said='2|')
  assert [len(row.turns) for row in client.rows] == [2, 2]


class Broken(Letters):
  """No argument can be read."""

  def read(self, ids, tools=(), *, cut=False):
    said = super().read(ids, tools, cut=cut)
    calls = [c._replace(error='no JSON', written='{a') for c in said.calls]
    return Said(said, ids=ids, content=said.content, calls=calls, start=0)


def test_a_call_that_cannot_be_read_is_answered_and_gone_on_from():
  for anew in (False, True):
    client = Client()
    client.ledger = ledger_lib.Ledger(lambda tools: Broken(), anew=anew)
    said = client.ask([user('hi')], TOOLS, said='add!')
    [call] = said['tool_calls']
    assert call['function'] == {'name': 'add', 'arguments': '{a'}
    told = {'role': 'tool', 'tool_call_id': call['id'], 'content': 'no JSON'}
    client.ask([user('hi'), said, told], TOOLS, said='2|')
    assert [turn.call for turn in client.ledger.turns] == [0, -1]
    assert len(client.rows) == 1 + anew
  call['function']['arguments'] = '{b'
  with pytest.raises(ValueError, match="arguments '{b' of a call are no obj"):
    client.ask([user('hi'), said, told], TOOLS)


def test_an_identity_is_of_episode_context_and_count():
  def identities(name, texts):
    ledger = ledger_lib.Ledger(lambda tools: Letters(), name)
    return [ledger.asked([user(text)]).identity for text in texts]

  one = identities(0, 'abaa')
  assert len(set(one)) == 4
  assert sorted(identities(0, 'aaba')) == sorted(one)
  assert not set(identities(1, 'abaa')) & set(one)


def forest(draws, name=0):
  """A client that asked as `draws` say: begins, goes on, or rewrites."""
  client = Client(name)
  for kind, which, words in draws:
    if kind == 'begin' or not client.known:
      client.ask([user(words)], TOOLS[: which % 2])
      continue
    messages, tools, said = client.known[which % len(client.known)]
    said = reworded(said, ('list', 'bare', 'same')[which % 3])
    calls = said.get('tool_calls') or ()
    results = [
      {'role': 'tool', 'tool_call_id': call['id'], 'content': words}
      for call in calls
    ]
    if kind == 'rewrite':
      said['content'] = f'{said["content"]}z'
    client.ask([*messages, said, *(results or [user(words)])], tools)
  return client


DRAWS = st.lists(
  st.tuples(
    st.sampled_from(('begin', 'on', 'on', 'on', 'rewrite')),
    st.integers(0, 11),
    st.sampled_from(('a', 'b')),
  ),
  min_size=1,
  max_size=7,
)


def fewest(turns):
  """The least number of rows, by trying who follows whom."""

  def follows(before, after):
    whole = before.ids + before.said
    return after.ids[: len(whole)] == whole

  def most(index, free):
    if index == len(turns):
      return 0
    found = most(index + 1, free)
    for other in free:
      if follows(turns[other], turns[index]):
        found = max(found, 1 + most(index + 1, free - {other}))
    return found

  return len(turns) - most(0, frozenset(range(len(turns))))


@hypothesis.given(DRAWS, st.randoms(use_true_random=False))
@hypothesis.settings(max_examples=40, deadline=None)
def test_every_token_is_once_behind_what_it_was_drawn_behind(draws, rng):
  turns = forest(draws).ledger.turns
  rows = ledger_lib.rows(turns)
  held = list(itertools.chain(*(row.turns for row in rows)))
  assert sorted(map(id, (turn for _, turn in held))) == sorted(map(id, turns))
  for row in rows:
    end = 0
    for at, turn in row.turns:
      assert at >= end and row.ids[:at] == turn.ids
      end = at + len(turn.said)
      assert row.ids[at:end] == turn.said
    assert end == len(row.ids)
  assert len(rows) == fewest(turns)
  mixed = list(turns)
  rng.shuffle(mixed)
  assert ledger_lib.rows(mixed) == rows


def test_a_row_without_room_is_not_gone_on_with():
  turns = forest([('begin', 0, 'a'), ('on', 0, 'b'), ('on', 1, 'b')])
  turns = turns.ledger.turns
  assert len(ledger_lib.rows(turns)) == 1
  longest = len(turns[1].ids) + len(turns[1].said)
  short = ledger_lib.rows(turns, lambda first, length: length <= longest)
  assert [len(row.turns) for row in short] == [2, 1]
