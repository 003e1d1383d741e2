"""Groups that are answered hotter or colder than the others."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import exploration
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Tempered(Plan):
  """Prompts of which the last are answered at another temperature.

  It is the run's times `exploration.steering_temperature` of the mean -log-prob
  of the own tokens of the iteration before, 0 at first. The extra `heat` f32[N]
  is that factor in these rows, whose log-probs are the policy's at the run's
  temperature, and 1 in the others.

  Attributes:
    samples: rows of a group. share: of the prompts, rounded, and at least one.
    target: nats per token. hot, cold: factors of the run's temperature.

  Raises:
    ValueError: no prompt that is answered as usual, or none otherwise.

  Source: AEPO, arXiv 2510.08141.
  """

  samples: int = 8
  share: float = 0.2
  target: float = 0.3
  hot: float = 1.2
  cold: float = 0.8

  @property
  def contract(self):
    return Contract(self.samples, provides={'heat'})

  def init(self, spec):
    del spec
    return jnp.float32(0)

  def collect(self, tools, prompts, state, key):
    plain, other = jax.random.split(key)
    count = self.tempered(prompts.tokens.shape[0])
    heat = exploration.steering_temperature(
      state, self.target, hot=self.hot, cold=self.cold
    )
    first = jax.tree.map(lambda x: x[:-count], prompts)
    last = jax.tree.map(lambda x: x[-count:], prompts)
    own = tools.generate(first, plain, self.samples)
    rest = tools.tempered(last, other, self.samples, float(heat))

    rollouts = jax.tree.map(lambda *x: jnp.concatenate(x), own, rest)
    rows = jnp.arange(rollouts.valid.shape[0], dtype=jnp.int32)
    heats = jnp.where(rows < own.valid.shape[0], 1.0, heat)
    rollouts = rollouts.replace(group=rows // self.samples)
    rollouts = rollouts.with_extras(heat=heats)
    tools.note('plan/temperature', float(heat))
    entropy = numerics.masked_mean(-own.logp, own.action_mask)
    return *tools.verify(rollouts), entropy

  def tempered(self, prompts: int) -> int:
    """How many of so many prompts are answered at another temperature."""
    count = max(1, round(self.share * prompts))
    if not 0 < count < prompts:
      raise ValueError(
        f'a share of {self.share} of {prompts} prompts leaves one kind without '
        'a prompt; use more prompts, or a share between 0 and 1'
      )
    return count
