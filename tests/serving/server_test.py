"""The policy at a URL, asked by the client of OpenAI and by others."""

import asyncio
import http.client
import json
import random
import socket
import threading
import time
import urllib.parse

import pytest

from jaxrl_llm.serving import engine as engine_lib
from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import programs
from tests.serving.letters import TOOLS, Letters

# Of an extra, and the client of that of tests.
openai = pytest.importorskip('openai')
server_lib = pytest.importorskip('jaxrl_llm.serving.server')

HI = {'role': 'user', 'content': 'hi'}


class Engine:
  """Says a line to each request, in any order.

  Attributes:
    say: f(text of the request, random generator of its identity) -> line. A
      line without `|` was cut.
  """

  def __init__(self, say, room=(400, 100, 100), jitter=0.0):
    self.say, self.room = say, engine_lib.Room(*room)
    self._jitter, self._random = jitter, random.Random(0)
    self.held = threading.Event()
    self.held.set()

  def submit(self, ids, identity):
    future = engine_lib.Future()
    rng = random.Random(identity)
    said = tuple(map(ord, self.say(''.join(map(chr, ids)), rng)))
    # As of a policy: a function of the tokens alone.
    facts = {'logp': [-letter / 10 for letter in said]}
    drawn = engine_lib.Drawn(said, facts, said[-1:] not in ((124,), (33,)))

    def answer():
      self.held.wait()
      future.set_result(drawn)

    wait = self._jitter * self._random.random()
    threading.Timer(wait, answer).start()
    return future


def served(say=lambda text, rng: 'yes|', limits=None, **options):
  engine = Engine(say, **options)
  return server_lib.Server(engine, programs.Limits(**(limits or {})))


def begin(server, name=0):
  chat = Letters()
  return server.begin(ledger_lib.Ledger(lambda tools: chat, name))


def client_of(server, key):
  return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)


def ask(server, key, messages=(HI,), **fields):
  with client_of(server, key) as client:
    return client.chat.completions.create(
      model='policy', messages=list(messages), **fields
    )


def raw(server, key, body=b'', **headers):
  """Status and JSON of a request whose headers are as given."""
  place = urllib.parse.urlsplit(server.url)
  connection = http.client.HTTPConnection(place.hostname, place.port, timeout=9)
  connection.putrequest(
    'POST', '/v1/chat/completions', skip_host='Host' in headers
  )
  given = {'Authorization': f'Bearer {key}', 'Content-Length': str(len(body))}
  for name, value in (given | headers).items():
    connection.putheader(name, value)
  connection.endheaders(body)
  answer = connection.getresponse()
  found = answer.status, answer.read()
  connection.close()
  return found


@pytest.fixture(scope='module')
def plain():
  with served() as server:
    yield server


def test_an_answer_is_what_was_drawn(plain):
  episode = begin(plain)
  answer = ask(plain, episode.key)
  [choice] = answer.choices
  assert choice.message.content == 'yes|'
  assert choice.finish_reason == 'stop'
  assert answer.usage.total_tokens == len('uhi|a' + 'yes|')
  [turn] = episode.ledger.turns
  assert ''.join(map(chr, turn.ids + turn.said)) == 'uhi|ayes|'
  assert episode.said == 'yes|' and episode.requests == 1


def test_models_are_listed(plain):
  with client_of(plain, begin(plain).key) as client:
    assert [model.id for model in client.models.list()] == ['policy']


def test_streamed_is_the_same(plain):
  episode = begin(plain)
  # A stream is read from its client, and must be before that is closed.
  with client_of(plain, episode.key) as client:
    chunks = list(
      client.chat.completions.create(
        model='policy',
        messages=[HI],
        stream=True,
        stream_options={'include_usage': True},
      )
    )
  words = [c.choices[0].delta.content or '' for c in chunks if c.choices]
  assert ''.join(words) == 'yes|' and chunks[-1].usage.completion_tokens == 4
  assert len(episode.ledger.turns) == 1


def test_a_guessed_key_is_refused(plain):
  with pytest.raises(openai.AuthenticationError, match='no episode'):
    ask(plain, 'guess')
  status, _ = raw(plain, '', b'{}', Authorization='Basic x')
  assert status == 401


def test_a_key_ends_with_its_episode(plain):
  episode = begin(plain)
  ask(plain, episode.key)
  plain.end(episode)
  with pytest.raises(openai.PermissionDeniedError, match='has ended'):
    ask(plain, episode.key)
  assert len(episode.ledger.turns) == 1


def test_an_episode_that_ends_meanwhile_gets_no_answer(plain):
  episode, engine = begin(plain), plain._engine
  engine.held.clear()
  threading.Timer(0.2, lambda: (plain.end(episode), engine.held.set())).start()
  with pytest.raises(openai.PermissionDeniedError):
    ask(plain, episode.key)
  assert not episode.ledger.turns


def test_another_host_is_refused(plain):
  key = begin(plain).key
  status, _ = raw(plain, key, b'{}', Host='evil.example')
  assert status == 400
  body = json.dumps({'messages': [HI]}).encode()
  assert raw(plain, key, body, Host='localhost')[0] == 200


def test_a_large_body_is_refused_before_it_is_read(plain):
  key = begin(plain).key
  status, said = raw(plain, key, **{'Content-Length': str(2 << 30)})
  assert status == 413 and b'1,048,576 bytes' in said
  endless = b'%x\r\n%s\r\n' % (1 << 21, b' ' * (1 << 21))
  place = urllib.parse.urlsplit(plain.url)
  with socket.create_connection((place.hostname, place.port), 9) as pipe:
    head = f'POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n'
    head += f'Authorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n'
    pipe.sendall(head.encode())
    try:
      pipe.sendall(endless)
    except OSError:
      return
    assert b' 413 ' in pipe.recv(64)


@pytest.mark.parametrize('body', [b'', b'{', b'[' * 90_000, b'\xff', b'[]'])
def test_what_is_no_request_is_refused(plain, body):
  status, said = raw(plain, begin(plain).key, body)
  assert status == 400 and json.loads(said)['error']['message']


def test_who_hangs_up_is_not_learned_from():
  with served() as server:
    episode, engine = begin(server), server._engine
    body = json.dumps({'messages': [HI]}).encode()
    place = urllib.parse.urlsplit(server.url)
    head = f'POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n'
    head += f'Authorization: Bearer {episode.key}\r\n'
    head += f'Content-Length: {len(body)}\r\n\r\n'
    engine.held.clear()
    with socket.create_connection((place.hostname, place.port), 9) as pipe:
      pipe.sendall(head.encode() + body)
      while not episode.requests:
        time.sleep(0.01)
    time.sleep(0.1)
    engine.held.set()
    again = {'x-stainless-retry-count': '1'}
    time.sleep(0.1)
    assert not episode.ledger.turns
    # Who asks again gets what was drawn, and is no further request.
    for _ in range(2):
      status, said = raw(server, episode.key, body, **again)
      assert status == 200
    assert len(episode.ledger.turns) == 1 and episode.requests == 1


@pytest.mark.parametrize(
  ('limits', 'code'),
  [({'requests': 1}, 'requests_limit'), ({'tokens': 3}, 'tokens_limit')],
)
def test_limits_end_an_episode(limits, code):
  with served(limits=limits) as server:
    episode = begin(server)
    ask(server, episode.key)
    with pytest.raises(openai.PermissionDeniedError) as refused:
      ask(server, episode.key)
    assert refused.value.code == code
    assert episode.limit == code.removesuffix('_limit')
    assert len(episode.ledger.turns) == 1
    ask(server, begin(server).key)


def test_a_conversation_without_room_is_told_so():
  with served(room=(3, 4, 9)) as server:
    episode = begin(server)
    answer = ask(server, episode.key)
    assert answer.choices[0].finish_reason == 'length'
    assert answer.choices[0].message.content == 'ye'
    with pytest.raises(openai.BadRequestError) as refused:
      ask(server, episode.key, [{'role': 'user', 'content': 'hi you'}])
    assert refused.value.code == 'context_length_exceeded'
    assert episode.limit == 'tokens'


def test_fewer_tokens_and_stops_end_an_answer():
  with served(lambda text, rng: 'so~a stop b stop|') as server:
    episode = begin(server)
    [choice] = ask(server, episode.key, max_tokens=4).choices
    assert (choice.message.content, choice.finish_reason) == ('a', 'length')
    [choice] = ask(server, episode.key, stop=['to', 'b']).choices
    assert (choice.message.content, choice.finish_reason) == ('a s', 'stop')
    short, stopped = episode.ledger.turns
    assert len(short.said) == len(short.facts['logp']) == 4
    assert ''.join(map(chr, stopped.said)) == 'so~a sto'
    told = {'role': 'assistant', 'content': 'a s'}
    ask(server, episode.key, [HI, told, HI])
    assert len(ledger_lib.rows(episode.ledger.turns)) == 2


def pay(server, key, **body):
  with client_of(server, key) as client:
    return client.post('/reward', body=body, cast_to=object)


def test_answers_are_paid_by_the_key_of_their_episode():
  with served() as server:
    mine, other = begin(server, 1), begin(server, 2)
    with pytest.raises(openai.BadRequestError, match='no such answer'):
      pay(server, mine.key, reward=1.0)
    first = ask(server, mine.key)
    ask(server, mine.key, [HI, HI])
    pay(server, mine.key, reward=0.5)
    pay(server, mine.key, reward=0.25, id=first.id)
    with pytest.raises(openai.BadRequestError, match='no such answer'):
      pay(server, other.key, reward=1.0, id=first.id)
    with pytest.raises(openai.BadRequestError, match="reward '1'"):
      pay(server, mine.key, reward='1')
    with pytest.raises(openai.AuthenticationError):
      pay(server, 'nobody', reward=1.0)
    server.end(mine)
    with pytest.raises(openai.PermissionDeniedError):
      pay(server, mine.key, reward=1.0)
  assert [turn.earned for turn in mine.ledger.turns] == [0.25, 0.5]


def test_what_the_chat_cannot_write_is_refused():
  class Strict(Letters):
    def begin(self, prompt, tools=()):
      raise ValueError('no tools here')

  with served() as server:
    chat = Strict()
    episode = server.begin(ledger_lib.Ledger(lambda tools: chat))
    with pytest.raises(openai.BadRequestError, match='no tools here'):
      ask(server, episode.key)


async def solve(url, key, seed):
  """A loop over tools, with helpers at once and a history that is rewritten."""
  async with openai.AsyncOpenAI(
    base_url=url, api_key=key, max_retries=0
  ) as client:

    async def said(messages, **fields):
      answer = await client.chat.completions.create(
        model='m', messages=messages, **fields
      )
      return answer.choices[0].message

    system = {'role': 'system', 'content': 'add'}
    messages = [system, {'role': 'user', 'content': f'{seed}'}]
    for turn in range(4):
      message = await said(messages, tools=TOOLS)
      told = message.model_dump(exclude_none=True)
      told.pop('reasoning_content', None)
      messages.append(told)
      if not message.tool_calls:
        break
      for call in message.tool_calls:
        result = {'role': 'tool', 'tool_call_id': call.id, 'content': '7'}
        messages.append(result)
      if turn == 1:
        helper = [{'role': 'user', 'content': f'help {seed}'}]
        await asyncio.gather(said(helper), said(helper), said(helper[:1]))
    if seed % 3 == 0:
      await said([system, {'role': 'user', 'content': 'in short'}])


def test_the_order_of_answers_changes_no_row():
  def line(text, rng):
    call = ' add !' if 'add' in text[:3] and rng.random() < 0.7 else 'no|'
    return f'{rng.choice("pqr")}~ {call}'

  def run(order):
    async def everyone():
      episodes = [begin(server, name) for name in range(4)]
      jobs = [(e.key, name) for name, e in enumerate(episodes)]
      random.Random(order).shuffle(jobs)
      await asyncio.gather(*(solve(server.url, *job) for job in jobs))
      return [ledger_lib.rows(e.ledger.turns) for e in episodes]

    with served(line, jitter=0.02) as server:
      server._engine._random = random.Random(order)
      return asyncio.run(everyone())

  rows = run(1)
  assert rows == run(2)
  assert sum(len(row.turns) > 1 for each in rows for row in each) > 2
