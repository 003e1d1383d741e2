"""A plan that keeps what taught something and shows it again.

Replayed rows carry the log-probs of the policy that sampled them, so an
objective that weighs by `sampler_logp` corrects for their age.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group as group_lib
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Tokens

_FIELDS = (
  'content',
  'response_mask',
  'action_mask',
  'logp',
  'paid',
  'task',
  'domain',
  'valid',
  'truncated',
)


def _columns(rollouts, components):
  """{name: [N, ...]}: what is kept of each row."""
  columns = {name: getattr(rollouts, name) for name in _FIELDS}
  return columns | dict(rollouts.extras) | {'components': components}


@functools.partial(jax.jit, static_argnames=('most', 'power'))
def _mix(buffer, rows, magnitude, key, *, most, power):
  """Dead groups replaced by drawn ones, and live ones remembered.

  Args:
    buffer: {'rows': [C, G, ...], 'magnitude': f32[C], 'place': i32[]}.
    rows: [B, G, ...]. magnitude: f32[B], sum of |A| of each group.
    most: groups replaced at most. power: of the weights.

  Returns:
    rows with replays in place of dead groups, the new buffer, and the number
    of replays.
  """
  size = buffer['magnitude'].shape[0]
  held = buffer['magnitude'] > 0
  weight = power * jnp.log(jnp.where(held, buffer['magnitude'], 1.0))
  noisy = jnp.where(held, weight + jax.random.gumbel(key, (size,)), -jnp.inf)
  order = jnp.argsort(-noisy)
  dead = magnitude == 0
  turn = jnp.cumsum(dead) - 1
  replayed = dead & (turn < jnp.minimum(most, jnp.sum(held)))
  source = order[jnp.clip(turn, 0, size - 1)]

  def choose(kept, fresh):
    where = replayed.reshape((-1,) + (1,) * (fresh.ndim - 1))
    return jnp.where(where, kept[source], fresh)

  mixed = jax.tree.map(choose, buffer['rows'], rows)
  live = ~dead
  before = jnp.cumsum(live) - 1
  stays = live & (before >= jnp.sum(live) - size)
  place = jnp.where(stays, (buffer['place'] + before) % size, size)

  def remember(kept, fresh):
    return kept.at[place].set(fresh, mode='drop')

  buffer = {
    'rows': jax.tree.map(remember, buffer['rows'], rows),
    'magnitude': remember(buffer['magnitude'], magnitude),
    'place': (buffer['place'] + jnp.sum(live)) % size,
  }
  return mixed, buffer, jnp.sum(replayed)


@dataclasses.dataclass(frozen=True)
class SelectiveBuffer(Plan):
  """Plan: groups without a signal give way to earlier ones that had one.

  Groups are drawn without replacement from a first-in-first-out buffer, with
  probability in proportion to (sum of their GRPO |advantages|)^power.

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
    def empty(dtype, *shape):
      return jnp.zeros((self.capacity, self.samples, *shape), dtype)

    prompt, response = spec.prompt_length, spec.response_length
    rows = {
      'content': Tokens(
        prompt=empty(jnp.int32, prompt),
        prompt_mask=empty(bool, prompt),
        response=empty(jnp.int32, response),
      ),
      'response_mask': empty(bool, response),
      'action_mask': empty(bool, response),
      'logp': empty(jnp.float32, response),
      'paid': empty(jnp.float32, response),
      'task': empty(jnp.int32),
      'domain': empty(jnp.int32),
      'valid': empty(bool),
      'truncated': empty(bool),
      'log_mass': empty(jnp.float32, response),
      'components': empty(jnp.float32, spec.components),
    }
    return {
      'rows': rows,
      'magnitude': jnp.zeros(self.capacity),
      'place': jnp.int32(0),
    }

  def collect(self, tools, prompts, state, key):
    sample_key, draw_key = jax.random.split(key)
    rollouts = tools.generate(prompts, sample_key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    unknown = sorted(rollouts.extras.keys() - state['rows'].keys())
    if unknown:
      raise ValueError(
        f'the buffer cannot keep {unknown} of earlier responses; sample '
        'without them (sample.support = 0)'
      )
    rewards = scores.components @ scores.weights
    advantages = group_lib.norm(rewards, rollouts.group, rollouts.valid)
    magnitude = numerics.group_sum(
      jnp.abs(advantages), rollouts.group, rollouts.valid
    )[:: self.samples]
    groups = magnitude.shape[0]
    rows = jax.tree.map(
      lambda x: x.reshape(groups, self.samples, *x.shape[1:]),
      _columns(rollouts, scores.components),
    )
    mixed, state, count = _mix(
      state,
      rows,
      magnitude,
      draw_key,
      most=int(self.share * groups),
      power=self.power,
    )
    mixed = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), mixed)
    components = mixed.pop('components')
    tools.note('plan/replayed', int(count))
    rollouts = rollouts.replace(
      **{name: mixed.pop(name) for name in _FIELDS}, extras=mixed
    )
    return rollouts, scores.replace(components=components), state
