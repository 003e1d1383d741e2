"""Responses, after every question was answered a few times."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import measured
from jaxrl_llm.plans.base import Plan


@dataclasses.dataclass(frozen=True)
class AskedFirst(Plan):
  """The rows of another plan, once every question was asked `count` times.

  `first_rate` f32[N] is the share of those responses to a row's question that
  earned something. They are of the policy that the run begins with, and not
  learned from: A count responses for the A questions of the data. The
  curriculum is told of them, and draws the first prompts anew.

  Attributes:
    plan: of the rows. count: responses, rounded up to whole groups.

  Raises:
    ValueError: no response.

  Source: the offline values of Single-stream Policy Optimization, arXiv
    2509.13232, in whose code a response is right where its score is positive.
  """

  plan: Plan
  count: int = 8

  def __post_init__(self):
    if self.count < 1:
      raise ValueError(f'{self.count} responses say nothing; use at least 1')

  @property
  def contract(self):
    return self.plan.contract.adding(provides={'first_rate'})

  def init(self, spec):
    return {
      'plan': self.plan.init(spec),
      'asked': jnp.bool_(False),
      'rate': jnp.zeros(spec.tasks),
    }

  def collect(self, tools, prompts, state, key):
    look, draw = jax.random.split(key)
    rate = state['rate']
    if not bool(state['asked']):
      rate = self._rates(tools, prompts.tokens.shape[0], look)
      tools.tell(rate)
      prompts = tools.draw()
    rollouts, scores, inner = self.plan.collect(
      tools, prompts, state['plan'], draw
    )
    after = {'plan': inner, 'asked': jnp.bool_(True), 'rate': rate}
    return rollouts.with_extras(first_rate=rate[rollouts.task]), scores, after

  def _rates(self, tools, size, key):
    """f32[A], the share of right responses to every question."""
    rate, samples = np.zeros(tools.tasks), self.contract.samples
    for tasks, rounds in measured.looks(tools, size, self.count, samples, key):
      right = np.concatenate([rewards > 0 for _, rewards in rounds], axis=1)
      rate[tasks] = right.mean(axis=1)
    return jnp.asarray(rate, jnp.float32)
