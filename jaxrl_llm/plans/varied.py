"""Responses whose tokens are sampled hotter where the policy is unsure."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Varied(Plan):
  """Independent responses whose temperature follows each token's entropy.

      temperature_t = temperature (1 + swing h_t)

  h is `numerics.entropy_rank` on the scale of the iteration before, 0 in the
  first. Log-probs are the policy's at the run's temperature.

  Attributes:
    samples: rows of a group. swing: in [0, 1).
    quantile: of entropies, from which on tokens are sampled hotter.

  Source: HAPO, arXiv 2509.16591, and its published code, whose temperature is
    `temperature_tau` apart.
  """

  samples: int = 8
  swing: float = 0.05
  quantile: float = 0.8

  @property
  def contract(self):
    return Contract(self.samples)

  def init(self, spec):
    del spec
    return numerics.EntropyScale(*[jnp.float32(0)] * 3)

  def collect(self, tools, prompts, state, key):
    rollouts, entropy = tools.varied(
      prompts, key, self.samples, swing=self.swing, scale=state
    )
    scale = numerics.entropy_scale(
      entropy, rollouts.action_mask, quantile=self.quantile
    )
    return *tools.verify(rollouts), scale
