"""The decoder against itself: paddings, caches, windows, loops, LoRA apart."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxrl_llm.policies.language import parameters, tiles, transformer
from jaxrl_llm.policies.language.rope import Rope
from jaxrl_llm.training import shard
from tests.policies.language import decoders

_KEY = jax.random.key(0)

# Compiled once for each configuration instead of operation by operation.
_init = jax.jit(parameters.init, static_argnums=(0, 2))


@pytest.mark.parametrize('name', decoders.CONFIGS)
def test_init_follows_the_table(name):
  config = decoders.CONFIGS[name]
  params = jax.eval_shape(lambda key: _init(config, key, jnp.bfloat16), _KEY)
  flat = traverse_util.flatten_dict(params)
  assert set(flat) == set(parameters.table(config))
  for path, entry in parameters.table(config).items():
    chex.assert_shape(flat[path], entry.shape)
    assert flat[path].dtype == jnp.bfloat16
    assert len(entry.axes) == len(entry.shape)


def test_init_gives_unit_logits_and_plain_norms():
  config = dataclasses.replace(decoders.PLAIN, layers=8, norm_offset=1.0)
  params = _init(config, _KEY)
  assert not params['layers']['mlp_norm']['scale'].any()
  tokens = decoders.tokens((4, 16))
  x = decoders.hidden(params, config, tokens, tokens >= 0)
  assert 0.3 < jnp.std(transformer.logits(params, config, x)) < 3.0


@pytest.mark.parametrize('name', decoders.CONFIGS)
def test_padding_is_inert(name):
  config = decoders.CONFIGS[name]
  params = decoders.params(config)
  tokens = decoders.tokens((2, 6))
  expected = decoders.hidden(params, config, tokens, tokens >= 0)
  # Left, right and in between, with other tokens under the mask.
  padded, mask = decoders.tokens((2, 11), seed=1), np.zeros((2, 11), bool)
  columns = [2, 3, 4, 6, 7, 9]
  padded[:, columns], mask[:, columns] = tokens, True
  actual = decoders.hidden(params, config, padded, mask)
  decoders.close(actual[:, columns], expected)


def test_rows_without_a_token_are_finite_and_so_are_gradients():
  config = decoders.CONFIGS['alternating']
  tokens, mask = decoders.tokens((2, 5)), np.array([[True] * 5, [False] * 5])

  def loss(params):
    x = decoders.hidden(params, config, tokens, mask)
    return jnp.sum(jnp.where(mask, x.sum(-1), 0.0)), x

  (_, x), gradients = jax.value_and_grad(loss, has_aux=True)(
    decoders.params(config)
  )
  chex.assert_tree_all_finite((x, gradients))


@pytest.mark.parametrize('name', decoders.CONFIGS)
def test_the_future_is_not_seen(name):
  config = decoders.CONFIGS[name]
  params = decoders.params(config)
  tokens = decoders.tokens((1, 8))
  other = tokens.copy()
  other[:, 5:] = (other[:, 5:] + 1) % 50
  before, after = (
    decoders.hidden(params, config, x, x >= 0) for x in (tokens, other)
  )
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert jnp.abs(before[:, 5:] - after[:, 5:]).max() > 1e-3


@pytest.mark.parametrize('name', ['plain', 'alternating'])
def test_the_future_is_seen_where_tokens_are_not_causal(name):
  config = decoders.CONFIGS[name]
  params = decoders.params(config)
  tokens = decoders.tokens((1, 6))
  other = tokens.copy()
  other[:, 5] = (other[:, 5] + 1) % 50
  hidden = functools.partial(decoders.hidden, causal=False)
  before, after = (hidden(params, config, x, x >= 0) for x in (tokens, other))
  assert jnp.abs(before[:, 0] - after[:, 0]).max() > 1e-3
  # Padding is not seen from either side.
  padded, mask = decoders.tokens((1, 9), seed=1), np.zeros((1, 9), bool)
  columns = [1, 2, 4, 5, 6, 7]
  padded[:, columns], mask[:, columns] = tokens, True
  decoders.close(hidden(params, config, padded, mask)[:, columns], before)


def test_responses_of_a_group_go_on_from_the_state_of_their_prompt():
  config = decoders.CONFIGS['delta']
  params = decoders.params(config)
  prompt, response = decoders.tokens((2, 4)), decoders.tokens((4, 3), seed=1)
  prompt_mask = np.array([[False, True, True, True], [False] * 3 + [True]])
  # Gaps too, which no response of the sampler has.
  mask = np.array([[1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 1, 1]], bool)
  last, after = jax.jit(transformer.hidden_of_groups, static_argnums=1)(
    params, config, prompt, prompt_mask, response, mask
  )
  whole = decoders.hidden(
    params,
    config,
    np.concatenate([prompt.repeat(2, 0), response], 1),
    np.concatenate([prompt_mask.repeat(2, 0), mask], 1),
  )
  decoders.close(last.repeat(2, 0), whole[:, 3])
  decoders.close(after[mask], whole[:, 4:][mask])


def test_the_scale_of_a_layer_is_not_trained():
  config = decoders.CONFIGS['global']
  params, tokens = decoders.params(config), decoders.tokens((2, 6))

  @jax.grad
  def slope(params):
    return jnp.sum(transformer.hidden(params, config, tokens, tokens >= 0) ** 2)

  layers = jax.jit(slope)(params)['layers']
  assert not layers['layer_scale']['scale'].any()
  assert layers['global_k']['kernel'].any() and layers['v']['kernel'].any()


def test_delta_nets_do_not_read_back():
  config = decoders.CONFIGS['delta']
  params, tokens = decoders.params(config), decoders.tokens((1, 4))
  with pytest.raises(ValueError, match='read forth alone'):
    decoders.hidden(params, config, tokens, tokens >= 0, causal=False)


@pytest.mark.parametrize('name', ['delta', 'late'])
def test_a_mesh_computes_the_same(name):
  config = decoders.CONFIGS[name]
  params, tokens = decoders.params(config), decoders.tokens((4, 6))
  axes = {path: each.axes for path, each in parameters.table(config).items()}
  layout = shard.layout(shard.make_mesh(2, 4), axes, params)

  @jax.jit
  def hidden(params, tokens):
    with layout.known():
      params = layout.gathered(params)
      tokens = layout.rows(tokens)
      return transformer.hidden(params, config, tokens, tokens >= 0)

  kept = jax.jit(layout.kept)(params)
  expected = decoders.hidden(params, config, tokens, tokens >= 0)
  decoders.close(hidden(kept, tokens), expected)


def test_memory_grows_with_the_length_and_not_with_its_square(monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 2 * 4 * 32 * 32})
  config = dataclasses.replace(
    decoders.CONFIGS['alternating'], layers=2, windows=(3, 0)
  )
  params = decoders.params(config)

  def reserved(length):
    def loss(params, tokens):
      mask = tokens > 0
      whole = transformer.hidden(params, config, tokens, mask)
      prompt, response = transformer.hidden_of_groups(
        params, config, tokens[:1], mask[:1], tokens, mask
      )
      return whole.sum() + prompt.sum() + response.sum()

    tokens = jax.ShapeDtypeStruct((2, length), jnp.int32)
    compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert reserved(2048) < 2.1 * reserved(1024)


def test_contexts_beyond_those_of_longrope_are_refused():
  rope = Rope(kind='longrope', length=8, factors=(2.0,) * 4)
  config = dataclasses.replace(decoders.PLAIN, rope=rope)
  params = jax.tree.map(jnp.asarray, decoders.params(config))
  hidden = functools.partial(transformer.hidden, params, config)
  groups = functools.partial(transformer.hidden_of_groups, params, config)
  few, many = (np.ones((1, n), int) for n in (8, 9))
  jax.eval_shape(hidden, few, few > 0)
  with pytest.raises(ValueError, match='9 columns .* beyond 8 tokens'):
    jax.eval_shape(hidden, many, many > 0)
  with pytest.raises(ValueError, match='16 columns'):
    jax.eval_shape(groups, few, few > 0, few, few > 0)


def test_a_window_hides_what_is_older():
  config = dataclasses.replace(decoders.PLAIN, layers=1, windows=(3,))
  params = decoders.params(config)
  tokens = decoders.tokens((1, 6))
  other = tokens.copy()
  other[:, 0] = (other[:, 0] + 1) % 50
  before, after = (
    decoders.hidden(params, config, x, x >= 0) for x in (tokens, other)
  )
  np.testing.assert_array_equal(before[:, 3:], after[:, 3:])
  assert jnp.abs(before[:, 2] - after[:, 2]).max() > 1e-3


@pytest.mark.parametrize('name', ['alternating', 'experts'])
@pytest.mark.parametrize('unroll', [1, True])
def test_remat_and_unroll_change_no_gradient(unroll, name):
  config = decoders.CONFIGS[name]
  params, tokens = decoders.params(config), decoders.tokens((2, 6))

  def gradients(**options):
    def loss(params):
      x = decoders.hidden(params, config, tokens, tokens >= 0, **options)
      return jnp.mean(x**2)

    return jax.jit(jax.grad(loss))(params)

  chex.assert_trees_all_close(
    gradients(remat=True, unroll=unroll), gradients(), atol=decoders.TOLERANCE
  )


def test_bfloat16_arithmetic_stays_near_float32():
  config = decoders.CONFIGS['alternating']
  params, tokens = decoders.params(config), decoders.tokens((2, 6))
  x = decoders.hidden(params, config, tokens, tokens >= 0, dtype=jnp.bfloat16)
  assert x.dtype == jnp.bfloat16
  logits = transformer.logits(params, config, x)
  assert logits.dtype == jnp.float32
  exact = decoders.hidden(params, config, tokens, tokens >= 0)
  exact = transformer.logits(params, config, exact)
  # Eight bits of mantissa, on caps at 3 and a dozen roundings.
  assert jnp.abs(logits - exact).max() < 0.2
