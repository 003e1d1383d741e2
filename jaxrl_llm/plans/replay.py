"""Earlier groups in place of those that have no signal."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group as group_lib
from jaxrl_llm.plans import kept
from jaxrl_llm.plans.base import Contract, Plan


@functools.partial(jax.jit, static_argnames=('most', 'power'))
def _places(held, place, magnitude, key, *, most, power):
  """Which groups are learned from, and where the fresh ones are kept.

  Args:
    held: f32[C], magnitudes of the groups that are kept, 0 of none.
    place: i32[], where the next one is kept. magnitude: f32[B], of the fresh.
    most: groups replaced at most. power: of the weights.

  Returns:
    i32[B], into the fresh groups and the kept ones behind them, and i32[B], C
    for nowhere; both as of `kept.exchanged`.
  """
  size, count = len(held), len(magnitude)
  there = held > 0
  weight = power * jnp.log(jnp.where(there, held, 1.0))
  noisy = jnp.where(there, weight + jax.random.gumbel(key, (size,)), -jnp.inf)
  order = jnp.argsort(-noisy)
  dead = magnitude == 0
  turn = jnp.cumsum(dead) - 1
  replayed = dead & (turn < jnp.minimum(most, jnp.sum(there)))
  drawn = count + order[jnp.clip(turn, 0, size - 1)]
  before = jnp.cumsum(~dead) - 1
  stays = ~dead & (before >= jnp.sum(~dead) - size)
  return (
    jnp.where(replayed, drawn, jnp.arange(count)),
    jnp.where(stays, (place + before) % size, size),
  )


@dataclasses.dataclass(frozen=True)
class SelectiveBuffer(Plan):
  """Groups without a signal give way to earlier ones that had one.

  Groups are drawn without replacement from a first-in-first-out buffer, with
  probability in proportion to (sum of their GRPO |advantages|)^power. They
  carry the log-probs of the policy that sampled them, so an objective that
  weighs by `sampler_logp` corrects for their age.

  Attributes:
    samples: rows of a group. capacity: groups remembered.
    share: of an iteration's groups that may be replays. power: tau.

  Raises:
    ValueError: the sampler gives extras whose shape is not known beforehand.

  Source: Selective Sample Buffer, Skywork R1V2, arXiv 2504.16656, section
    3.3, reconstructed from the abstract: sizes are ours, and whole groups are
    kept, for single rows have nothing to be compared with.
  """

  samples: int = 8
  capacity: int = 64
  share: float = 0.5
  power: float = 1.0

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True)

  def init(self, spec):
    return {
      'rows': kept.blank(spec, self.capacity, self.samples),
      'magnitude': jnp.zeros(self.capacity),
      'place': jnp.int32(0),
    }

  def collect(self, tools, prompts, state, key):
    sample_key, draw_key = jax.random.split(key)
    rollouts = tools.generate(prompts, sample_key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    advantages = group_lib.norm(scores.total, rollouts.group, rollouts.valid)
    magnitude = numerics.group_sum(
      jnp.abs(advantages), rollouts.group, rollouts.valid
    )[:: self.samples]
    groups, held = len(magnitude), state['magnitude']
    most = int(self.share * groups)
    index, place = _places(
      held, state['place'], magnitude, draw_key, most=most, power=self.power
    )
    rollouts, scores, rows = kept.mixed(
      rollouts, scores, state['rows'], index, place, samples=self.samples
    )
    tools.note('plan/replayed', int(jnp.sum(index >= groups)))
    state = {
      'rows': rows,
      'magnitude': held.at[place].set(magnitude, mode='drop'),
      'place': (state['place'] + jnp.sum(magnitude != 0)) % self.capacity,
    }
    return rollouts, scores, state
