"""Tokens to answer behind, each row its own, and what is drawn there."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.serving.engine import Drawn
from jaxrl_llm.types import Array, Prompts, Rollouts

_FACTS = ('logp', 'log_mass', 'support')


def prompts(
  contexts: Sequence[Sequence[int]], width: int, task: Array, domain: Array
) -> Prompts:
  """Tokens to answer behind, in rows of one width."""
  tokens = np.zeros((len(contexts), width), np.int32)
  mask = np.zeros((len(contexts), width), bool)
  for row, ids in enumerate(contexts):
    tokens[row, width - len(ids) :] = ids
    mask[row, width - len(ids) :] = True
  return Prompts(
    tokens=jnp.asarray(tokens),
    mask=jnp.asarray(mask),
    task=task,
    domain=domain,
  )


def drawn(rollouts: Rollouts, count: int) -> list[Drawn]:
  """What was drawn in the first `count` rows."""
  known = {'logp': rollouts.logp, **rollouts.extras}
  facts = {name: np.asarray(known[name]) for name in _FACTS if name in known}
  ids, length, cut = (
    np.asarray(x)
    for x in (rollouts.content.response, rollouts.length, rollouts.truncated)
  )
  return [
    Drawn(
      tuple(ids[row, : length[row]].tolist()),
      {name: x[row, : length[row]] for name, x in facts.items()},
      bool(cut[row]),
    )
    for row in range(count)
  ]
