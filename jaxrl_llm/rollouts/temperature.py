"""Temperatures that follow the entropy of the token about to be drawn."""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm.objectives import adaptive


def of_entropy(entropy, scale, *, temperature=1.0, reach=0.05):
  """Hotter where the policy is uncertain, colder where it is sure.

      temperature (1 + reach h),  h = `adaptive.entropy_rank` in [-1, 1]

  Args:
    entropy: f32[...], nats, of the distribution at hand. scale:
      `adaptive.entropy_scale` of the iteration before, since the entropies
      of this one are not known yet. temperature: base. reach: in [0, 1).

  Returns:
    f32[...] > 0; `temperature` where the scale is empty.

  Source: HAPO, arXiv 2509.16591, and its code.
  """
  h = jnp.clip(adaptive.entropy_rank(entropy, scale), -1.0, 1.0)
  return temperature * (1 + reach * h)
