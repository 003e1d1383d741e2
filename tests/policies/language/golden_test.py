"""Logits of every family against tests/golden, without torch."""

import ast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxrl_llm.policies.language import caches, decoding, hf, transformer
from tests import thinned
from tests.golden import make
from tests.policies.language import families

_PROMPT = 13  # columns; the rest is decoded


def _load(variant, folder):
  golden = np.load(make.FOLDER / f'{variant}.npz')
  shapes = [ast.literal_eval(shape) for shape in golden['shapes']]
  tensors = make.weights(list(golden['names']), shapes)
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  (folder / 'config.json').write_text(str(golden['config']))
  return golden, *hf.load(folder)


@pytest.mark.parametrize('variant', families.NAMES)
def test_logits_equal_the_golden_ones(variant, tmp_path):
  golden, config, params = _load(variant, tmp_path)
  tokens, mask = golden['tokens'], golden['mask']

  @jax.jit
  def forward(params):
    x = transformer.hidden(params, config, tokens, mask)
    return transformer.logits(params, config, x)

  np.testing.assert_allclose(
    forward(params)[mask], golden['logits'][mask], rtol=0, atol=1e-4
  )


@pytest.mark.parametrize('variant', thinned.every(4, families.NAMES))
def test_prefill_and_decode_give_the_golden_logits(variant, tmp_path):
  golden, config, params = _load(variant, tmp_path)
  tokens, prompt_mask = golden['tokens'], golden['mask'][:, :_PROMPT]
  rows, length = tokens.shape

  @jax.jit
  def generate(params):
    last, prompt_cache = decoding.prefill(
      params, config, tokens[:, :_PROMPT], prompt_mask
    )
    layers = decoding.split_layers(params, config)

    def step(cache, t):
      x, cache = decoding.decode(
        layers,
        params,
        config,
        jnp.asarray(tokens)[:, _PROMPT + t],
        prompt_mask.sum(1) + t,
        prompt_cache,
        prompt_mask,
        cache,
        t,
      )
      return cache, x

    cache = caches.empty_cache(config, rows, length - _PROMPT)
    steps = jnp.arange(length - _PROMPT)
    _, xs = jax.lax.scan(step, cache, steps)
    x = jnp.concatenate([last[None], xs]).swapaxes(0, 1)
    return transformer.logits(params, config, x)

  np.testing.assert_allclose(
    generate(params), golden['logits'][:, _PROMPT - 1 :], rtol=0, atol=1e-4
  )


def test_every_golden_file_is_checked():
  stored = {path.stem for path in make.FOLDER.glob('*.npz')}
  assert stored == set(families.NAMES)
