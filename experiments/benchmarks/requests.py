"""What a turn of a program costs over HTTP, by its number.

  python -m experiments.benchmarks.requests

As `episodes`, with the same model and lengths, but 8 programs at once, with
--prompts=6 24, that ask a server on this machine: each sends its conversation
back with 16 tokens more, 8 times, and is answered 48. With keys kept between
the requests (`policies/language/prefix_cache.py`), and every request read anew,
as with `sample.keep=False`. All programs wait for each other before a turn; its
seconds are CPU time of the process, programs and server included, from then
until all are answered, the least of the rounds, so that others on the machine
count for little.

What was predicted, of 32 rows in process 0.47 and 2.5 seconds by the clock on
two cores: kept reads the answer once more, so 2 to 3 blocks of 32 in place of
one, and 8 requests over HTTP take some 5 ms each, so 0.4 whatever the turn;
read anew, requests are read in widths near their own, so from 0.5 to 1.4.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import pathlib
import threading
import time
import types
import urllib.request

from absl import flags

from experiments import command
from experiments.benchmarks import episodes

_ROUNDS = flags.DEFINE_integer(
  'rounds', 1, 'Timed episodes of each kind.', 1, allow_override=True
)
_PROMPTS = flags.DEFINE_integer(
  'prompts', 2, 'Of which each is asked of four programs.', 1
)
_RESULTS = command.results_flag()


class _Numbers:
  """A chat whose messages are numbers, which are its tokens."""

  def begin(self, prompt, tools=()):
    del tools
    return [int(n) for m in prompt for n in m['content'].split()]

  def after(self, history, said, new, tools=()):
    del history, said
    return self.begin(new, tools)

  def read(self, ids, tools=(), *, cut=False):
    from jaxrl_llm.tasks.speech import Said

    del tools
    return Said(' '.join(map(str, ids)), ids=ids, cut=cut)


def main() -> int:
  parts = episodes._parts()
  kinds = {'kept': True, 'read anew': False}
  times = {
    name: [_played(parts, keep) for _ in range(_ROUNDS.value + 1)][1:]
    for name, keep in kinds.items()
  }
  count = '' if _PROMPTS.value == 2 else f'_{4 * _PROMPTS.value}'
  path = pathlib.Path(_RESULTS.value, f'requests{count}.jsonl')
  episodes.write(times, _ROUNDS.value, path)
  return 0


def _played(parts, keep: bool) -> list[float]:
  """Seconds of each turn of all programs, whose answers are never cut short."""
  import jax
  import numpy as np

  from jaxrl_llm.plans import requests
  from jaxrl_llm.problems.text.answering import Answering
  from jaxrl_llm.problems.text.speaker import Speaker
  from jaxrl_llm.serving import engine as engine_lib
  from jaxrl_llm.serving import ledger as ledger_lib
  from jaxrl_llm.serving import programs
  from jaxrl_llm.serving.server import Server

  sampler, params, prompts, heard = parts
  shape = dataclasses.replace(episodes.SHAPE, prompts=_PROMPTS.value)
  answering = Answering(
    sampler,
    episodes._sampling(),
    chats=None,  # type: ignore[arg-type]
    verifiers=types.SimpleNamespace(names=()),  # type: ignore[arg-type]
    batch=1,
    keep=keep,
  )
  tools = Speaker(answering, params, questions=None)  # type: ignore[arg-type]
  room = engine_lib.Room(shape.prompt, shape.response, episodes.SAID)
  limits = programs.Limits(workers=shape.rows, kept=shape.rows)
  key = jax.random.key(1)
  write, widths = requests.writer(tools, prompts, key, room, limits)
  engine = engine_lib.Engine(write, room, widths, limits.workers)
  said = [[' '.join(map(str, row)) for row in turn] for turn in heard.tolist()]
  opened = [' '.join(map(str, row)) for row in np.asarray(prompts.tokens)]
  together, found = threading.Barrier(shape.rows), []

  def talk(url, key, row):
    messages, words = [], opened[row // shape.samples]
    for turn in range(episodes.TURNS):
      if together.wait() == 0:
        found.append(time.process_time())
      messages.append({'role': 'user', 'content': words})
      messages.append(_ask(url, key, messages))
      words = said[turn][row]
    if together.wait() == 0:
      found.append(time.process_time())

  left = shape.rows

  def ended(job):
    nonlocal left
    left -= 1
    engine.wake()

  with (
    Server(engine, limits) as server,
    concurrent.futures.ThreadPoolExecutor(shape.rows) as threads,
  ):
    chat, jobs = _Numbers(), []
    for row in range(shape.rows):
      episode = server.begin(ledger_lib.Ledger(lambda tools: chat, row))
      jobs.append(threads.submit(talk, server.url, episode.key, row))
      jobs[-1].add_done_callback(ended)
    engine.run(lambda: left)
    for job in jobs:
      job.result()
  return np.diff(found).tolist()


def _ask(url: str, key: str, messages: list) -> dict:
  request = urllib.request.Request(
    f'{url}/chat/completions',
    json.dumps({'model': 'policy', 'messages': messages}).encode(),
    {'Authorization': f'Bearer {key}'},
  )
  with urllib.request.urlopen(request) as answer:
    return json.load(answer)['choices'][0]['message']


if __name__ == '__main__':
  command.run(main)
