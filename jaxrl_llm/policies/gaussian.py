"""Actions drawn from a normal distribution around a network's answer.

    a ~ N(mean(s), diag(exp(log_std))^2)

The density is that of the action as drawn: an environment with bounds clips
what it is given, and the policy does not know.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm.policies import network
from jaxrl_llm.policies.protocol import Param
from jaxrl_llm.types import Rollouts, Stats

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """A Gaussian policy on vectors, with a critic where one is asked for.

  Attributes:
    observation: numbers of an observation. action: of an action.
    widths: of the hidden layers of policy and critic.
    log_std: initial log of the spread of every action.
    critic: whether there is a network for values.
  """

  observation: int
  action: int
  widths: tuple[int, ...] = (32, 32)
  log_std: float = -0.5
  critic: bool = True

  @property
  def gives(self):
    values = {'values'} if self.critic else set()
    return frozenset({'entropy'} | values)

  def table(self):
    hidden = (self.observation, *self.widths)
    spread = jax.nn.initializers.constant(self.log_std)
    found = {
      **network.table('mean', (*hidden, self.action), last=0.01),
      ('log_std',): Param((self.action,), (None,), spread),
    }
    if self.critic:
      found |= network.table('value', (*hidden, 1))
    return found

  def act(self, params, observation, legal, keys):
    del legal
    mean = network.apply(params['mean'], observation)
    draw = jax.vmap(lambda key: jax.random.normal(key, (self.action,)))
    action = mean + jnp.exp(params['log_std']) * draw(keys)
    return action, self._logp(params, mean, action)

  def mode(self, params, observation):
    """The most probable action, [N, action]."""
    return network.apply(params['mean'], observation)

  def score(self, params, rollouts: Rollouts, needs=frozenset()) -> Stats:
    """Log-densities, entropies and values of every step.

        log N(a; mean, std) = sum_j -z_j^2 / 2 - log std_j - log(2 pi) / 2
        H = sum_j log std_j + log(2 pi e) / 2

    Args:
      rollouts: with `Transitions` of observations f32[N, T, o] and actions
        f32[N, T, a].
      needs: 'values' adds those of every state, and of the last one of rows
        that were cut off.
    """
    content = rollouts.content
    mean = network.apply(params['mean'], content.observation)
    entropy = jnp.sum(params['log_std'] + 0.5 + _HALF_LOG_TAU)
    logp = self._logp(params, mean, content.action)
    found = Stats(logp, jnp.broadcast_to(entropy, logp.shape))
    if 'values' not in needs:
      return found
    return found.replace(
      values=network.apply(params['value'], content.observation)[..., 0],
      last_value=jnp.where(
        rollouts.truncated,
        network.apply(params['value'], content.final)[..., 0],
        0.0,
      ),
    )

  def _logp(self, params, mean, action):
    log_std = params['log_std']
    z = (action - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * z**2 - log_std - _HALF_LOG_TAU, axis=-1)
