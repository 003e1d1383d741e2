"""One of a few actions, by a table of log-odds or by a network of them."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm import digests
from jaxrl_llm.policies import network
from jaxrl_llm.policies.protocol import Param
from jaxrl_llm.types import Rollouts, Stats

# Of what may not be done. Finite, so that gradients stay finite.
_ILLEGAL = -1e30


@dataclasses.dataclass(frozen=True)
class Categorical:
  """A softmax over the legal actions of each state, all uniform at first.

  Attributes:
    states: S. actions: A.
    critic: whether there is a table of values.
  """

  states: int
  actions: int
  critic: bool = True

  @property
  def gives(self):
    values = {'values'} if self.critic else set()
    return frozenset({'entropy', 'log_probs'} | values)

  def table(self):
    zeros = jax.nn.initializers.zeros
    found = {
      ('logits',): Param((self.states, self.actions), (None, None), zeros)
    }
    if self.critic:
      found['value',] = Param((self.states,), (None,), zeros)
    return found

  def log_probs(self, params, observation, legal=None):
    """f32[..., A] of states i32[...]."""
    logits = params['logits'][observation]
    if legal is not None:
      logits = jnp.where(legal, logits, _ILLEGAL)
    return jax.nn.log_softmax(logits)

  def values(self, params, observation):
    """f32[...] of states i32[...]."""
    return params['value'][observation]

  def act(self, params, observation, legal, keys):
    rows = self.log_probs(params, observation, legal)
    action = jax.vmap(jax.random.categorical)(keys, rows)
    return action, _at(rows, action)

  def mode(self, params, observation, legal=None):
    """The most probable action, i32[N]."""
    return jnp.argmax(self.log_probs(params, observation, legal), axis=-1)

  def score(self, params, rollouts: Rollouts, needs=frozenset()) -> Stats:
    """Log-probs, entropies and values of every step.

    Args:
      rollouts: with `Transitions` of states i32[N, T], actions i32[N, T] and
        what was legal.
      needs: 'log_probs' adds whole rows, 'values' those of every state, and of
        the last one of rows that were cut off.
    """
    content = rollouts.content
    rows = self.log_probs(params, content.observation, content.legal)
    chance = jnp.exp(rows)
    # What has no chance has no share in the entropy, though its log is huge.
    entropy = -jnp.sum(jnp.where(chance > 0, chance * rows, 0.0), axis=-1)
    found = Stats(_at(rows, content.action), entropy)
    if 'log_probs' in needs:
      found = found.replace(log_probs=rows)
    seen = digests.seen(rollouts, content.action)
    found = found.replace(digests=digests.made(needs, rows, seen))
    if 'values' in needs:
      last = self.values(params, content.final)
      cut = rollouts.truncated.reshape(-1, *(1,) * (last.ndim - 1))
      found = found.replace(
        values=self.values(params, content.observation),
        last_value=jnp.where(cut, last, 0.0),
      )
    return found


@dataclasses.dataclass(frozen=True)
class Softmax(Categorical):
  """The same over what is seen of a state: the log-odds are a network's.

  Attributes:
    states: numbers of an observation, f32[..., states].
    widths: of the hidden layers of policy and critic.
    answers: the shape of what the critic answers; () is a number.
  """

  widths: tuple[int, ...] = (32, 32)
  answers: tuple[int, ...] = ()

  def table(self):
    hidden = (self.states, *self.widths)
    found = {**network.table('logits', (*hidden, self.actions), last=0.01)}
    if self.critic:
      outputs = math.prod(self.answers)
      found |= network.table('value', (*hidden, outputs))
    return found

  def read(self, params, name, observation):
    """f32[..., outputs]: what one of its two networks says."""
    return network.apply(params[name], observation)

  def log_probs(self, params, observation, legal=None):
    """f32[..., A] of observations."""
    logits = self.read(params, 'logits', observation)
    if legal is not None:
      logits = jnp.where(legal, logits, _ILLEGAL)
    return jax.nn.log_softmax(logits)

  def values(self, params, observation):
    """f32[..., *answers] of observations."""
    said = self.read(params, 'value', observation)
    return said.reshape(*said.shape[:-1], *self.answers)


def _at(rows, action):
  return jnp.take_along_axis(rows, action[..., None], axis=-1)[..., 0]
