"""Log-probs of rollouts under a model: the policy as objectives see it."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import digests
from jaxrl_llm.policies.language import blocks, heads, packing, transformer
from jaxrl_llm.policies.language import routes as routes_lib
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.types import Array, Places, PyTree, Rollouts, Stats

# The scaled logit of a token outside the support. Finite, so that a position
# without any support gives finite numbers, which the mask then drops.
_DROPPED = -1e30


def score(
  params: PyTree,
  config: Config,
  rollouts: Rollouts,
  *,
  needs: frozenset[str] = frozenset(),
  temperature: float | Array = 1.0,
  chunk: int = 64,
  block: int = 0,
  dtype=jnp.float32,
  remat: bool = False,
  unroll: int | bool = 1,
  shared: int = 1,
  places: Places | None = None,
) -> Stats:
  """What the parameters say about every response token.

      logp_t = z_t[a_t] / temperature - log sum_v exp(z_t[v] / temperature)

  z_t are the logits at the token before t; v runs over the vocabulary or,
  where `rollouts.extras` has 'support', over the tokens that the sampler kept
  at t, so that a ratio compares distributions over one set.

  Where tokens were sampled truncated and no support was recorded, `logp` is
  that of the whole vocabulary: on policy, the sampler's logp + log_mass.

  Args:
    params: of the decoder, with the heads of `heads.NAMES` that are needed.
    rollouts: prompts left padded, responses right padded; P is at least 1.
    needs: 'values' adds what a head says of s_t, read before token t is
      chosen, 'after_values' what another says once it is; 'log_probs' adds
      whole rows over the vocabulary (never the support), and gives up the
      saving of `chunk`, where a digest of them does not; 'top_logp' adds the
      log-prob of the most probable token, which that of the token itself
      equals or falls short of. Other names are not this function's.
    temperature: that of the sampler; traced, above 0.
    chunk: response positions whose logits exist at once, in both directions.
      0 keeps the logits of all of them for the backward pass: faster when
      they fit.
    block: vocabulary entries whose logits exist at once, in place of
      `chunk`; 0 is all. Not with a support or 'log_probs', which read them by
      position.
    dtype, remat, unroll: as in `transformer.hidden`.
    shared: consecutive rows with one and the same prompt, which is read once
      for all of them, forward and backward. A row whose prompt differs from
      that of the first of its `shared` gets NaN, not a number that looks right.
    places: of the rows in packed ones, in which they are read; `chunk` counts
      columns of those. None reads each as it stands.

  Returns:
    Stats in float32, 0 off `response_mask` and in rows without a place, with
    finite gradients everywhere.

  Raises:
    ValueError: a temperature known not to be positive, a negative chunk or
      block, a block where whole rows of logits are read,
      values without their head, rows that `shared` does not divide, or packed
      ones that share prompts or of which whole rows of logits are read.
  """
  chex.assert_equal_shape([rollouts.content.response, rollouts.response_mask])
  whole = 'log_probs' in needs or digests.among(needs)
  by_position = whole or 'support' in rollouts.extras
  _check_sizes(temperature, chunk, block)
  _check_layout(block, by_position, shared, places)
  _check_heads(params, needs)
  mask = rollouts.response_mask
  options = {'dtype': dtype, 'remat': remat, 'unroll': unroll}
  token, packed = rollouts.content.response, None
  if places is None:
    routes = _routes(config, rollouts)
    x, after = _states(
      params, config, rollouts, shared, routes=routes, **options
    )
  else:
    packed = packing.pack(rollouts, places)
    tokens, segments, token = packed.tokens, packed.segments, packed.following
    x = after = transformer.hidden(
      params, config, tokens, packed.mask, segments=segments, **options
    )
  # The model's layers are not needed beyond this point, and closing over them
  # would make them residuals of every chunk.
  unembed = {k: params[k] for k in ('embed', 'unembed') if k in params}

  def scaled(x):
    return transformer.logits(unembed, config, x) / temperature

  made: dict[str, Array] = {}
  if block:
    logp, entropy, top = blocks.token_logp(
      params, config, x, token, temperature=temperature, block=block
    )
  else:
    logp, entropy, top, made = _by_position(
      scaled, rollouts, x, token, needs, chunk
    )
  found = {'logp': logp, 'entropy': entropy}
  if 'top_logp' in needs:
    found['top_logp'] = top
  for need, at in (('values', x), ('after_values', after)):
    if need in needs:
      found[need] = heads.value(params[heads.NAMES[need]], at)
  if packed is not None:
    found = {
      name: packed.unpacked(each, before=name != 'after_values')
      for name, each in found.items()
    }
  log_probs = None
  if 'log_probs' in needs:
    rows = jax.nn.log_softmax(scaled(x))
    log_probs = jnp.where(mask[..., None], rows, 0.0)
  if shared > 1:
    found['logp'] = jnp.where(_alike(rollouts, shared), logp, jnp.nan)
  found = {name: _masked(each, mask) for name, each in found.items()}
  return Stats(log_probs=log_probs, digests=made, **found)


def _check_sizes(temperature, chunk, block) -> None:
  if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
    raise ValueError(
      f'temperature {temperature} must be positive: greedy choices have no '
      'log-probs to learn from'
    )
  for name, size in (('chunk', chunk), ('block', block)):
    if size < 0:
      raise ValueError(f'{name} {size} must be at least 0; 0 is off')


def _check_layout(block, by_position, shared, places) -> None:
  """Refuses blocks and packed rows where logits are read by position."""
  if block and by_position:
    raise ValueError(
      f'logits in blocks of {block} of the vocabulary cannot give log_probs, '
      'what is made of them or those of a support; use block=0 and a small '
      'chunk'
    )
  if places is not None and (by_position or shared > 1):
    raise ValueError(
      'packed rows have no log_probs, nothing made of them, no support and no '
      'shared prompts; leave learn.packing out'
    )


def _check_heads(params, needs) -> None:
  for need, head in heads.NAMES.items():
    if need in needs and head not in params:
      raise ValueError(
        f'{need} are needed and params has no {head!r}; add one with '
        'heads.init_value'
      )


def _by_position(scaled, rollouts, x, token, needs, chunk):
  """Log-probs, entropies, highest log-probs and digests of states [N, T, D].

  Args:
    scaled: f(x) -> logits over the temperature. token: i32[N, T].
  """
  told = digests.among(needs)
  seen = digests.seen(rollouts, rollouts.content.response)

  def of_tokens(x, token, support, place):
    scores, made = scaled(transformer.over_context(x)), {}
    if told:
      mask, candidates = place
      here = seen._replace(token=token, mask=mask, candidates=candidates)
      made = digests.made(told, jax.nn.log_softmax(scores), here)
    return *_tokens(scores, token, support, 'top_logp' in needs), made

  places = (seen.mask, seen.candidates) if told else None
  inputs = (x, token, rollouts.extras.get('support'), places)
  if 'log_probs' in needs or not chunk:
    return of_tokens(*inputs)
  return _in_chunks(of_tokens, chunk, inputs)


def _routes(config, rollouts):
  """Experts that the tokens of responses have, or None."""
  if not config.replay or 'routes' not in rollouts.extras:
    return None
  return routes_lib.of_tokens(rollouts.extras['routes'])


def _states(params, config, rollouts, shared, *, routes, **options):
  """States before and after every response token, both [N, T, D]."""
  prompt, prompt_mask = rollouts.content.prompt, rollouts.content.prompt_mask
  response, mask = rollouts.content.response, rollouts.response_mask
  n, first = prompt.shape
  if n % shared:
    raise ValueError(
      f'{n} rows are not blocks of {shared} that share their prompt'
    )
  if shared == 1:
    tokens = jnp.concatenate([prompt, response], axis=1)
    whole = jnp.concatenate([prompt_mask, mask], axis=1)
    if routes is not None:
      chosen = routes_lib.none(config, n, first, config.layers)
      routes = jnp.concatenate([chosen, routes], axis=1)
    x = transformer.hidden(
      params, config, tokens, whole, routes=routes, **options
    )
    return x[:, first - 1 : -1], x[:, first:]
  last, after = transformer.hidden_of_groups(
    params,
    config,
    prompt[::shared],
    prompt_mask[::shared],
    response,
    mask,
    routes=routes,
    **options,
  )
  last = jnp.repeat(last, shared, axis=0)[:, None]
  return jnp.concatenate([last, after[:, :-1]], axis=1), after


def _alike(rollouts: Rollouts, shared: int) -> Array:
  """bool[N, 1]: rows whose prompt is that of the first of their block."""

  def first(x):
    return jnp.repeat(x[::shared], shared, axis=0)

  mask = first(rollouts.content.prompt_mask)
  same = (rollouts.content.prompt == first(rollouts.content.prompt)) | ~mask
  return jnp.all(
    same & (rollouts.content.prompt_mask == mask), 1, keepdims=True
  )


def _masked(x: Array, mask: Array) -> Array:
  return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0.0)


def _tokens(scores: Array, token: Array, support: Array | None, top: bool):
  """Log-prob of the token and entropy of its distribution, both [N, C].

  And, if `top` is asked for, the log-prob of the most probable token.
  """
  chosen = jnp.take_along_axis(scores, token[..., None], axis=-1)[..., 0]
  if support is not None:
    kept = jnp.take_along_axis(scores, jnp.maximum(support, 0), axis=-1)
    scores = jnp.where(support >= 0, kept, _DROPPED)
  total = jax.nn.logsumexp(scores, axis=-1)
  mean = jnp.sum(jnp.exp(scores - total[..., None]) * scores, axis=-1)
  best = jnp.max(scores, axis=-1) - total if top else None
  return chosen - total, total - mean, best


def _in_chunks(tokens, chunk: int, inputs):
  """Maps over pieces of axis 1, recomputing each in the backward pass."""
  n, t = inputs[1].shape
  count = -(-t // min(chunk, t))
  size = -(-t // count)

  def pieces(x):
    # Even pieces waste least; the last columns are padding.
    width = ((0, 0), (0, count * size - t)) + ((0, 0),) * (x.ndim - 2)
    return jnp.pad(x, width).reshape(n, count, size, *x.shape[2:])

  inputs = jax.tree.map(lambda x: pieces(x).swapaxes(0, 1), inputs)
  body = jax.checkpoint(lambda piece: tokens(*piece), prevent_cse=False)
  outputs = jax.lax.map(body, inputs)
  return jax.tree.map(
    lambda y: y.swapaxes(0, 1).reshape(n, count * size, *y.shape[3:])[:, :t],
    outputs,
  )
