"""The greedy response as a baseline."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class WithGreedy(Plan):
  """Independent responses, and what the greedy one to each prompt earns.

  The greedy response is verified and not trained on. The rows of a prompt
  whose greedy response could not be verified are not valid.

  The extra `greedy_reward` f32[N] is the weighted sum of its scores.

  Attributes:
    samples: rows of a group.

  Source: ReMax, arXiv 2310.10505, algorithm 2.
  """

  samples: int = 1

  @property
  def contract(self):
    return Contract(self.samples, provides={'greedy_reward'}, may_lag=True)

  def collect(self, tools, prompts, state, key):
    greedy, scores = tools.verify(tools.greedy(prompts))
    baseline = jnp.repeat(scores.total, self.samples)
    known = jnp.repeat(greedy.valid, self.samples)
    rollouts = tools.generate(prompts, key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    rollouts = rollouts.replace(valid=rollouts.valid & known)
    rollouts = rollouts.with_extras(greedy_reward=baseline)
    components = jnp.where(rollouts.valid[:, None], scores.components, 0)
    return rollouts, scores.replace(components=components), state
