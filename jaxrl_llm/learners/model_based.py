"""A learner that acts by what it imagines with a model of its environment."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl_llm.environments.base import Box
from jaxrl_llm.learners import model_errors
from jaxrl_llm.types import Array, PyTree

# The bounds of the log of an action's spread, as published.
_LOG_STD = (-5.0, 2.0)


class Kept(struct.PyTreeNode):
  """Transitions, [capacity, ...] each, the oldest overwritten.

  Attributes:
    observation, action, reward: actions in [-1, 1].
    after: what was seen next. known: bool, it was. open: bool, it may yet be.
  """

  observation: Array
  action: Array
  reward: Array
  after: Array
  known: Array
  open: Array


class State(struct.PyTreeNode):
  """What is known.

  Attributes:
    params: of the model, the critics, the actor, and the log of the
      temperature. targets: averaged critics. moments: of the optimizer.
    kept: transitions. count: of them, i32[]. key: of all that `update` draws.
    mean, spread: f32[n], of the observations kept.
    low, high: f32[], bounds of actions.
  """

  params: PyTree
  targets: PyTree
  moments: PyTree
  kept: Kept
  count: Array
  key: Array
  mean: Array
  spread: Array
  low: Array
  high: Array


@dataclasses.dataclass(frozen=True)
class ModelBased:
  """Soft actor-critic on steps that a learned model imagines.

      s^, r^ = f_k(s, a)                             of `members` models f_k
      model    mean_{k, b} error(s^ - s', dV / ds') + (r^ - r)^2
      V_c(s) = Q_c(s, tanh mean(s))                  of critics and targets
      critics  (Q_c(s, a) - y)^2
      y      = r^ + discount (min_c Qbar_c(s^, a^) - alpha log pi(a^ | s^))
      actor    alpha log pi(a | s) - min_c Q_c(s, a)

  with s of what was seen, a ~ pi and the model f_k drawn for each row. A model
  is fitted to what values depend on: with `model_errors.value_weighted` it is
  VaGraM, with `squared` MBPO.

  Steps are imagined anew for every update, one ahead. A row's last step teaches
  nothing, since nobody sees what followed: environments that end by themselves
  pay for it. Rows keep their order, and spaces are boxes, that of actions with
  bounds.

  Deviates: one Adam for all; models see the same batches and all of them are
  used, without choosing elites; imagined steps are not kept.

  Attributes:
    error: of `model_errors`. quantile: to which slopes are clipped.
    plain: transitions until when `squared` is added, while values mean nothing.
    members, model_widths: of the models. widths: of critics and actor.
    capacity: transitions kept. explore: of them at random, before learning.
    updates: of everything, a step. batch: transitions of each.
    discount, rate, averaging: of values, of Adam, of the targets.

  Source: VaGraM, arXiv 2204.01464, and its published code, in MBPO, arXiv
    1906.08253.
  """

  error: model_errors.Error = model_errors.value_weighted
  quantile: float = 0.95
  plain: int = 1000
  members: int = 7
  model_widths: tuple[int, ...] = (200,) * 4
  widths: tuple[int, ...] = (256, 256)
  capacity: int = 100_000
  explore: int = 1000
  updates: int = 10
  batch: int = 256
  discount: float = 0.99
  rate: float = 3e-4
  averaging: float = 0.005

  def init(self, spec, key):
    seen, done, space = _sizes(spec)
    model, critics, actor, later = jax.random.split(key, 4)
    values = seen + done, *self.widths, 1
    dynamics = seen + done, *self.model_widths, seen + 1
    params = {
      'model': _networks(model, self.members, dynamics),
      'critics': _networks(critics, 2, values),
      'actor': _networks(actor, 1, (seen, *self.widths, 2 * done)),
      'temperature': jnp.log(0.1),
    }
    room = self.capacity
    nothing = Kept(
      observation=jnp.zeros((room, seen)),
      action=jnp.zeros((room, done)),
      reward=jnp.zeros(room),
      after=jnp.zeros((room, seen)),
      known=jnp.zeros(room, bool),
      open=jnp.zeros(room, bool),
    )
    return State(
      params=params,
      targets=params['critics'],
      moments=optax.adam(self.rate).init(params),
      kept=nothing,
      count=jnp.int32(0),
      key=later,
      mean=jnp.zeros(seen),
      spread=jnp.ones(seen),
      low=jnp.float32(space.low),
      high=jnp.float32(space.high),
    )

  def act(self, state, observation, key):
    seen = _standard(state, observation)
    drawn, _ = _drawn(state.params['actor'], seen, key)
    random = jax.random.uniform(key, drawn.shape, minval=-1.0, maxval=1.0)
    unit = jnp.where(state.count < self.explore, random, drawn)
    return state.low + (unit + 1) / 2 * (state.high - state.low), state

  def update(self, state, observation, action, outcome):
    rows = observation.shape[0]
    if 2 * rows > self.capacity:
      raise ValueError(
        f'{rows} rows a step in a capacity of {self.capacity}, where two steps '
        f'must fit; make it at least {2 * rows}'
      )
    state = self._remembered(state, observation, action, outcome)
    key, learning = jax.random.split(state.key)
    state = state.replace(key=key)

    def learn(state):
      keys = jax.random.split(learning, self.updates)
      return jax.lax.scan(
        lambda s, k: (self._learned(s, k), None), state, keys
      )[0]

    ready = state.count > self.explore
    return jax.lax.cond(ready, learn, lambda state: state, state)

  def _remembered(self, state, observation, action, outcome):
    """With these steps kept, and what followed the last ones."""
    kept, rows = state.kept, jnp.arange(observation.shape[0])
    here = (state.count + rows) % self.capacity
    before = (state.count - rows.size + rows) % self.capacity
    unit = 2 * (action - state.low) / (state.high - state.low) - 1
    known = kept.known.at[before].set(kept.open[before])
    kept = Kept(
      observation=kept.observation.at[here].set(observation),
      action=kept.action.at[here].set(jnp.clip(unit, -1, 1)),
      reward=kept.reward.at[here].set(outcome.reward),
      after=kept.after.at[before].set(observation),
      known=known.at[here].set(False),
      open=kept.open.at[here].set(~outcome.ended),
    )
    count = state.count + rows.size
    there = (jnp.arange(self.capacity) < count)[:, None]
    spread = jnp.std(kept.observation, axis=0, where=there)
    return state.replace(
      kept=kept,
      count=count,
      mean=jnp.mean(kept.observation, axis=0, where=there),
      # What never changes keeps its unit.
      spread=jnp.where(spread > 1e-6, spread, 1.0),
    )

  def _learned(self, state, key):
    """After one step of all parameters."""
    drawing, imagining = jax.random.split(key)
    # The last rows are not known yet.
    filled = jnp.minimum(state.count, self.capacity)
    places = jax.random.randint(drawing, (self.batch,), 0, filled)
    batch = jax.tree.map(lambda x: x[places], state.kept)
    grads = jax.grad(self.loss)(state.params, state, batch, imagining)
    steps, moments = optax.adam(self.rate).update(grads, state.moments)
    params = optax.apply_updates(state.params, steps)
    targets = optax.incremental_update(
      params['critics'], state.targets, self.averaging
    )
    return state.replace(params=params, targets=targets, moments=moments)

  def loss(self, params, state, batch, key):
    """f32[]: the sum of the losses of all, each of its own parameters alone."""
    fixed = jax.lax.stop_gradient(params)
    seen = _standard(state, batch.observation)
    drawing, choosing, following = jax.random.split(key, 3)
    action, logp = _drawn(params['actor'], seen, drawing)
    alpha = jnp.exp(fixed['temperature'])
    actor = alpha * logp - jnp.min(_values(fixed['critics'], seen, action), 0)
    action, logp = jax.lax.stop_gradient((action, logp))
    # It rises where the actor is surer than one nat a number.
    wanted = jnp.exp(params['temperature']) * (action.shape[-1] - logp)
    target = self._imagined(fixed, state, batch, action, choosing, following)
    critics = (_values(params['critics'], seen, action) - target) ** 2
    # Each critic is fitted by itself.
    critic = jnp.sum(critics, axis=0)
    return jnp.mean(actor + wanted + critic) + self.model_loss(
      params['model'], state, batch
    )

  def _imagined(self, fixed, state, batch, action, choosing, following):
    """f32[B]: targets of the critics, one step on, each by a model drawn."""
    seen = _standard(state, batch.observation)
    moved, rewards = _moved(fixed['model'], seen, action)
    rows = jnp.arange(len(action))
    chosen = jax.random.randint(choosing, rows.shape, 0, self.members)
    after = _standard(state, batch.observation + moved[chosen, rows])
    then, logp = _drawn(fixed['actor'], after, following)
    value = jnp.min(_values(state.targets, after, then), axis=0)
    value -= jnp.exp(fixed['temperature']) * logp
    return rewards[chosen, rows] + self.discount * value

  def model_loss(self, model, state, batch):
    """f32[]: of the models on what was seen, see the class."""
    seen = _standard(state, batch.observation)
    moved, rewards = _moved(model, seen, batch.action)
    errors = batch.observation + moved - batch.after
    slopes = model_errors.clipped(
      self.slopes(state, batch.after), self.quantile, where=batch.known
    )
    found = self.error(errors, slopes) + (rewards - batch.reward) ** 2
    every = jnp.concatenate(
      [errors, (rewards - batch.reward)[..., None]], axis=-1
    )
    early = state.count < self.plain
    found += jnp.where(early, model_errors.squared(every, slopes), 0.0)
    weight = batch.known / jnp.maximum(jnp.sum(batch.known), 1)
    return jnp.mean(found @ weight)

  def slopes(self, state, states):
    """f32[C, B, n]: dV_c / ds of critics and targets, for f32[B, n]."""
    params = jax.lax.stop_gradient(state.params)

    def value(states, critics):
      seen = _standard(state, states)
      mean, _ = _normal(params['actor'], seen)
      action = jax.lax.stop_gradient(jnp.tanh(mean))
      return _values(critics, seen, action)

    def each(critics):
      # Rows do not know of each other: the slope of the sum is each row's.
      _, back = jax.vjp(lambda states: value(states, critics), states)
      ones = jnp.eye(2)[:, :, None] * jnp.ones(len(states))
      return jax.vmap(lambda one: back(one)[0])(ones)

    return jnp.concatenate([each(params['critics']), each(state.targets)])


def _sizes(spec):
  """Numbers of an observation and of an action, and the space of actions."""
  match spec.observation, spec.action:
    case Box(shape=(seen,)), Box(shape=(done,), low=low, high=high):
      if math.isfinite(low) and math.isfinite(high):
        return seen, done, spec.action
  raise ValueError(
    f'vectors are needed, and actions with bounds; here are '
    f'{spec.observation} and {spec.action}: use another environment'
  )


def _standard(state, observation):
  """In units of the spread of what is kept, around its mean."""
  return (observation - state.mean) / state.spread


def _networks(key, count, sizes) -> PyTree:
  """Parameters of `count` networks, side by side."""
  keys = jax.random.split(key, len(sizes) - 1)
  return [
    {
      'kernel': jax.random.normal(key, (count, rows, columns)) / rows**0.5,
      'bias': jnp.zeros((count, 1, columns)),
    }
    for key, (rows, columns) in zip(keys, itertools.pairwise(sizes))
  ]


def _apply(params, x):
  """f32[count, B, output] of f32[B, input]."""
  for number, layer in enumerate(params):
    x = jax.nn.silu(x) if number else x
    x = x @ layer['kernel'] + layer['bias']
  return x


def _moved(model, seen, action):
  """How far states move f32[K, B, n], and rewards f32[K, B]."""
  found = _apply(model, jnp.concatenate([seen, action], axis=-1))
  return found[..., :-1], found[..., -1]


def _values(critics, seen, action):
  """f32[C, B]."""
  return _apply(critics, jnp.concatenate([seen, action], axis=-1))[..., 0]


def _normal(actor, seen):
  """Mean and log of the spread before tanh, f32[B, a] each."""
  mean, spread = jnp.split(_apply(actor, seen)[0], 2, axis=-1)
  low, high = _LOG_STD
  return mean, low + (high - low) * (jnp.tanh(spread) + 1) / 2


def _drawn(actor, seen, key):
  """Actions f32[B, a] in [-1, 1] and their log-densities f32[B]."""
  mean, log_std = _normal(actor, seen)
  noise = jax.random.normal(key, mean.shape)
  raw = mean + jnp.exp(log_std) * noise
  logp = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
  # log(1 - tanh^2) without the difference of two nearly equal numbers.
  logp -= 2 * (math.log(2) - raw - jax.nn.softplus(-2 * raw))
  return jnp.tanh(raw), jnp.sum(logp, axis=-1)
