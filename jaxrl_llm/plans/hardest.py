"""Another plan, on questions whose demonstrations surprise the policy most."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.plans import demonstrations
from jaxrl_llm.plans.base import Plan


@dataclasses.dataclass(frozen=True)
class Hardest(Plan):
  """Draws several questions for each that is asked, and asks the hardest.

      PPL = exp(-mean_t log pi(y_t | x, y_<t)),  y the demonstration of x

  Of `pool` B questions the B of the largest PPL are kept. Those whose
  demonstration is too long for a response come last.

  Attributes:
    plan: what is done with them. pool: questions drawn for each, from 1 on.

  Raises:
    ValueError: a pool of none.

  Source: iTool, arXiv 2501.09766, section 3.3, which takes the hardest 30 %.
  """

  plan: Plan
  pool: int = 3

  def __post_init__(self):
    if self.pool < 1:
      raise ValueError(f'a pool of {self.pool} asks nothing; use at least 1')

  @property
  def contract(self):
    inner = self.plan.contract.adding(checks=(demonstrations.required,))
    return dataclasses.replace(inner, may_lag=False)

  def init(self, spec):
    return self.plan.init(spec)

  def collect(self, tools, prompts, state, key):
    pool = [prompts, *(tools.draw() for _ in range(self.pool - 1))]
    every = jax.tree.map(lambda *x: jnp.concatenate(x), *pool)
    shown = demonstrations.demonstrated(tools, every)
    surprise = -numerics.masked_mean(shown.logp, shown.action_mask, axis=1)
    surprise = jnp.where(shown.valid, surprise, -jnp.inf)
    kept = jnp.argsort(-surprise)[: prompts.tokens.shape[0]]
    perplexity = numerics.masked_mean(
      jnp.exp(surprise[kept]), shown.valid[kept], axis=0
    )
    tools.note('plan/perplexity', float(perplexity))
    hardest = jax.tree.map(lambda x: x[kept], every)
    return self.plan.collect(tools, hardest, state, key)
