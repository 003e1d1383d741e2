"""Clients that mean no good: each is refused, and nobody else notices.

python -m tests.serving.hostile_test    writes what comes back to the page
"""

import contextlib
import json
import pathlib
import re
import socket
import time
import urllib.parse

import pytest

pytest.importorskip('openai')  # As of all tests of servers.
server_lib = pytest.importorskip('jaxrl_llm.serving.server')

from tests.serving.server_test import HI, ask, begin, served  # noqa: E402

PATH = '/v1/chat/completions'
PAY = 'POST /v1/reward HTTP/1.1'
GOOD = {'model': 'policy', 'messages': [HI]}


def said(body=GOOD, *lines, line='', host='{host}', key='{key}', length=None):
  """The bytes of a request, wrong where it is said so."""
  body = body if isinstance(body, bytes) else json.dumps(body).encode()
  head = [line or f'POST {PATH} HTTP/1.1', f'Host: {host}', 'Connection: close']
  head += [f'Authorization: Bearer {key}', *lines]
  if length is None:
    head.append(f'Content-Length: {len(body)}')
  elif length:
    head.append(f'Content-Length: {length}')
  return '\r\n'.join(head).encode() + b'\r\n\r\n' + body


def spoken(content):
  return {**GOOD, 'messages': [{'role': 'user', 'content': content}]}


HOSTILE = {
  'no HTTP': b'\x00\x01\x02 hello\r\n\r\n',
  'TLS': bytes.fromhex('160301020001000001fc0303') + b'\x00' * 60,
  'HTTP/0.9': b'GET /v1/models\r\n\r\n',
  'HTTP/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'no host': b'GET /v1/models HTTP/1.1\r\n\r\n',
  'another host': said(host='evil.example'),
  'host with a name before': said(host='evil.example@{host}'),
  'no key': said(key=''),
  'a key of nobody': said(key='x' * 43),
  'a key with more': said(key='{key}x'),
  'a key of bytes': said(key='\xff\xfe'),
  'the key in the address': said(
    line=f'POST {PATH}?api_key={{key}} HTTP/1.1', key=''
  ),
  'GET': said(line=f'GET {PATH} HTTP/1.1'),
  'DELETE': said(line=f'DELETE {PATH} HTTP/1.1'),
  'CONNECT': said(line='CONNECT 10.0.0.1:80 HTTP/1.1'),
  'a page asks first': said(
    b'', 'Origin: http://evil.example', line=f'OPTIONS {PATH} HTTP/1.1'
  ),
  'a file': said(line='GET /../../../../etc/passwd HTTP/1.1'),
  'a path of dots': said(line='POST /v1/%2e%2e/%2e%2e/etc HTTP/1.1'),
  'another address': said(line='GET http://10.0.0.1/ HTTP/1.1'),
  'a web socket': said(
    b'',
    'Connection: Upgrade',
    'Upgrade: websocket',
    line=f'GET {PATH} HTTP/1.1',
  ),
  'length below zero': said(length=-1),
  'length in words': said(length='many'),
  'two lengths': said(GOOD, 'Content-Length: 3'),
  'length and chunks': said(GOOD, 'Transfer-Encoding: chunked'),
  'chunks of no size': said(b'zz\r\n', 'Transfer-Encoding: chunked', length=''),
  'a chunk of 16 EiB': said(
    b'f' * 16 + b'\r\n', 'Transfer-Encoding: chunked', length=''
  ),
  'a large header': said(GOOD, 'X: ' + 'x' * 200_000),
  'many headers': said(GOOD, *(f'X{i}: 1' for i in range(20_000))),
  'a header with an end in it': said(GOOD, 'X: a\x00b'),
  'packed': said(b'\x1f\x8b' + b'\x00' * 20, 'Content-Encoding: gzip'),
  'no JSON': said(b"{'messages': 1}"),
  'JSON 90,000 deep': said(b'{"messages":' + b'[' * 90_000),
  'a number of a million digits': said(b'{"max_tokens": ' + b'9' * 900_000),
  'half a pair of letters': said(b'{"messages": [{"role": "\\ud800"}]}'),
  'a role of its own': said({**GOOD, 'messages': [{'role': 'root'}]}),
  'words for the policy': said(
    {**GOOD, 'messages': [HI, {'role': 'assistant', 'content': 'yes|'}]}
  ),
  'content that is no text': said(spoken({'file': '/etc/passwd'})),
  'an image by its address': said(
    spoken([{'type': 'image_url', 'image_url': {'url': 'file:///etc/passwd'}}])
  ),
  'more than there is room for': said(spoken('hi ' * 9_000)),
  'a result of no call': said(
    {
      **GOOD,
      'messages': [HI, {'role': 'tool', 'tool_call_id': 'x', 'content': '1'}],
    }
  ),
  'pay without a key': said({'reward': 1}, line=PAY, key=''),
  'pay for nothing': said({'reward': 1}, line=PAY),
  'pay without end': said(b'{"reward": Infinity}', line=PAY),
  'pay for the answer of another': said(
    {'reward': 1, 'id': 'chatcmpl-0000000000000001'}, line=PAY
  ),
}
PAGE = pathlib.Path('experiments', 'results', 'hostile.md')


def answer_to(server, key, request, *, wait=2.0):
  """What comes back, as far as it comes."""
  place = urllib.parse.urlsplit(server.url)
  request = request.replace(b'{host}', place.netloc.encode())
  request = request.replace(b'{key}', key.encode())
  with socket.create_connection((place.hostname, place.port), wait) as pipe:
    with contextlib.suppress(OSError):
      pipe.sendall(request)
    found = b''
    with contextlib.suppress(OSError):
      while part := pipe.recv(1 << 16):
        found += part
  return found


def brief(found):
  """What came back, in a line: status and code, or the words."""
  if not found:
    return 'nothing'
  head, _, body = found.partition(b'\r\n\r\n')
  # It may go on with another, and come in chunks.
  body = re.sub(rb'(?m)^[0-9a-f]+\r$', b'', body.partition(b'HTTP/1.1')[0])
  status = head.split(b'\r\n')[0].split(b' ', 1)[1].decode()
  with contextlib.suppress(ValueError, TypeError, KeyError):
    error = json.loads(body)['error']
    # Ports, and the keys of episodes, are others every time.
    words = re.sub(r'\d{3,}', 'N', error['message'])
    return f'{status}: {words[:90]}'.replace('|', '/')
  words = body[:60].decode(errors='replace').strip()
  return status if words in status else f'{status}: {words}'


def written():
  """What the page says of each."""
  rows = re.findall(r'^\| (.+?) \| (.+?) \|$', PAGE.read_text(), re.MULTILINE)
  return dict(rows[2:])


def main():
  lines = [
    '# What comes back to clients that mean no good',
    '',
    'Each of these was sent to the server of programs, with the key of an',
    'episode but where it says otherwise. Nothing of any is learned from, and',
    'the next request of another program is answered.',
    '',
    '```',
    'python -m tests.serving.hostile_test',
    '```',
    '',
    '| request | what comes back |',
    '| --- | --- |',
  ]
  with served() as server:
    for name, request in HOSTILE.items():
      found = answer_to(server, begin(server).key, request)
      lines.append(f'| {name} | {brief(found)} |')
  PAGE.write_text('\n'.join(lines) + '\n')


@pytest.fixture(scope='module')
def plain():
  with served() as server:
    yield server


def test_the_request_that_they_are_made_of_is_answered(plain):
  episode = begin(plain)
  assert answer_to(plain, episode.key, said()).startswith(b'HTTP/1.1 200 ')
  assert len(episode.ledger.turns) == 1


@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_request_is_refused_and_costs_nobody_else(plain, name):
  victim = begin(plain)
  found = answer_to(plain, victim.key, HOSTILE[name])
  assert not found or found.startswith(b'HTTP/1.1 4'), found[:200]
  assert not found or brief(found) == written()[name]
  assert b'root:' not in found and b'Access-Control' not in found
  assert b'Traceback' not in found and b'site-packages' not in found
  assert not victim.ledger.turns
  assert ask(plain, begin(plain).key).choices[0].message.content == 'yes|'


def test_who_sends_nothing_keeps_nobody_waiting():
  place = None
  with contextlib.ExitStack() as idle:
    with served() as server:
      place = urllib.parse.urlsplit(server.url)
      for number in range(200):
        pipe = socket.create_connection((place.hostname, place.port), 2)
        idle.enter_context(pipe)
        pipe.sendall(said()[: number % 60])
      assert ask(server, begin(server).key).choices[0].message.content == 'yes|'
      started = time.monotonic()
    # Nor is the end of the episodes kept waiting.
    assert time.monotonic() - started < 5


if __name__ == '__main__':
  main()
