"""Random inputs of surrogates, the same for every test of them."""

from __future__ import annotations

import functools

import jax
import numpy as np

from jaxrl_llm.reads import reads_of


def inputs(seed=0, rows=8, tokens=6, spread=0.5):
  """logp, old_logp, advantages f64[N, T] and mask bool[N, T].

  Rows have gaps, one has its first token alone, and the last one none.
  """
  rng = np.random.default_rng(seed)
  old = -rng.exponential(1.0, (rows, tokens))
  logp = old + spread * rng.standard_normal((rows, tokens))
  advantages = np.repeat(rng.standard_normal((rows, 1)), tokens, axis=1)
  mask = rng.random((rows, tokens)) < 0.8
  mask[4], mask[-1] = np.arange(tokens) == 0, False
  advantages[0] = 0.0
  return tuple(_single(x) for x in (logp, old, advantages)) + (mask,)


def extras(mask, seed=1):
  """Whatever a surrogate may take besides, by name."""
  rng = np.random.default_rng(seed)
  rows = len(mask)
  return {
    'entropy': _single(rng.exponential(1.0, mask.shape)),
    'share': _single(mask / mask.sum()),
    'rewards': (rng.random(rows) < 0.5).astype(np.float64),
    'group': np.arange(rows) // 4,
    'valid': np.arange(rows) != 3,
    'offline': np.arange(rows) % 4 == 1,
    'old_values': _single(rng.standard_normal(mask.shape)),
    'sampler_logp': _single(-rng.exponential(1.0, mask.shape)),
    'teacher_logp': _single(-rng.exponential(1.0, mask.shape)),
    'ref_logp': _single(-rng.exponential(1.0, mask.shape)),
    'tokens': rng.integers(0, 50, mask.shape),
    'task': np.arange(rows) // 4,
    'old_entropy': _single(rng.exponential(1.0, mask.shape)),
  }


def _single(x):
  """float64 values that float32 holds exactly, so both sides see the same."""
  return x.astype(np.float32).astype(np.float64)


def single(tree):
  """The same arrays in float32."""
  return [x.astype(np.float32) if x.dtype.kind == 'f' else x for x in tree]


def arrays_of(fn, seed=0):
  """What a part is called with: arrays in their order, and others by name."""
  arrays = inputs(seed)
  extra = {k: extras(arrays[-1])[k] for k in reads_of(fn)}
  return arrays, extra


def check_loops(oracle, fn, hyper, seed, rtol):
  """A compiled part is finite, and on the mask what loops of its name give.

  Returns:
    What they give.
  """
  arrays, extra = arrays_of(fn, seed)
  expected = getattr(oracle, fn.__name__)(*arrays, **extra, **hyper)
  extra = dict(zip(extra, single(extra.values())))
  ours = jax.jit(functools.partial(fn, **hyper))(*single(arrays), **extra)
  mask = arrays[-1]
  np.testing.assert_allclose(np.where(mask, ours, 0), expected, rtol=rtol)
  assert np.all(np.isfinite(ours))
  return expected[mask]
