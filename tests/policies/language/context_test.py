"""Rows whose tokens are split over devices say, and learn, the same."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import collectives
from jaxrl_llm.policies.language import (
  fused,
  parameters,
  score,
  tiles,
  transformer,
)
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.training import shard
from jaxrl_llm.types import Prompts, Rollouts, Tokens
from tests.policies.language import decoders

_CONFIG = dataclasses.replace(
  decoders.PLAIN, windows=(3, 0, 3), sinks=True, attention_cap=5.0
)
_N, _P, _T = 4, 5, 8


@functools.cache
def _rollouts(p=_P, t=_T):
  rng = np.random.default_rng(1)
  n = _N
  length = np.array([t, 3, 1, t - 2])[:, None]
  row = jnp.arange(n)
  mask = jnp.asarray(np.arange(t) < length)
  zeros = jnp.zeros((n, t))
  return Rollouts(
    content=Tokens(
      prompt=jnp.asarray(rng.integers(0, 50, (n, p))),
      prompt_mask=jnp.arange(p) >= jnp.array([[2], [0], [1], [0]]),
      response=jnp.asarray(rng.integers(0, 50, (n, t))),
    ),
    response_mask=mask,
    action_mask=mask,
    logp=zeros,
    paid=zeros,
    group=row,
    task=row,
    domain=0 * row,
    valid=row >= 0,
    truncated=row < 0,
    extras={},
  )


def _learned(mesh, context, chunk=4, config=_CONFIG, rollouts=None):
  """Loss and gradient as the learner has them, and the compiled program."""
  rollouts = _rollouts() if rollouts is None else rollouts
  params = jax.tree.map(jnp.asarray, decoders.params(config))
  layout = shard.Layout(
    shard.make_mesh(
      *mesh,
      jax.devices()[: mesh[0] * mesh[1] * context],
      context=context,
    ),
    {path: leaf.axes for path, leaf in parameters.table(config).items()},
  )

  def loss(params, rollouts):
    stats = score.score(params, config, rollouts, chunk=chunk, remat=True)
    weight = jnp.sin(rollouts.content.response.astype(jnp.float32))
    return jnp.sum(weight * stats.logp) + jnp.sum(stats.entropy)

  def gradient(params, rollouts):
    params, rollouts = layout.gathered(params), layout.rows(rollouts)
    with layout.known():
      if mesh[0] == 1:
        return jax.value_and_grad(loss)(params, rollouts)
      lanes = jax.tree.map(
        lambda x: x.reshape(mesh[0], -1, *x.shape[1:]), rollouts
      )
      each = jax.vmap(lambda rows: jax.value_and_grad(loss)(params, rows))(
        lanes
      )
      return jax.tree.map(lambda x: jnp.sum(x, axis=0), each)

  compiled = jax.jit(gradient).lower(params, rollouts).compile()
  return compiled(params, rollouts), compiled


@functools.cache
def _alone():
  return _learned((1, 1), 1)[0]


@pytest.mark.parametrize(
  ('mesh', 'context', 'chunk'),
  [((1, 1), 2, 4), ((2, 1), 2, 4), ((1, 2), 4, 0)],
)
def test_loss_and_gradient_are_those_of_one_device(mesh, context, chunk):
  """13 columns, which no context divides; windows, sinks and bounded scores."""
  found, compiled = _learned(mesh, context, chunk)
  for a, b in zip(jax.tree.leaves(_alone()), jax.tree.leaves(found)):
    # Sums of float32 in another order, of as many terms.
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max(), rtol=1e-5)
  sent = collectives.of_program(compiled)
  assert {'all-gather', 'reduce-scatter'} & {each.kind for each in sent}


def test_activations_of_a_device_fall(monkeypatch):
  # Tiles of one size on all devices would hide what rows need.
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 2**14})
  config = dataclasses.replace(decoders.PLAIN, windows=(), layers=2)
  rows = _rollouts(256, 256)
  reserved = [
    _learned((1, 1), context, 16, config, rows)[1]
    .memory_analysis()
    .temp_size_in_bytes
    for context in (1, 4)
  ]
  assert reserved[1] < 0.5 * reserved[0]


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (vars(decoders.CONFIGS['delta']), 'delta nets'),
    (vars(decoders.CONFIGS['experts']), 'experts'),
    ({'kernel': 'cudnn'}, 'fused kernels'),
  ],
)
def test_what_cannot_be_split_is_refused(changes, words):
  config = dataclasses.replace(decoders.PLAIN, **changes)
  with pytest.raises(ValueError, match=f'mesh.context=2 .*{words}'):
    transformer.check_context(config, 2)
  transformer.check_context(config, 1)


def test_no_fused_kernel_is_chosen_for_split_rows():
  config = dataclasses.replace(decoders.PLAIN, head_dim=64)
  mesh = {'data': 1, 'model': 1, 'context': 2}
  for kernel in ('cudnn', 'splash'):
    assert 'mesh.context=2' in fused.refusal(kernel, config, 'bfloat16', mesh)


def test_packed_rows_are_refused():
  tokens, mask = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
  layout = shard.Layout(shard.make_mesh(1, 1, jax.devices()[:2], context=2), {})
  with layout.known(), pytest.raises(ValueError, match='learn.packing'):
    transformer.hidden(
      decoders.params(_CONFIG), _CONFIG, tokens, mask, segments=tokens
    )


def test_devices_of_a_context_sample_rows_of_their_own():
  """8 rows of 4 prompts on 4 devices, of which two pairs split tokens."""
  layout = shard.Layout(shard.make_mesh(2, 1, jax.devices()[:4], context=2))
  config = dataclasses.replace(decoders.PLAIN, windows=(), layers=1)
  params = jax.tree.map(jnp.asarray, decoders.params(config))
  content = _rollouts().content
  row = jnp.arange(_N)
  prompts = Prompts(content.prompt, content.prompt_mask, row, 0 * row)
  sampler = Sampler(config, 4)

  def sample(layout):
    place = layout.sampling().rows
    with layout.known():
      return sampler(
        layout.everywhere(params),
        place(prompts),
        place(jnp.arange(8)),
        jax.random.key(0),
        Sampling(),
        samples=2,
      )

  alone, split = sample(shard.ALONE), sample(layout)
  said = split.content.response
  assert {x.data.shape for x in said.addressable_shards} == {(2, 4)}
  np.testing.assert_array_equal(said, alone.content.response)
  np.testing.assert_allclose(split.logp, alone.logp, atol=1e-5)
