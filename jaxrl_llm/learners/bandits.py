"""Learners of bandits: which of K arms to pull, by the rewards so far.

They ignore what they observe, and act deterministically (`UCB1`) or by a draw
from the posterior, one for each row. An action outside [0, K) is no pull and
changes nothing.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.environments.base import Discrete, row_keys


@dataclasses.dataclass(frozen=True)
class UCB1:
  """The arm with the largest upper confidence bound of its mean.

      a = argmax_k mean_k + scale sqrt(2 log(n) / n_k)

  n_k are the pulls of the arm and n those of all; an arm without a pull comes
  first, and the first of equal arms. Its regret after n pulls of arms with
  gaps D_k, for rewards in [0, 1], is at most

      sum_{k: D_k > 0} 8 log(n) / D_k + (1 + pi^2 / 3) sum_k D_k

  The rows of a step would all follow one bound, so the pulls of earlier rows
  count in n and n_k at once (Desautels et al., JMLR 15, 2014). Their rewards
  are not known yet: the mean is that of earlier steps, 0 where there is none.

  Attributes:
    scale: the range of the rewards.

  Source: Auer, Cesa-Bianchi and Fischer, Finite-time Analysis of the
    Multiarmed Bandit Problem, Machine Learning 47, 2002, figure 1 and theorem
    1, read at second hand.
  """

  scale: float = 1.0

  def init(self, spec, key):
    del key
    return _nothing(spec)

  def bounds(self, state, pulls):
    """f32[K]: upper confidence bounds, given i32[K] pulls known or pending."""
    mean = numerics.safe_divide(state['total'], state['count'])
    time = jnp.log(jnp.maximum(jnp.sum(pulls), 1).astype(jnp.float32))
    width = self.scale * jnp.sqrt(2 * time / jnp.maximum(pulls, 1))
    return jnp.where(pulls > 0, mean + width, jnp.inf)

  def act(self, state, observation, key):
    del key

    def choose(pulls, _):
      arm = jnp.argmax(self.bounds(state, pulls)).astype(jnp.int32)
      return pulls.at[arm].add(1), arm

    rows = observation.shape[0]
    return jax.lax.scan(choose, state['count'], length=rows)[1], state

  def update(self, state, observation, action, outcome):
    del observation
    return _counted(state, action, outcome.reward)


@dataclasses.dataclass(frozen=True)
class BetaThompson:
  """An arm by the chance that it is the best, for rewards of 0 or 1.

      theta_k ~ Beta(1 + S_k, 1 + F_k)        a = argmax_k theta_k

  S_k and F_k are the arm's successes and failures: the posterior of a uniform
  prior. A reward between 0 and 1 counts as that share of a success.

  Source: Agrawal and Goyal, Analysis of Thompson Sampling for the Multi-armed
    Bandit Problem, COLT 2012, recalled. There a reward between 0 and 1 is
    first turned into a coin of that chance.
  """

  def init(self, spec, key):
    del key
    return _nothing(spec)

  def act(self, state, observation, key):
    won = state['total']
    lost = state['count'] - won

    def sample(key):
      return jax.random.beta(key, 1 + won, 1 + lost)

    return _best_of_draws(sample, observation, key), state

  def update(self, state, observation, action, outcome):
    del observation
    return _counted(state, action, outcome.reward)


@dataclasses.dataclass(frozen=True)
class GaussianThompson:
  """An arm by the chance that it is the best, for normal rewards.

      theta_k ~ N(m_k, v_k)        a = argmax_k theta_k
      1 / v_k = 1 / prior_spread^2 + n_k / spread^2
      m_k = v_k (prior_mean / prior_spread^2 + sum of rewards / spread^2)

  the posterior of a normal prior. With the defaults m = sum / (n + 1) and
  v = 1 / (n + 1), which is good for any rewards in [0, 1].

  Attributes:
    spread: of the rewards of an arm. prior_mean, prior_spread: of the mean.

  Source: Agrawal and Goyal, Near-optimal Regret Bounds for Thompson Sampling,
    Journal of the ACM 64, 2017, has the defaults; read at second hand.
  """

  spread: float = 1.0
  prior_mean: float = 0.0
  prior_spread: float = 1.0

  def init(self, spec, key):
    del key
    return _nothing(spec)

  def posterior(self, state):
    """Means and standard deviations, f32[K] each."""
    prior = self.prior_spread**-2
    precision = prior + state['count'] * self.spread**-2
    known = self.prior_mean * prior + state['total'] * self.spread**-2
    return known / precision, precision**-0.5

  def act(self, state, observation, key):
    mean, spread = self.posterior(state)

    def sample(key):
      return mean + spread * jax.random.normal(key, mean.shape)

    return _best_of_draws(sample, observation, key), state

  def update(self, state, observation, action, outcome):
    del observation
    return _counted(state, action, outcome.reward)


def _nothing(spec):
  """No pulls of any arm, and no rewards."""
  if not isinstance(spec.action, Discrete):
    raise ValueError(
      f'a bandit chooses among a number of arms, and the actions here are '
      f'{spec.action}; use another learner'
    )
  arms = spec.action.count
  return {
    'count': jnp.zeros(arms, jnp.int32),
    'total': jnp.zeros(arms, jnp.float32),
  }


def _counted(state, action, reward):
  """The state after the pulls of all rows."""
  arms = state['count'].shape[0]
  # A negative index would count from the end.
  arm = jnp.where(action < 0, arms, action)
  return {
    'count': state['count'].at[arm].add(1, mode='drop'),
    'total': state['total'].at[arm].add(reward, mode='drop'),
  }


def _best_of_draws(sample, observation, key):
  """i32[N]: of a draw f32[K] for each row, the arm of the largest."""
  rows = jnp.arange(observation.shape[0])
  drawn = jax.vmap(sample)(row_keys(key, rows))
  return jnp.argmax(drawn, axis=1).astype(jnp.int32)
