"""Temperatures other than the run's, by row."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import exploration
from jaxrl_llm.plans import prefixes
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Tempered(Plan):
  """Groups whose last rows are sampled at another temperature.

  It is `exploration.steering_temperature` of the mean -log-prob of the own
  tokens of the iteration before, 0 at first. The extra `tempered` bool[N]
  marks these rows; their log-probs are the policy's at the run's temperature.

  Attributes:
    samples: rows of a group. count: of which are tempered.
    target: nats per token. hot, cold: temperatures.

  Raises:
    ValueError: no row of the policy's own, or none that is tempered.

  Source: AEPO, arXiv 2510.08141, which tempers rows of a quarter of the
    prompts and lets their successes replace others.
  """

  samples: int = 10
  count: int = 2
  target: float = 0.3
  hot: float = 1.2
  cold: float = 0.8

  def __post_init__(self):
    if not 0 < self.count < self.samples:
      raise ValueError(
        f'{self.count} tempered rows of {self.samples} leave one kind '
        'without a row; use 1 or more, and fewer than samples'
      )

  @property
  def contract(self):
    return Contract(self.samples, provides={'tempered'})

  def init(self, spec):
    del spec
    return jnp.float32(0)

  def collect(self, tools, prompts, state, key):
    plain, other = jax.random.split(key)
    heat = exploration.steering_temperature(
      state, self.target, hot=self.hot, cold=self.cold
    )
    own = tools.generate(prompts, plain, self.samples - self.count)
    rest = tools.tempered(prompts, other, self.count, float(heat))

    rollouts = prefixes.together(prompts.tokens.shape[0], own, rest)
    place = jnp.arange(rollouts.valid.shape[0]) % self.samples
    tempered = place >= self.samples - self.count
    extras = {**rollouts.extras, 'tempered': tempered}
    tools.note('plan/temperature', float(heat))
    entropy = numerics.masked_mean(-own.logp, own.action_mask)
    scored = tools.verify(rollouts.replace(extras=extras))
    return *scored, entropy


def tempered(
  *,
  samples: int = 10,
  count: int = 2,
  target: float = 0.3,
  hot: float = 1.2,
  cold: float = 0.8,
) -> Tempered:
  """Groups whose last rows are sampled hotter or colder."""
  return Tempered(samples, count, target, hot, cold)
