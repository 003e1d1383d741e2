"""Contexts whose keys stay, against contexts that are read from their start."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language.prefix_cache import BLOCK, PrefixCache
from jaxrl_llm.policies.language.sampler import Sampler, row_keys
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests.policies.language import decoders

KEY, SIZE, COLUMNS = jax.random.key(0), 3, 160
# An answer of 6 tokens, unless one of these ends it.
ANSWER, STOPS = 6, (2, 7, 11)


def sampler_of(name='plain', unroll=True):
  return Sampler(
    decoders.CONFIGS[name], ANSWER, unroll=unroll, stop_tokens=STOPS
  )


@functools.cache
def params_of(name):
  return decoders.params(decoders.CONFIGS[name])


def cache_of(name='plain', slots=SIZE, unroll=True):
  return PrefixCache(
    sampler_of(name, unroll),
    params_of(name),
    slots=slots,
    columns=COLUMNS,
    size=SIZE,
  )


def answers(cache, asks):
  """What is drawn behind contexts, each with an identity: ids and log-probs."""
  uids = [uid for uid, _ in asks] + [0] * (SIZE - len(asks))
  found = cache.write(
    [ids for _, ids in asks],
    row_keys(KEY, jnp.asarray(uids, jnp.int32)),
    Sampling(),
  )
  return drawn(found, len(asks))


def drawn(rollouts, count):
  length, ids, logp = (
    np.asarray(x)
    for x in (rollouts.length, rollouts.content.response, rollouts.logp)
  )
  return [
    (tuple(ids[row, : length[row]].tolist()), logp[row, : length[row]])
    for row in range(count)
  ]


def alone(name, uid, ids, unroll=True):
  """The same of the sampler, that reads all of a context as a prompt."""
  tokens = np.zeros((1, COLUMNS), np.int32)
  tokens[0, COLUMNS - len(ids) :] = ids
  mask = np.arange(COLUMNS)[None] >= COLUMNS - len(ids)
  none = jnp.zeros(1, jnp.int32)
  prompts = Prompts(jnp.asarray(tokens), jnp.asarray(mask), none, none)
  found = sampler_of(name, unroll)(
    params_of(name), prompts, jnp.asarray([uid]), KEY, Sampling()
  )
  [answer] = drawn(found, 1)
  return answer


def conversations(cache, order, turns=3, heard=(5, 40, 1, 27)):
  """Answers of conversations that go on as `order` says, by who and turn."""
  contexts = {
    who: decoders.tokens(20 * who + 3, seed=who).tolist() for who in order[0]
  }
  found = {}
  for turn in range(turns):
    batch = order[turn % len(order)]
    for start in range(0, len(batch), SIZE):
      asking = batch[start : start + SIZE]
      told = answers(
        cache, [(10 * who + turn, tuple(contexts[who])) for who in asking]
      )
      for who, answer in zip(asking, told):
        found[who, turn] = tuple(contexts[who]), *answer
        new = decoders.tokens(heard[who % len(heard)], seed=100 * turn + who)
        contexts[who] += [*answer[0], *new.tolist()]
  return found


@pytest.mark.parametrize(
  ('name', 'unroll'),
  [
    *(('plain', True), ('alternating', False), ('experts', False)),
    *(('delta', True), ('delta', False)),
  ],
)
def test_an_answer_is_that_of_the_sampler(name, unroll):
  found = conversations(cache_of(name, unroll=unroll), [(1, 2, 3)])
  assert {len(ids) for ids, *_ in found.values()} & set(range(BLOCK, COLUMNS))
  for (who, turn), (ids, said, logp) in found.items():
    other, wanted = alone(name, 10 * who + turn, ids, unroll)
    assert said == other
    # Of delta nets as in `decoders`.
    atol = decoders.TOLERANCE if name == 'delta' else 1e-5
    np.testing.assert_allclose(logp, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize('name', ['plain', 'experts', 'delta'])
def test_who_asks_beside_it_and_what_was_lost_change_no_bit(name):
  kept = cache_of(name, slots=9)
  found = conversations(kept, [(0, 1, 2, 3, 4)])
  lost = cache_of(name, slots=SIZE)
  order = [(4, 0, 2, 1, 3), (3, 4, 1, 2, 0), (1, 0, 4, 3, 2)]
  other = conversations(lost, order)
  assert kept.read < lost.read
  assert found.keys() == other.keys()
  for place, (ids, said, logp) in found.items():
    assert (ids, said) == other[place][:2]
    np.testing.assert_array_equal(logp, other[place][2])


def test_a_turn_reads_what_is_new_and_less_than_two_blocks_more():
  cache, ids = cache_of(slots=4), decoders.tokens(70, seed=3).tolist()
  for turn in range(3):
    before, new = cache.read, 70 if turn == 0 else ANSWER + 9
    [(said, _)] = answers(cache, [(turn, tuple(ids))])
    assert cache.read - before < new + BLOCK
    ids += [*said, *decoders.tokens(9, seed=turn).tolist()]
  assert cache.asked > 2 * cache.read - 99


def test_a_conversation_that_parts_is_read_from_where_it_did():
  cache, start = cache_of(slots=5), decoders.tokens(BLOCK, seed=3).tolist()
  answers(cache, [(0, tuple(start))])
  before = cache.read
  parted = [(at, (*start, *[at] * BLOCK)) for at in (1, 2, 3)]
  answers(cache, parted)
  assert cache.read - before == 3 * BLOCK
  # Each of them is kept.
  answers(cache, [(at, (*ids, 5)) for at, ids in parted])
  assert cache.read - before == 3 * BLOCK + 3


def test_what_is_exactly_kept_is_answered_without_reading():
  cache, ids = cache_of(), tuple(decoders.tokens(2 * BLOCK, seed=3).tolist())
  first = answers(cache, [(4, ids)])
  assert cache.read == 2 * BLOCK
  again = answers(cache, [(4, ids), (4, ids)])
  assert cache.read == 2 * BLOCK
  for said, logp in again:
    assert said == first[0][0]
    np.testing.assert_array_equal(logp, first[0][1])


def test_those_used_last_stay():
  cache = cache_of(slots=4)
  contexts = {
    at: tuple(decoders.tokens(BLOCK, seed=at).tolist()) for at in range(5)
  }
  for at in (0, 1, 2, 3, 0, 4):
    answers(cache, [(0, contexts[at])])
  kept = {at for at, ids in contexts.items() if ids in cache._kept}
  assert kept == {0, 2, 3, 4}


def test_short_contexts_take_no_slot():
  cache = cache_of()
  ids = tuple(decoders.tokens(BLOCK, seed=1).tolist())
  answers(cache, [(0, ids)])
  answers(cache, [(0, (1,)), (1, (3,)), (2, (4,))])
  assert cache._kept.count(ids) == 1 and cache._kept.count(()) == 2


def test_fewer_slots_than_answers_at_once_are_refused():
  with pytest.raises(ValueError, match='2 slots .* give at least 3'):
    cache_of(slots=2)
