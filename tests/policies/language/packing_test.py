"""Packed rows say what the same rows say one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import heads, packing, score
from jaxrl_llm.types import Places, Rollouts, Tokens
from tests.policies.language import decoders

# Tokens of the prompts and of the responses of six rows, and where they stand
# in three packed ones. The fourth row has no place.
PROMPTS, RESPONSES = (3, 1, 2, 4, 1, 4), (2, 5, 1, 6, 2, 3)
PLACES = Places(
  jnp.array([0, 0, 1, 3, 1, 2]), jnp.array([1, 6, 0, 0, 3, 0]), rows=3
)
PLACED = np.asarray(PLACES.placed)


def rollouts():
  prompt_mask = np.arange(4) >= 4 - np.array(PROMPTS)[:, None]
  mask = np.arange(8) < np.array(RESPONSES)[:, None]
  rows = jnp.arange(6)
  return Rollouts(
    content=Tokens(
      jnp.asarray(decoders.tokens((6, 4))),
      jnp.asarray(prompt_mask),
      jnp.asarray(decoders.tokens((6, 8), seed=1)),
    ),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.asarray(mask),
    logp=jnp.zeros(mask.shape),
    paid=jnp.zeros(mask.shape),
    group=rows,
    task=rows,
    domain=rows,
    valid=rows >= 0,
    truncated=rows < 0,
  )


def test_tokens_of_a_segment_stand_together_and_padding_nowhere():
  rows = rollouts()
  packed = packing.pack(rows, PLACES)
  for row in np.flatnonzero(PLACED):
    own = np.concatenate(
      [
        rows.content.prompt[row][4 - PROMPTS[row] :],
        rows.content.response[row][: RESPONSES[row]],
      ]
    )
    places = np.argwhere(np.asarray(packed.segments) == row + 1)
    assert (places[:, 0] == PLACES.row[row]).all()
    columns = PLACES.column[row] + np.arange(len(own))
    np.testing.assert_array_equal(places[:, 1], columns)
    np.testing.assert_array_equal(packed.tokens[tuple(places.T)], own)
  count = np.where(PLACED, np.add(PROMPTS, RESPONSES), 0).sum()
  assert packed.mask.sum() == count


@pytest.mark.parametrize(
  'name',
  [
    name
    if name in ('plain', 'window', 'experts', 'delta')
    else pytest.param(name, marks=pytest.mark.slow)
    for name in decoders.CONFIGS
  ],
)
def test_packing_changes_neither_statistics_nor_slopes(name):
  """Of every kind of layer: windows, rotations, experts, sinks, delta nets."""
  config, rows = decoders.CONFIGS[name], rollouts()
  needs = frozenset({'top_logp', 'values', 'after_values'})
  params = decoders.params(config)
  for number, head in enumerate(heads.NAMES.values()):
    params[head] = heads.init_value(config, jax.random.key(number))
    params[head] = jax.tree.map(lambda x: x + 0.1, params[head])
  weights = np.random.default_rng(2).normal(size=(4, 6, 8))
  weights = weights * PLACED[:, None] / rows.response_mask.sum()

  @functools.partial(jax.jit, static_argnames='packed')
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(params, packed):
    stats = score.score(
      params,
      config,
      rows,
      needs=needs,
      chunk=4,
      places=PLACES if packed else None,
    )
    each = stats.logp, stats.entropy, stats.values, stats.after_values
    return sum(jnp.sum(w * x) for w, x in zip(weights, each)), stats

  (one, whole), slopes = loss(params, packed=False)
  (other, packed), others = loss(params, packed=True)
  # Where keys are brought to length one, see `decoders`.
  near = decoders.TOLERANCE if config.delta else 1e-5
  np.testing.assert_allclose(one, other, rtol=0, atol=near)
  for field in ('logp', 'entropy', *needs):
    x, y = (np.asarray(getattr(stats, field)) for stats in (whole, packed))
    np.testing.assert_allclose(x[PLACED], y[PLACED], rtol=0, atol=near)
    assert not y[~PLACED].any(), field
  most = max(np.abs(x).max() for x in jax.tree.leaves(slopes))
  assert most > 0.1
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=near * most),
    slopes,
    others,
  )
