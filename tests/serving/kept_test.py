"""Many programs at once, answered by a decoder that keeps what it has read."""

import concurrent.futures
import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import contexts
from jaxrl_llm.policies.language.prefix_cache import PrefixCache
from jaxrl_llm.policies.language.sampler import Sampler, row_keys
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.serving import engine as engine_lib
from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import programs
from jaxrl_llm.tasks.speech import Said
from tests.policies.language import decoders
from tests.serving import agents

pytest.importorskip('openai')  # As of all tests of servers.
server_lib = pytest.importorskip('jaxrl_llm.serving.server')

KEY, ROOM, SIZE, SLOTS = jax.random.key(0), engine_lib.Room(60, 100, 6), 4, 6
END, PROGRAMS = 2, 24
ROLES = {'user': 3, 'assistant': 4}


class Numbers:
  """A chat of numbers, which are the tokens."""

  def begin(self, prompt, tools=()):
    del tools
    said = [t for m in prompt for t in (*self._ids(m), END)]
    return [*said, ROLES['assistant']]

  def after(self, history, said, new, tools=()):
    del history
    return [END] * (said.ended is None) + self.begin(new, tools)

  def read(self, ids, tools=(), *, cut=False):
    del tools
    ended = END if ids[-1] == END else None
    text = ' '.join(map(str, ids[:-1] if ended else ids))
    return Said(text, ids=ids, ended=ended, cut=cut)

  def _ids(self, message):
    return [ROLES[message['role']], *map(int, message['content'].split())]


def numbers(count, seed):
  return ' '.join(map(str, decoders.tokens(count, seed=seed)))


def talk(url, key, number, chance):
  """Goes on four times, with a helper beside it, whenever it likes."""
  messages = [{'role': 'user', 'content': numbers(40, seed=number // 4)}]
  for turn in range(3):
    time.sleep(chance.random() / 50)
    messages.append(agents.ask(url, key, messages))
    told = numbers(4 + number % 5, seed=100 + number)
    messages.append({'role': 'user', 'content': told})
    if turn == 1:
      helper = {'role': 'user', 'content': numbers(33, seed=number)}
      agents.ask(url, key, [helper])


def rows(order, slots=SLOTS):
  """Rows of every program, answered in some order; and tokens read of asked."""
  cache = PrefixCache(
    Sampler(decoders.CONFIGS['plain'], ROOM.answer, stop_tokens=(END,)),
    decoders.params(decoders.CONFIGS['plain']),
    slots=slots,
    columns=ROOM.prompt + ROOM.response,
    size=SIZE,
  )
  left = 0

  def write(asks, width):
    del width
    uids = [ask.identity & 0x7FFFFFFF for ask in asks]
    uids += [0] * (SIZE - len(asks))
    keys = row_keys(KEY, jnp.asarray(uids, jnp.int32))
    found = cache.write([ask.ids for ask in asks], keys, Sampling())
    return contexts.drawn(found, len(asks))

  write([engine_lib.Ask((1,), 0, None, 0.0)], 0)  # Compiled beforehand.
  engine = engine_lib.Engine(write, ROOM, (159,), SIZE)
  with (
    server_lib.Server(engine, programs.Limits()) as server,
    concurrent.futures.ThreadPoolExecutor(PROGRAMS) as threads,
  ):
    chat = Numbers()
    episodes = [
      server.begin(ledger_lib.Ledger(lambda tools: chat, name))
      for name in range(PROGRAMS)
    ]
    numbered = list(enumerate(episodes))
    random.Random(order).shuffle(numbered)
    chance, jobs = random.Random(order), []
    left = PROGRAMS

    def ended(job):
      nonlocal left
      left -= 1
      engine.wake()

    for number, episode in numbered:
      jobs.append(threads.submit(talk, server.url, episode.key, number, chance))
      jobs[-1].add_done_callback(ended)
    engine.run(lambda: left)
    for job in jobs:
      job.result()
  return [ledger_lib.rows(e.ledger.turns) for e in episodes], cache


def test_neither_order_nor_what_is_lost_changes_a_bit_of_24_programs():
  found, cache = rows(1)
  other, fewer = rows(2, slots=SIZE)
  assert [len(each) for each in found] == [2] * PROGRAMS
  assert cache.read < cache.asked and fewer.read < fewer.asked
  for mine, theirs in zip(found, other):
    for row, same in zip(mine, theirs, strict=True):
      assert row.ids == same.ids
      for (at, turn), (place, twin) in zip(row.turns, same.turns, strict=True):
        assert (at, turn.ids, turn.said) == (place, twin.ids, twin.said)
        for name, x in turn.facts.items():
          np.testing.assert_array_equal(x, twin.facts[name])
