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
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.language.rope import Rope
from jaxrl_llm.training import shard

_PLAIN = Config(
  vocab=50,
  width=32,
  layers=3,
  heads=4,
  kv_heads=2,
  head_dim=8,
  mlp_width=48,
  qk_norm=True,
)
_CONFIGS = {
  'plain': dataclasses.replace(_PLAIN, tied=True),
  'biased': dataclasses.replace(
    _PLAIN, qkv_bias=True, o_bias=True, mlp_bias=True
  ),
  'window': dataclasses.replace(
    _PLAIN, windows=(3, 3, 3), unrotated=(False, True, False)
  ),
  'alternating': dataclasses.replace(
    _PLAIN,
    windows=(3, 0, 3),
    local_rope=Rope(100.0),
    norm_offset=1.0,
    post_norms=True,
    embedding_scale=32**0.5,
    attention_cap=5.0,
    logit_cap=3.0,
    activation='gelu_pytorch_tanh',
  ),
  'late': dataclasses.replace(
    _PLAIN,
    qk_norm_joint=True,
    pre_norms=False,
    post_norms=True,
    rope=Rope(100.0, share=0.5, interleaved=True),
    residual_scale=0.3,
    logit_scale=2.0,
  ),
  'experts': dataclasses.replace(
    _PLAIN,
    experts=4,
    experts_per_token=2,
    experts_norm=True,
    mlp_bias=True,
    activation='quick_gelu',
    gate_limit=0.5,
    sinks=True,
  ),
}
_CONFIGS['global'] = dataclasses.replace(
  _PLAIN,
  layers=4,
  windows=(3, 0) * 2,
  local_rope=Rope(100.0),
  rope=Rope(100.0, 'proportional', share=0.25),
  global_head_dim=12,
  global_kv_heads=1,
  global_values=False,
  value_norm=True,
  readers=2,
  reader_width=20,
  token_width=6,
  layer_scale=True,
)
_CONFIGS['delta'] = dataclasses.replace(
  _PLAIN,
  layers=4,
  deltas=(True, False) * 2,
  delta=Delta(heads=4, key_heads=2, key_dim=6, value_dim=4, taps=3),
  attention_gate=True,
  rope=Rope(100.0, share=0.5),
  norm_offset=1.0,
  experts=4,
  experts_per_token=2,
  shared_width=12,
)
_KEY = jax.random.key(0)
# float32 sums of tens of terms of order one, in another order. Keys of delta
# nets are brought to length one, whatever is left of a short one's precision.
_TOLERANCE = 5e-5

# Compiled once for each configuration instead of operation by operation.
_init = jax.jit(parameters.init, static_argnums=(0, 2))
_hidden = jax.jit(
  transformer.hidden,
  static_argnums=1,
  static_argnames=('causal', 'dtype', 'remat', 'unroll'),
)
_prefill = jax.jit(
  transformer.prefill, static_argnums=1, static_argnames='dtype'
)
_decode = jax.jit(transformer.decode, static_argnums=2)


def _params(config):
  rng = np.random.default_rng(0)
  # Random norms and biases too: they start alike, which would hide mix-ups.
  return traverse_util.unflatten_dict(
    {
      path: np.float32(
        rng.normal(0.0, 0.2, entry.shape) + (path[-1] == 'scale')
      )
      for path, entry in parameters.table(config).items()
    }
  )


def _tokens(shape, seed=0):
  return np.random.default_rng(seed).integers(0, 50, shape)


def _close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=_TOLERANCE)


@pytest.mark.parametrize('name', _CONFIGS)
def test_init_follows_the_table(name):
  config = _CONFIGS[name]
  params = jax.eval_shape(lambda key: _init(config, key, jnp.bfloat16), _KEY)
  flat = traverse_util.flatten_dict(params)
  assert set(flat) == set(parameters.table(config))
  for path, entry in parameters.table(config).items():
    chex.assert_shape(flat[path], entry.shape)
    assert flat[path].dtype == jnp.bfloat16
    assert len(entry.axes) == len(entry.shape)


def test_init_gives_unit_logits_and_plain_norms():
  config = dataclasses.replace(_PLAIN, layers=8, norm_offset=1.0)
  params = _init(config, _KEY)
  assert not params['layers']['mlp_norm']['scale'].any()
  tokens = _tokens((4, 16))
  x = _hidden(params, config, tokens, tokens >= 0)
  assert 0.3 < jnp.std(transformer.logits(params, config, x)) < 3.0


@pytest.mark.parametrize('name', _CONFIGS)
def test_padding_is_inert(name):
  config = _CONFIGS[name]
  params = _params(config)
  tokens = _tokens((2, 6))
  expected = _hidden(params, config, tokens, tokens >= 0)
  # Left, right and in between, with other tokens under the mask.
  padded, mask = _tokens((2, 11), seed=1), np.zeros((2, 11), bool)
  columns = [2, 3, 4, 6, 7, 9]
  padded[:, columns], mask[:, columns] = tokens, True
  actual = _hidden(params, config, padded, mask)
  _close(actual[:, columns], expected)


def test_rows_without_a_token_are_finite_and_so_are_gradients():
  config = _CONFIGS['alternating']
  tokens, mask = _tokens((2, 5)), np.array([[True] * 5, [False] * 5])

  def loss(params):
    x = _hidden(params, config, tokens, mask)
    return jnp.sum(jnp.where(mask, x.sum(-1), 0.0)), x

  (_, x), gradients = jax.value_and_grad(loss, has_aux=True)(_params(config))
  chex.assert_tree_all_finite((x, gradients))


@pytest.mark.parametrize('name', _CONFIGS)
def test_the_future_is_not_seen(name):
  config = _CONFIGS[name]
  params = _params(config)
  tokens = _tokens((1, 8))
  other = tokens.copy()
  other[:, 5:] = (other[:, 5:] + 1) % 50
  before, after = (_hidden(params, config, x, x >= 0) for x in (tokens, other))
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert jnp.abs(before[:, 5:] - after[:, 5:]).max() > 1e-3


@pytest.mark.parametrize('name', ['plain', 'alternating'])
def test_the_future_is_seen_where_tokens_are_not_causal(name):
  config = _CONFIGS[name]
  params = _params(config)
  tokens = _tokens((1, 6))
  other = tokens.copy()
  other[:, 5] = (other[:, 5] + 1) % 50
  hidden = functools.partial(_hidden, causal=False)
  before, after = (hidden(params, config, x, x >= 0) for x in (tokens, other))
  assert jnp.abs(before[:, 0] - after[:, 0]).max() > 1e-3
  # Padding is not seen from either side.
  padded, mask = _tokens((1, 9), seed=1), np.zeros((1, 9), bool)
  columns = [1, 2, 4, 5, 6, 7]
  padded[:, columns], mask[:, columns] = tokens, True
  _close(hidden(params, config, padded, mask)[:, columns], before)


def test_responses_of_a_group_go_on_from_the_state_of_their_prompt():
  config = _CONFIGS['delta']
  params = _params(config)
  prompt, response = _tokens((2, 4)), _tokens((4, 3), seed=1)
  prompt_mask = np.array([[False, True, True, True], [False] * 3 + [True]])
  # Gaps too, which no response of the sampler has.
  mask = np.array([[1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 1, 1]], bool)
  last, after = jax.jit(transformer.hidden_of_groups, static_argnums=1)(
    params, config, prompt, prompt_mask, response, mask
  )
  whole = _hidden(
    params,
    config,
    np.concatenate([prompt.repeat(2, 0), response], 1),
    np.concatenate([prompt_mask.repeat(2, 0), mask], 1),
  )
  _close(last.repeat(2, 0), whole[:, 3])
  _close(after[mask], whole[:, 4:][mask])


def test_no_loop_over_layers_reads_the_keys_of_others():
  config = _CONFIGS['global']
  with pytest.raises(ValueError, match='2 layers read .* sample.unroll=True'):
    transformer.split_layers(_params(config), config, unroll=False)


def test_the_scale_of_a_layer_is_not_trained():
  config = _CONFIGS['global']
  params, tokens = _params(config), _tokens((2, 6))

  @jax.grad
  def slope(params):
    return jnp.sum(transformer.hidden(params, config, tokens, tokens >= 0) ** 2)

  layers = jax.jit(slope)(params)['layers']
  assert not layers['layer_scale']['scale'].any()
  assert layers['global_k']['kernel'].any() and layers['v']['kernel'].any()


def test_delta_nets_do_not_read_back():
  config = _CONFIGS['delta']
  params, tokens = _params(config), _tokens((1, 4))
  with pytest.raises(ValueError, match='read forth alone'):
    _hidden(params, config, tokens, tokens >= 0, causal=False)


@pytest.mark.parametrize('name', ['delta', 'late'])
def test_a_mesh_computes_the_same(name):
  config = _CONFIGS[name]
  params, tokens = _params(config), _tokens((4, 6))
  axes = {path: each.axes for path, each in parameters.table(config).items()}
  layout = shard.layout(shard.make_mesh(2, 4), axes, params)

  @jax.jit
  def hidden(params, tokens):
    with layout.known():
      params = layout.gathered(params)
      tokens = layout.rows(tokens)
      return transformer.hidden(params, config, tokens, tokens >= 0)

  kept = jax.jit(layout.kept)(params)
  expected = _hidden(params, config, tokens, tokens >= 0)
  _close(hidden(kept, tokens), expected)


def test_memory_grows_with_the_length_and_not_with_its_square(monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 2 * 4 * 32 * 32})
  config = dataclasses.replace(
    _CONFIGS['alternating'], layers=2, windows=(3, 0)
  )
  params = _params(config)

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
  config = dataclasses.replace(_PLAIN, rope=rope)
  params = jax.tree.map(jnp.asarray, _params(config))
  hidden = functools.partial(transformer.hidden, params, config)
  groups = functools.partial(transformer.hidden_of_groups, params, config)
  few, many = (np.ones((1, n), int) for n in (8, 9))
  jax.eval_shape(hidden, few, few > 0)
  with pytest.raises(ValueError, match='9 columns .* beyond 8 tokens'):
    jax.eval_shape(hidden, many, many > 0)
  with pytest.raises(ValueError, match='16 columns'):
    jax.eval_shape(groups, few, few > 0, few, few > 0)
  _, prompt_cache = _prefill(params, config, few, few > 0)
  with pytest.raises(ValueError, match='9 columns'):
    transformer.decode(
      transformer.split_layers(params, config),
      params,
      config,
      np.zeros(1, int),
      np.full(1, 8),
      prompt_cache,
      few > 0,
      transformer.empty_cache(config, 1, 1),
      0,
    )


def test_a_window_hides_what_is_older():
  config = dataclasses.replace(_PLAIN, layers=1, windows=(3,))
  params = _params(config)
  tokens = _tokens((1, 6))
  other = tokens.copy()
  other[:, 0] = (other[:, 0] + 1) % 50
  before, after = (_hidden(params, config, x, x >= 0) for x in (tokens, other))
  np.testing.assert_array_equal(before[:, 3:], after[:, 3:])
  assert jnp.abs(before[:, 2] - after[:, 2]).max() > 1e-3


@pytest.mark.parametrize('name', ['alternating', 'experts'])
@pytest.mark.parametrize('unroll', [1, True])
def test_remat_and_unroll_change_no_gradient(unroll, name):
  config = _CONFIGS[name]
  params, tokens = _params(config), _tokens((2, 6))

  def gradients(**options):
    def loss(params):
      x = _hidden(params, config, tokens, tokens >= 0, **options)
      return jnp.mean(x**2)

    return jax.jit(jax.grad(loss))(params)

  chex.assert_trees_all_close(
    gradients(remat=True, unroll=unroll), gradients(), atol=_TOLERANCE
  )


@pytest.mark.parametrize('name', _CONFIGS)
def test_prefill_and_decode_equal_the_full_forward(name):
  config = _CONFIGS[name]
  params = _params(config)
  samples, steps = 3, 5
  prompts, responses = _tokens((2, 6)), _tokens((2 * samples, steps), seed=1)
  prompt_mask = np.array([[False] * 3 + [True] * 3, [True] * 6])
  tokens = np.concatenate([prompts.repeat(samples, 0), responses], 1)
  mask = np.concatenate(
    [prompt_mask.repeat(samples, 0), np.ones(responses.shape, bool)], 1
  )
  expected = _hidden(params, config, tokens, mask)

  last, prompt_cache = _prefill(params, config, prompts, prompt_mask)
  _close(last.repeat(samples, 0), expected[:, 5])
  layers = transformer.split_layers(params, config)
  rest = {name: x for name, x in params.items() if name != 'layers'}
  cache = transformer.empty_cache(config, 2 * samples, steps)
  lengths = prompt_mask.sum(1).repeat(samples)
  for t in range(steps):
    x, cache = _decode(
      layers,
      rest,
      config,
      responses[:, t],
      lengths + t,
      prompt_cache,
      prompt_mask,
      cache,
      t,
    )
    _close(x, expected[:, 6 + t])


def test_decode_refuses_rows_that_do_not_divide():
  config = _CONFIGS['plain']
  params = _params(config)
  prompts = _tokens((2, 4))
  _, prompt_cache = _prefill(params, config, prompts, prompts >= 0)
  layers = transformer.split_layers(params, config)
  cache = transformer.empty_cache(config, 5, 3)
  with pytest.raises(ValueError, match='5 rows .* 2 prompts'):
    transformer.decode(
      layers,
      params,
      config,
      np.zeros(5, int),
      np.zeros(5, int),
      prompt_cache,
      prompts >= 0,
      cache,
      0,
    )


def test_bfloat16_arithmetic_stays_near_float32():
  config = _CONFIGS['alternating']
  params, tokens = _params(config), _tokens((2, 6))
  x = _hidden(params, config, tokens, tokens >= 0, dtype=jnp.bfloat16)
  assert x.dtype == jnp.bfloat16
  logits = transformer.logits(params, config, x)
  assert logits.dtype == jnp.float32
  exact = _hidden(params, config, tokens, tokens >= 0)
  exact = transformer.logits(params, config, exact)
  # Eight bits of mantissa, on caps at 3 and a dozen roundings.
  assert jnp.abs(logits - exact).max() < 0.2
  _, cache = _prefill(params, config, tokens, tokens >= 0, dtype=jnp.bfloat16)
  assert cache[0]['k'].dtype == jnp.bfloat16
  split = transformer.split_layers(params, config, jnp.bfloat16)
  assert split[0]['q']['kernel'].dtype == jnp.bfloat16
