"""Responses, and what those earn that go on from prefixes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.plans import arranged, prefixes
from jaxrl_llm.plans.base import Contract, Plan


def values_of_prefixes(tools, rollouts, cut, key, *, continuations):
  """f32[N]: the mean reward of responses that begin as each row does.

      V(y_<cut) = mean over k of r(y_<cut, continuation_k)

  Args:
    tools: what the plan was lent. rollouts: N rows.
    cut: i32[N] in [0, length], tokens of the prefix.
    continuations: K, sampled from each. Those whose verifier failed are left
      out; without any the value is 0.
  """
  rows = arranged.repeated(rollouts, continuations)
  cut = jnp.repeat(cut, continuations)
  rows = prefixes.continued(tools, rows, cut, key, samples=continuations)
  rows, scores = tools.verify(rows.replace(valid=jnp.ones_like(rows.valid)))
  rewards = scores.total.reshape(-1, continuations)
  return numerics.masked_mean(
    rewards, rows.valid.reshape(rewards.shape), axis=1
  )


@dataclasses.dataclass(frozen=True)
class PrefixValues(Plan):
  """Independent responses, with sampled values of some of their prefixes.

  The extra `prefix_value` f32[N, T] holds, at every token that starts a
  segment, the mean reward of `continuations` responses that go on from before
  it; 0 elsewhere. They are not trained on.

  Attributes:
    starts: f(logp f32[N, T], mask bool[N, T]) -> bool[N, T].
    samples: rows of a group. continuations: K of each prefix.

  Source: SPO-chain, arXiv 2505.23564, section 4.1.
  """

  starts: Callable
  samples: int = 8
  continuations: int = 9

  @property
  def contract(self):
    return Contract(self.samples, provides={'prefix_value'}, may_lag=True)

  def collect(self, tools, prompts, state, key):
    own, others = jax.random.split(key)
    rollouts = tools.generate(prompts, own, self.samples)
    rollouts, scores = tools.verify(rollouts)
    starts = np.asarray(self.starts(rollouts.logp, rollouts.loss_mask))
    rows, columns = np.nonzero(starts)
    values = np.zeros(starts.shape, np.float32)
    size = len(starts)
    for first in range(0, len(rows), size):
      # The last batch wraps around, to be of the same compiled shape.
      row = np.resize(rows[first : first + size], size)
      column = np.resize(columns[first : first + size], size)
      values[row, column] = values_of_prefixes(
        tools,
        jax.tree.map(lambda x, row=row: x[row], rollouts),
        jnp.asarray(column, jnp.int32),
        jax.random.fold_in(others, first),
        continuations=self.continuations,
      )
    tools.note('plan/segments', len(rows) / size)
    rollouts = rollouts.with_extras(prefix_value=jnp.asarray(values))
    return rollouts, scores, state
