"""Baselines that come from outside the group.

    refine            f(advantages f32[N, T], rollouts) -> f32[N, T]
    estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]

A baseline that does not depend on the row's own response leaves the policy
gradient unbiased.
"""

from __future__ import annotations

import dataclasses

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.credit import earned
from jaxrl_llm.digests import Digest, at
from jaxrl_llm.reads import reads


@reads('greedy_reward')
def minus_greedy(advantages, rollouts):
  """The return minus the reward of the greedy response to the same prompt.

      A_t = q_t + ... + q_T - r(greedy)

  Args:
    advantages: f32[N, T], returns. rollouts: reads the extra `greedy_reward`
      f32[N], equal for the rows of a prompt.

  Returns:
    f32[N, T], reward units; 0 where a row earns what the greedy one does.

  Source: ReMax, arXiv 2310.10505, equation 8.
  """
  return advantages - rollouts.extras['greedy_reward'][:, None]


@reads('predicted_reward')
def minus_predicted(rewards, rollouts):
  """The reward minus what a frozen predictor expects of the prompt.

      A_i = r_i - V_0(prompt_i)

  Args:
    rewards: f32[N]. rollouts: reads the extra `predicted_reward` f32[N].

  Returns:
    f32[N, T], reward units, the same for every token.

  Source: V_0, arXiv 2602.03584, section 3.
  """
  advantages = rewards - rollouts.extras['predicted_reward']
  return jnp.broadcast_to(advantages[:, None], rollouts.response_mask.shape)


def energy(log_probs, seen):
  """|e_a - pi|^2 = 1 - 2 pi_a + sum_v pi_v^2 of each token a, [..., 1]."""
  chance = jnp.exp(at(log_probs, seen.token))
  collision = jnp.sum(jnp.exp(2 * log_probs), axis=-1)
  return (1 - 2 * chance + collision)[..., None]


ENERGY = Digest(energy).old


@reads(ENERGY)
def centre_by_energy(rewards, rollouts):
  """The return minus the baseline of least variance at each position.

      A_it = G_it - sum_j W_jt G_jt / sum_j W_jt,   j the group's rows at t
      W_jt = sum_{u <= t} |e_{a_u} - pi_u|^2

  W is how much a row's score function can be by then, up to the model's own
  slopes: rows of unlikely tokens say most about where the baseline should be.

  Args:
    rewards: f32[N]. rollouts: reads the extra `ENERGY`; G is what is earned
      from a token on.

  Returns:
    f32[N, T], reward units. Where a row is the only one that is so long, its
    return is its baseline; a row alone in its group keeps its return.

  Source: Optimal Token Baseline, arXiv 2602.07078; verl's
    `optimal_token_baseline`.
  """
  mask, group = rollouts.loss_mask, rollouts.group
  returns = numerics.discounted_sum(earned(rewards, rollouts), mask)
  here = jnp.where(mask, rollouts.extras[ENERGY][..., 0], 0.0)
  weight = jnp.where(mask, jnp.cumsum(here, axis=1), 0.0)
  live = rollouts.valid & jnp.any(mask, axis=1)
  total = numerics.group_sum(weight, group, live)
  mean = numerics.group_sum(weight * returns, group, live)
  several = numerics.group_count(group, live) > 1
  baseline = jnp.where(several[:, None], numerics.safe_divide(mean, total), 0.0)
  return jnp.where(mask, returns - baseline, 0.0)


@reads('agent')
@dataclasses.dataclass(frozen=True)
class RoleBaseline:
  """Stage: reward minus a running mean of its role's rewards.

      A_i = r_i - b[role_i],   read before   b <- decay b + (1 - decay) mean r

  over the iteration's rows of each role; it begins at 0. In a game of unlike
  sides each is so compared with what its side usually earns.

  Attributes:
    decay: of b, in [0, 1). roles: how many there are.

  Source: role-conditioned advantage estimation, SPIRAL, arXiv 2506.24119, at
    second hand.
  """

  decay: float = 0.95
  roles: int = 2

  def init(self, spec):
    del spec
    return jnp.zeros(self.roles)

  def update(self, credit, rollouts, state):
    role, valid = rollouts.extras['agent'], rollouts.valid
    row = jnp.where(valid, credit.rewards - state[role], 0.0)
    advantages = jnp.where(rollouts.loss_mask, row[:, None], 0.0)
    rows = jnp.zeros(self.roles).at[role].add(valid * 1.0)
    total = (
      jnp.zeros(self.roles).at[role].add(jnp.where(valid, credit.rewards, 0.0))
    )
    mean = numerics.safe_divide(total, rows)
    moved = self.decay * state + (1 - self.decay) * mean
    return credit.replace(advantages=advantages), jnp.where(
      rows > 0, moved, state
    )


@reads('old_logp', 'ref_logp')
@dataclasses.dataclass(frozen=True)
class RunningScore:
  """Stage: the mean score of all responses so far, in an advantage's place.

      h_i = sum_t m_t (old_logp_t - ref_logp_t),   A_it = mean of h so far

  over the rows of this iteration and of all before. It is the reference point
  of `objectives.unary.classified`; without a row it stays.

  Source: BCO, arXiv 2404.04656; TRL's `BCOTrainer`, before its beta.
  """

  def init(self, spec):
    del spec
    return {'sum': jnp.float32(0), 'count': jnp.float32(0)}

  def update(self, credit, rollouts, state):
    mask, extras = rollouts.loss_mask, rollouts.extras
    h = numerics.masked_sum(
      extras['old_logp'] - extras['ref_logp'], mask, axis=1
    )
    live = jnp.any(mask, axis=1)
    state = {
      'sum': state['sum'] + numerics.masked_sum(h, live),
      'count': state['count'] + jnp.sum(live),
    }
    point = numerics.safe_divide(state['sum'], state['count'])
    return credit.replace(advantages=jnp.where(mask, point, 0.0)), state


def _visited(task, valid, tasks):
  """f32[A]: how many valid rows each task has."""
  return jnp.zeros(tasks).at[task].add(valid * 1.0)


def _mean_of_task(rollouts, name, rows):
  """f32[A]: the mean of an extra over the `rows` f32[A] of each task."""
  extra = jnp.where(rollouts.valid, rollouts.extras[name], 0)
  total = jnp.zeros(rows.shape).at[rollouts.task].add(extra)
  return numerics.safe_divide(total, rows)


@dataclasses.dataclass(frozen=True)
class BetaTracker:
  """Stage: reward minus a per-task value that is tracked over iterations.

      A_i = r_i - v      v = success / (success + failure), read before
      success <- keep success + sum r      failure <- keep failure + sum 1 - r
      keep = clip(2^(-D / half_life), keep_low, keep_high)

  D is the drift of the policy since the task was last visited: the mean
  |change of log-prob| over the tokens of its last response, in nats. It is
  read from the extra `drift` f32[N], 0 on the first visit; with keep_low =
  keep_high it is not needed. Rows of one task are added together, with their
  mean drift.

  A task nobody has seen has the mass 1 / (1 - keep_low), to which a constant
  `keep` tends, and v = 1/2, or what `count` earlier responses to it say:

      v = (count rate + 1/2) / (count + 1)

  with the extra `first_rate` f32[N], the share of them that was right.

  Attributes:
    half_life: D_half, nats. keep_low, keep_high: bounds of the memory kept.
    count: of the earlier responses; 0 for none, and nothing to read.

  Raises:
    ValueError: bounds out of order or outside [0, 1).

  Source: Single-stream Policy Optimization, arXiv 2509.13232, section 3.1,
    and its code, which without earlier responses begins with a mass of 1.
  """

  half_life: float = 0.06
  keep_low: float = 0.875
  keep_high: float = 0.96
  count: int = 0

  def __post_init__(self):
    if not 0 <= self.keep_low <= self.keep_high < 1:
      raise ValueError(
        f'keep_low = {self.keep_low:g} and keep_high = {self.keep_high:g} '
        'must satisfy 0 <= keep_low <= keep_high < 1'
      )

  @property
  def reads(self) -> frozenset[str]:
    read = {'drift': not self._constant, 'first_rate': self.count > 0}
    return frozenset(name for name, needed in read.items() if needed)

  @property
  def _constant(self) -> bool:
    return self.keep_low == self.keep_high

  def init(self, spec):
    # Nothing counted means not seen yet.
    half = 0.0 if self.count else 0.5 / (1 - self.keep_low)
    counts = jnp.full(spec.tasks, half, jnp.float32)
    return {'success': counts, 'failure': counts}

  def update(self, credit, rollouts, state):
    rewards, task, valid = credit.rewards, rollouts.task, rollouts.valid
    chex.assert_equal_shape([rewards, task, valid])
    if self.count:
      state = self._begun(rollouts, state)
    total = state['success'] + state['failure']
    value = numerics.safe_divide(state['success'], total)[task]
    advantages = jnp.where(valid, rewards - value, 0)[:, None]
    advantages = jnp.where(rollouts.loss_mask, advantages, 0)

    tasks = total.shape[0]
    rows = _visited(task, valid, tasks)
    keep = jnp.where(rows > 0, self._keep(rollouts, rows), 1.0)

    def add(old, amount):
      amount = jnp.where(valid, amount, 0)
      return (keep * old).at[task].add(amount)

    state = {
      'success': add(state['success'], rewards),
      'failure': add(state['failure'], 1 - rewards),
    }
    return credit.replace(advantages=advantages), state

  def _begun(self, rollouts, state):
    """The state, in which tasks that come first have what they start with."""
    total = state['success'] + state['failure']
    rows = _visited(rollouts.task, rollouts.valid, total.shape[0])
    rate = _mean_of_task(rollouts, 'first_rate', rows)
    mass = 1 / (1 - self.keep_low)
    right = mass * (self.count * rate + 0.5) / (self.count + 1)
    first = (total == 0) & (rows > 0)
    return {
      'success': jnp.where(first, right, state['success']),
      'failure': jnp.where(first, mass - right, state['failure']),
    }

  def _keep(self, rollouts, rows):
    """f32[A]: the share of its memory each visited task keeps."""
    if self._constant:
      return jnp.full(rows.shape, self.keep_low)
    drift = _mean_of_task(rollouts, 'drift', rows)
    return jnp.clip(
      jnp.exp2(-drift / self.half_life), self.keep_low, self.keep_high
    )
