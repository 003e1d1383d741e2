"""The policy at a URL of this machine, as OpenAI's chat completions.

    POST /v1/chat/completions    GET /v1/models    POST /v1/reward

Each episode has a key of its own, by which its requests are known, and which
is worth nothing once it has ended. Requests wait until they are answered; one
whose program has hung up is not learned from, and a client that asks again for
what it did not receive gets the first answer.
"""

from __future__ import annotations

import asyncio
import bisect
import collections
import hashlib
import json
import secrets
import socket
import threading
import time
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jaxrl_llm.serving import wire
from jaxrl_llm.serving.engine import Completes, Drawn
from jaxrl_llm.serving.ledger import Asked, Ledger
from jaxrl_llm.serving.programs import Limits
from jaxrl_llm.tasks.speech import Message, Said

HOST = '127.0.0.1'
# By which the clients of OpenAI say that they ask again.
_AGAIN = 'x-stainless-retry-count'
# What a request is answered with whose client is gone: to nobody.
_GONE = 499


class _Made(NamedTuple):
  asked: Asked
  said: Said
  drawn: Drawn
  message: Message


class Episode:
  """What one program may ask.

  Attributes:
    key: that it shows. ledger: what it asked.
    limit: the first limit that it met: requests, or tokens, of all answers or
      of a conversation that was too long; '' for none.
    requests: that were answered. overruled: what they asked for in vain.
    said: what it was told last, '' before. refused: why a request of it was
      not answered, the last such; '' for none.
  """

  def __init__(self, ledger: Ledger):
    self.ledger, self.key = ledger, secrets.token_urlsafe(32)
    self.limit, self.said, self.refused, self.ended = '', '', '', False
    self.requests = self.tokens = 0
    self.overruled: collections.Counter[str] = collections.Counter()
    # By request, so that one that comes again is not another.
    self.made: dict[bytes, asyncio.Task[_Made]] = {}
    self.received: set[asyncio.Task[_Made]] = set()


class Server:
  """Answers programs while it is entered.

  Attributes:
    url: for their clients.

  Args:
    engine: what draws answers. limits: of an episode.
  """

  def __init__(self, engine: Completes, limits: Limits):
    self._engine, self._limits = engine, limits.checked()
    self._episodes: dict[bytes, Episode] = {}
    app = Starlette(
      routes=[
        Route('/v1/chat/completions', self._complete, methods=['POST']),
        Route('/v1/models', self._models),
        Route('/v1/reward', self._paid, methods=['POST']),
      ],
      middleware=[
        # Of pages in a browser here that were led to this address.
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, 'localhost'])
      ],
      exception_handlers={wire.Refused: _refused},
    )
    self._server = uvicorn.Server(
      uvicorn.Config(
        app,
        # The parser that limits what heads of requests may take.
        http='h11',
        log_level='error',
        access_log=False,
        lifespan='off',
        loop='asyncio',
        timeout_graceful_shutdown=1,
      )
    )

  def __enter__(self) -> Server:
    self._socket = socket.socket()
    self._socket.bind((HOST, 0))
    self.url = f'http://{HOST}:{self._socket.getsockname()[1]}/v1'
    self._thread = threading.Thread(
      target=self._server.run,
      kwargs={'sockets': [self._socket]},
      daemon=True,
      name='server',
    )
    self._thread.start()
    while not self._server.started and self._thread.is_alive():
      time.sleep(0.005)
    return self

  def __exit__(self, *_) -> None:
    for episode in list(self._episodes.values()):
      self.end(episode)
    self._server.should_exit = True
    self._thread.join()
    self._socket.close()

  def begin(self, ledger: Ledger) -> Episode:
    """An episode, whose requests are noted in a ledger."""
    episode = Episode(ledger)
    self._episodes[_name(episode.key)] = episode
    return episode

  def end(self, episode: Episode) -> None:
    """Answers no more requests of an episode."""
    episode.ended = True

  def _episode(self, request: Request) -> Episode:
    """Whose key a request shows."""
    kind, _, key = request.headers.get('authorization', '').partition(' ')
    # Names of keys are compared, of which nothing can be learned in time.
    episode = self._episodes.get(_name(key.strip()))
    if kind.lower() != 'bearer' or episode is None:
      raise wire.Refused(
        'the key is that of no episode', status=401, code='invalid_api_key'
      )
    _check(episode)
    return episode

  async def _models(self, request: Request) -> Response:
    self._episode(request)
    policy = {'id': 'policy', 'object': 'model', 'created': 0}
    data = [{**policy, 'owned_by': 'jaxrl_llm'}]
    return JSONResponse({'object': 'list', 'data': data})

  async def _paid(self, request: Request) -> Response:
    """Rewards an answer of the episode, the last one or that of an id."""
    episode = self._episode(request)
    try:
      amount, identity = wire.reward(_read(await self._body(request)))
    except ClientDisconnect:
      return Response(status_code=_GONE)
    _check(episode)
    try:
      episode.ledger.pay(amount, identity)
    except ValueError as error:
      raise wire.Refused(str(error), code='no_such_answer') from error
    return JSONResponse({'reward': amount})

  async def _complete(self, request: Request) -> Response:
    episode = self._episode(request)
    try:
      return await self._answered(episode, request)
    except wire.Refused as error:
      episode.refused = str(error)
      raise

  async def _answered(self, episode: Episode, request: Request) -> Response:
    try:
      raw = await self._body(request)
    except ClientDisconnect:
      return Response(status_code=_GONE)
    name = hashlib.sha256(raw).digest()
    body = _read(raw)
    wanted = wire.request(body)
    again = request.headers.get(_AGAIN, '0') != '0'
    if not (again and name in episode.made):
      episode.made[name] = asyncio.create_task(self._made(episode, wanted))
    task = episode.made[name]
    made = await asyncio.shield(task)
    _check(episode)
    if await request.is_disconnected():
      return Response(status_code=_GONE)
    if task not in episode.received:
      episode.received.add(task)
      _note(episode, made)
    answer = wire.Answer(
      made.message,
      made.drawn.cut,
      len(made.asked.ids),
      len(made.drawn.ids),
      made.asked.identity,
      str(body.get('model', 'policy')),
      int(time.time()),
    )
    if not wanted.stream:
      return JSONResponse(answer.body())
    # All at once, as it was drawn.
    events = ''.join(answer.events(wanted.usage))
    return Response(events, media_type='text/event-stream')

  async def _body(self, request: Request) -> bytes:
    """The bytes of a request, no more of them than are allowed."""
    most = self._limits.bytes
    large = wire.Refused(
      f'the request has more than {most:,} bytes', status=413, code='too_large'
    )
    length = request.headers.get('content-length', '0')
    if not length.isdecimal() or int(length) > most:
      raise large
    found = bytearray()
    async for chunk in request.stream():
      found += chunk
      if len(found) > most:
        raise large
    return bytes(found)

  async def _made(self, episode: Episode, wanted: wire.Request) -> _Made:
    """The answer to a request."""
    limits = self._limits
    for limit, spent in (
      ('requests', episode.requests),
      ('tokens', episode.tokens),
    ):
      most = getattr(limits, limit)
      if spent >= most:
        episode.limit = episode.limit or limit
        raise wire.Refused(
          f'the episode has had the {most} {limit} that it may have',
          status=403,
          code=f'{limit}_limit',
        )
    try:
      asked = episode.ledger.asked(wanted.messages, wanted.tools)
    except ValueError as error:
      raise wire.Refused(str(error)) from error
    room = self._engine.room.after(len(asked.ids))
    if room < 1:
      episode.limit = episode.limit or 'tokens'
      raise wire.Refused(
        f'the conversation has {len(asked.ids)} tokens, and no room is left '
        'for an answer; raise sample.max_prompt or sample.max_response',
        code='context_length_exceeded',
      )
    episode.requests += 1
    episode.overruled.update(wanted.overruled)
    drawn = await asyncio.wrap_future(
      self._engine.submit(asked.ids, asked.identity)
    )
    most = min(room, wanted.most or room)
    made = _answer(asked, drawn.shortened(most), wanted.stop)
    episode.tokens += len(made.drawn.ids)
    return made


def _answer(asked: Asked, drawn: Drawn, stops: tuple[str, ...]) -> _Made:
  """What an answer says, up to the first stop in it."""

  def text(count):
    return str(asked.read(drawn.ids[:count]))

  if stops and wire.before(text(len(drawn.ids)), stops) is not None:
    # The fewest tokens in which one stands.
    count = 1 + bisect.bisect_left(
      range(1, len(drawn.ids)),
      True,
      key=lambda count: wire.before(text(count), stops) is not None,
    )
    drawn = drawn.shortened(count)._replace(cut=False)
  said = asked.read(drawn.ids, cut=drawn.cut)
  message = wire.message(said, asked.identity)
  for name in ('content', 'reasoning_content'):
    if name in message:
      words = wire.before(message[name], stops)
      message[name] = message[name] if words is None else words
  return _Made(asked, said, drawn, message)


def _note(episode: Episode, made: _Made) -> None:
  """Notes an answer that is about to be received."""
  episode.said = str(made.said)
  episode.ledger.answered(made.asked, made.said, made.drawn.facts, made.message)


def _check(episode: Episode) -> None:
  if episode.ended:
    raise wire.Refused(
      'the episode of this key has ended', status=403, code='episode_over'
    )


def _name(key: str) -> bytes:
  return hashlib.sha256(key.encode()).digest()


def _read(raw: bytes) -> Any:
  try:
    return json.loads(raw)
  except (ValueError, RecursionError) as error:
    raise wire.Refused(f'the request is no JSON: {error}') from error


async def _refused(request: Request, error: Exception) -> Response:
  del request
  assert isinstance(error, wire.Refused)
  return JSONResponse(error.body, error.status)
