"""Demonstrations in the groups that would teach nothing without."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import choices, imitated


class Anchored(imitated.WithDemonstration):
  """Demonstrations behind own responses of which none is right.

  In other groups the row of the demonstration does not count.

  Source: the anchors of DaGRPO, arXiv 2512.06337, reconstructed from its
    abstract.
  """

  def collect(self, tools, prompts, state, key):
    rows, scores, state = super().collect(tools, prompts, state, key)
    shown = np.asarray(rows.extras['offline']).reshape(-1, self.samples)
    valid = np.asarray(rows.valid).reshape(shown.shape)
    right = np.asarray(choices.correctness(scores)).reshape(shown.shape) > 0
    needed = ~np.any(right & valid & ~shown, axis=1, keepdims=True)
    valid = valid & (needed | ~shown)
    tools.note('plan/anchored', float(np.mean(np.any(valid & shown, axis=1))))
    return rows.replace(valid=jnp.asarray(valid.reshape(-1))), scores, state
