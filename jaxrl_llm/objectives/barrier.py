"""Surrogates that raise one objective without giving up the others."""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import surrogates
from jaxrl_llm.reads import reads


@reads('components', 'row_weights', 'share')
def interior(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  components,
  row_weights,
  share,
  low=0.2,
  high=0.2,
  objective=0,
  kept=0.9,
  sharpness=20.0,
  floor=1e-3,
):
  """PPO's clip on one objective, behind a log barrier for the others.

      clip loss - mean_{j != l} log max(clip(ratio) G_j - kept G_j, floor)
        / sharpness

  with G_j the step's mean of component j. Where a ratio falls towards `kept`,
  the others' returns are at stake and the barrier pushes back. Returns are to
  be positive: at G_j <= 0 the floor silences the term.

  Args:
    low, high: half-widths of the clip. objective: l, the component that the
      advantages are of. kept: beta, in (0, 1). sharpness: t > 0.
    floor: in reward units.

  Returns:
    f32[N, T]; with one component, the clip loss.

  Source: C-MORL, arXiv 2410.02236, and its code, whose slice
    drops a row of the batch in place of the objective's column.
  """
  del share
  loss = surrogates.clip(logp, old_logp, advantages, mask, low=low, high=high)
  total = jnp.sum(row_weights)
  mean = jnp.sum(row_weights[:, None] * components, axis=0)
  mean = numerics.safe_divide(mean, total)
  others = jnp.arange(components.shape[1]) != objective
  ratio = numerics.bounded_exp(jnp.where(mask, logp - old_logp, 0.0))
  ratio = jnp.clip(ratio, 1 - low, 1 + high)
  room = jnp.maximum((ratio[..., None] - kept) * mean, floor)
  barrier = numerics.masked_mean(jnp.log(room), others, axis=-1)
  return loss - barrier / sharpness
