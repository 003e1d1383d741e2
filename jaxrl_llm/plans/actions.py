"""Which tokens of rows the policy chose, and under which log-probs.

A plan may put rows together of what others wrote. Then it says which tokens
count as decisions of the policy, and, where it did not draw them itself, how
probable they were for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.types import Array, Rollouts


def within(rollouts: Rollouts, where: Array | bool) -> Rollouts:
  """The rows, of which the policy chose nothing off a mask bool[N, T]."""
  chosen = rollouts.action_mask & where
  logp = jnp.where(chosen, rollouts.logp, 0.0)
  return rollouts.replace(action_mask=chosen, logp=logp)


def drawn(tools, rollouts: Rollouts) -> Rollouts:
  """The rows as if the policy had drawn them."""
  return scored_as(rollouts, tools.score(rollouts).logp)


def scored_as(rollouts: Rollouts, logp: Array) -> Rollouts:
  """The rows as if a policy with these log-probs f32[N, T] had drawn them."""
  rollouts = rollouts.replace(logp=logp)
  if 'support' in rollouts.extras:
    return rollouts
  # On the whole vocabulary, where the sampler's mass is 1.
  return rollouts.with_extras(log_mass=jnp.zeros_like(logp))


def partly_drawn(tools, rollouts: Rollouts, where: Array) -> Rollouts:
  """The rows as if the policy had drawn some, bool[N], or some tokens of them.

  Args:
    where: bool[N], or bool[N, T].

  Raises:
    ValueError: a sampler that records its candidates, among which these tokens
      need not be.
  """
  check_support(rollouts, 'rows that were written otherwise')
  where = where.reshape(len(where), -1)
  logp = jnp.where(where, tools.score(rollouts).logp, rollouts.logp)
  # On the whole vocabulary, where the sampler's mass is 1.
  mass = jnp.where(where, 0.0, rollouts.extras['log_mass'])
  return rollouts.replace(logp=logp).with_extras(log_mass=mass)


def check_support(rollouts: Rollouts, written: str) -> None:
  """Refuses rows with candidates of the sampler, where others are written.

  Args:
    written: what has tokens that need not be among the candidates.
  """
  if 'support' in rollouts.extras:
    raise ValueError(
      f'{written} have tokens outside the support of the sampler; set '
      'sample.support = 0'
    )


def replaced(
  rollouts: Rollouts, texts: Mapping[int, tuple[Sequence[int], Sequence[bool]]]
) -> Rollouts:
  """The rows, some of them with other responses, for which nothing is paid.

  Args:
    texts: by row, at most T tokens, and which of them the policy is to say.
  """
  response, exists, chosen, paid = (
    np.array(x)
    for x in (
      rollouts.content.response,
      rollouts.response_mask,
      rollouts.action_mask,
      rollouts.paid,
    )
  )
  for row, (said, learned) in texts.items():
    for array in (response, exists, chosen, paid):
      array[row] = 0
    response[row, : len(said)], exists[row, : len(said)] = said, True
    chosen[row, : len(said)] = learned
  return rollouts.replace(
    content=rollouts.content.replace(response=jnp.asarray(response)),
    response_mask=jnp.asarray(exists),
    action_mask=jnp.asarray(chosen),
    paid=jnp.asarray(paid),
  )
