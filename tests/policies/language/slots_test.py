import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf, parameters, slots
from jaxrl_llm.policies.language import sampler as sampler_lib
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests import compiled
from tests.policies.language import families

_LENGTHS = (3, 6, 1, 4)
# Three tokens below 24 in a row end a response.
_MOVES = np.array([[1, 0], [2, 0], [3, 0], [3, 3]])
_THREE_LOW = _MOVES[:, (np.arange(48) >= 24).astype(int)]


@functools.cache
def _model(family='qwen3'):
  layers = 1 if family == 'qwen3' else 2
  changes = {'num_hidden_layers': layers, 'vocab_size': 48}
  config = hf.config_of(families.hf_config(family, **changes))
  return config, parameters.init(config, jax.random.key(1))


def _prompts(lengths=_LENGTHS):
  """Prompts of these lengths; equal lengths are equal prompts."""
  lengths = jnp.asarray(lengths)
  mask = jnp.arange(6) >= 6 - lengths[:, None]
  tokens = (jnp.arange(6) * 7 + lengths[:, None] * 5) % 48
  return Prompts(
    tokens=jnp.where(mask, tokens, 0),
    mask=mask,
    task=lengths,
    domain=jnp.zeros_like(lengths),
  )


def _sample(size, *, family='qwen3', values=None, prompts=None, **options):
  config, params = _model(family)
  options = {'max_tokens': 12, 'stop_tokens': tuple(range(8))} | options
  prompts = _prompts() if prompts is None else prompts
  # Rows of one prompt keep their identities wherever the prompt stands.
  uids = (prompts.task[:, None] * 10 + jnp.arange(5)).ravel()
  return Sampler(config, slots=size, **options)(
    params,
    prompts,
    uids,
    jax.random.key(0),
    Sampling(**({'temperature': 2.0} | (values or {}))),
    samples=5,
  )


def _equal(a, b):
  """The same responses; log-probs are the same sums in another order."""
  np.testing.assert_array_equal(a.content.response, b.content.response)
  for name in ('response_mask', 'action_mask', 'truncated'):
    np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
  np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)
  assert a.extras.keys() == b.extras.keys()
  for name, values in a.extras.items():
    np.testing.assert_allclose(values, b.extras[name], atol=1e-5)


# Windows of 5 end inside prompt, response and ring.
@pytest.mark.parametrize(
  ('size', 'family', 'options'),
  [
    (3, 'qwen3', {}),
    (1, 'gemma2', {}),
    pytest.param(2, 'qwen3_5', {}, marks=pytest.mark.slow),
    (3, 'qwen3', {'support': 6, 'values': {'top_p': 0.9}}),
    (3, 'qwen3', {'stop_tokens': (), 'stop_table': _THREE_LOW}),
  ],
  ids=['plain', 'windows', 'states', 'support', 'stop_table'],
)
def test_slots_change_no_response(size, family, options):
  whole = _sample(0, family=family, **options)
  lengths = np.asarray(whole.length)
  # Rows must end at different times for a slot to change hands.
  assert lengths.min() <= 3 and lengths.max() == 12
  _equal(_sample(size, family=family, **options), whole)


def test_the_order_of_arrival_changes_no_response():
  one, two = _sample(3), _sample(3, prompts=_prompts(_LENGTHS[::-1]))
  order = np.arange(20).reshape(4, 5)[::-1].ravel()
  _equal(jax.tree.map(lambda x: x[order], two), one)


def test_as_many_slots_as_rows_are_all_rows_at_once():
  jax.tree.map(np.testing.assert_array_equal, _sample(20), _sample(0))


@pytest.mark.parametrize(
  'options',
  [{'max_tokens': 1, 'stop_tokens': ()}, {'stop_tokens': tuple(range(48))}],
  ids=['budget', 'stop'],
)
def test_rows_that_end_at_once_need_no_slot(options):
  got = _sample(3, **options)
  np.testing.assert_array_equal(got.length, 1)
  np.testing.assert_array_equal(got.truncated, 'max_tokens' in options)
  np.testing.assert_array_equal(
    got.content.response[:, 0], _sample(0).content.response[:, 0]
  )


@functools.cache
def _program():
  """`slots.write` compiled for three slots, and its arguments."""
  config, params = _model()
  sampler = Sampler(config, 12, slots=3, stop_tokens=tuple(range(8)))
  prompts, sampling = _prompts(), Sampling(2.0).checked()
  keys = sampler_lib.row_keys(jax.random.key(0), jnp.arange(20))
  first, cache = sampler_lib._read(
    sampler, 5, params, prompts, keys, sampling, None
  )
  arguments = params, prompts, keys, sampling, None, cache, first
  write = jax.jit(functools.partial(slots.write, sampler))
  return write.lower(*arguments).compile(), arguments


def test_no_slot_is_idle_while_a_row_waits():
  write, arguments = _program()
  state = write(*arguments)
  # The first token of a row is drawn before it has a slot.
  left = np.asarray(state.outputs['mask']).sum(0) - 1
  free = [0] * 3
  for steps in left[left > 0]:
    heapq.heappush(free, heapq.heappop(free) + steps)
  assert state.t - 1 == max(free)
  assert state.t - 1 < left.sum() / 3 + 12


def test_refilling_copies_no_cache():
  config, text = _model()[0], _program()[0].as_text()
  heads, width = config.kv_heads, config.head_dim
  sizes = [(3, heads, width, p) for p in (6, 12)]
  sizes += [(3, heads, p, width) for p in (6, 12)]
  shapes = [','.join(map(str, size)) for size in sizes]
  loops = compiled.loops(text, shapes)
  # One loop writes, and inside it one seats the rows that come next.
  assert len(loops) == 2
  assert not [c for body in loops for c in compiled.copies(body, shapes)]


def test_negative_slots_are_refused():
  with pytest.raises(ValueError, match='slots -1 must be at least 0'):
    Sampler(_model()[0], 4, slots=-1)
