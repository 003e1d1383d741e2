"""Responses that are sampled a part at a time, over several iterations."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import given, kept, prefixes
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Resumed(Plan):
  """Responses that are written in windows of the token budget.

  A row that neither ends within its window nor fills the budget goes on in the
  next iteration, in the same place and with the policy of then; where a row is
  done, the prompt drawn for its place is answered. Prompts of places that are
  taken are passed over. Keys and values are computed anew: they are those of
  an older policy.

  Extras: `earlier` bool[N, T] marks tokens of former iterations, whose
  log-probs are those of their sampler, and `unfinished` bool[N] the rows that
  go on.

  Attributes:
    samples: rows of a group, which need not answer one prompt.
    windows: that make up the budget; 1 finishes every row at once.

  Raises:
    ValueError: no window, or a sampler that gives extras whose shape is not
      known beforehand.

  Source: Truncated PPO, arXiv 2506.15050, whose windows are a third.
  """

  samples: int = 1
  windows: int = 3

  def __post_init__(self):
    if self.windows < 1:
      raise ValueError(f'{self.windows} windows hold nothing; use at least 1')

  @property
  def contract(self):
    return Contract(
      self.samples,
      provides={'earlier', 'unfinished'},
      one_prompt=self.samples == 1,
    )

  def init(self, spec):
    rows = kept.blank(spec, spec.rows)
    del rows['components']
    return {'rows': rows, 'going': jnp.zeros(spec.rows, bool)}

  def collect(self, tools, prompts, state, key):
    columns = tools.columns
    fresh = given.blank(prompts, self.samples, columns)
    mass = jnp.zeros(fresh.logp.shape)
    begun = kept.columns(fresh) | {'log_mass': mass}
    begun = _chosen(state['going'], state['rows'], begun)
    rollouts = kept.rows(fresh, begun)
    cut = rollouts.length
    window = -(-columns // self.windows)
    rollouts = prefixes.continued(tools, rollouts, cut, key, most=window)
    kept.check(rollouts, state['rows'])
    going = rollouts.truncated & (rollouts.length < columns)
    state = {'rows': kept.columns(rollouts), 'going': going}
    tools.note('plan/unfinished', float(jnp.mean(going)))
    rollouts = rollouts.with_extras(
      earlier=jnp.arange(columns) < cut[:, None], unfinished=going
    )
    return *tools.verify(rollouts), state


@jax.jit
def _chosen(where, old, new):
  """Rows of the one where bool[N], else of the other."""

  def choose(a, b):
    return jnp.where(where.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)

  return jax.tree.map(choose, old, new)
