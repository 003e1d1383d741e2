"""Curricula that draw by what the policy can still learn from.

    init(spec) -> state
    sample(state, key, n) -> (i32[n] tasks, state)
    update(state, tasks, rewards, valid) -> state

Bandits over domains draw a domain and then one of its tasks, each draw on its
own, so a task may come twice in an iteration.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group as group_lib


def _sums(values, index, where, size):
  """f32[size]: sums of the values that count, by index."""
  return jnp.zeros(size).at[index].add(jnp.where(where, values, 0))


def without_replacement(key, weights, n, *, name):
  """i32[n] distinct indices, drawn one after another by their weights.

  Raises:
    ValueError: fewer weights than draws.
  """
  size = weights.shape[0]
  if n > size:
    raise ValueError(
      f'an iteration draws {n} prompts but the dataset has {size}; {name} '
      f'draws each once: set sample.prompts to at most {size}'
    )
  # The n largest of log w + Gumbel noise are such a draw.
  noisy = jnp.log(weights) + jax.random.gumbel(key, weights.shape)
  return jax.lax.top_k(noisy, n)[1].astype(jnp.int32)


def with_replacement(key, weights, n):
  """i32[n] indices, each drawn on its own by the weights, in one pass.

  Args:
    weights: f32[A] >= 0, not all 0. Chances are multiples of 2^-30, so a
      weight of less than half of that share, and only such, is never drawn.
  """
  # Sums of whole numbers are exact in any order: a weight of 0 has no room.
  shares = jnp.round(weights / jnp.sum(weights) * 2.0**30).astype(jnp.int32)
  ends = jnp.cumsum(shares)
  place = jax.random.randint(key, (n,), 0, ends[-1])
  return jnp.searchsorted(ends, place, side='right').astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Uncertain:
  """Tasks by the spread of a coin with their tracked success rate.

      weight = sqrt(v (1 - v)) + floor      v = success / (success + failure)
      success <- keep success + sum r       failure <- keep failure + sum 1 - r

  without replacement. A task nobody has seen has v = 1/2, or what it is told.

  Attributes:
    keep: memory kept at a visit, in [0, 1). floor: weight of a sure task.
    count: responses that what it is told is of.

  Source: Single-stream Policy Optimization, arXiv 2509.13232, section 3.3;
    its tracker also adapts `keep` to the policy's drift, which a curriculum
    does not see.
  """

  keep: float = 0.875
  floor: float = 0.05
  count: int = 0

  def init(self, spec):
    half = jnp.full(spec.tasks, 0.5 / (1 - self.keep), jnp.float32)
    return {'success': half, 'failure': half}

  def told(self, state, scores):
    """The state with v = (count rate + 1/2) / (count + 1), of rates f[A]."""
    del state
    mass, rate = 1 / (1 - self.keep), jnp.asarray(scores, jnp.float32)
    right = mass * (self.count * rate + 0.5) / (self.count + 1)
    return {'success': right, 'failure': mass - right}

  def weights(self, state):
    total = state['success'] + state['failure']
    value = state['success'] / total
    variance = jnp.maximum(value * (1 - value), 0)
    return jnp.sqrt(variance) + self.floor

  def sample(self, state, key, n):
    weights = self.weights(state)
    return without_replacement(key, weights, n, name='Uncertain'), state

  def update(self, state, tasks, rewards, valid):
    size = state['success'].shape[0]
    rows = _sums(jnp.ones_like(rewards), tasks, valid, size)
    keep = jnp.where(rows > 0, self.keep, 1.0)
    won = _sums(rewards, tasks, valid, size)
    return {
      'success': keep * state['success'] + won,
      'failure': keep * state['failure'] + rows - won,
    }


@dataclasses.dataclass(frozen=True)
class VarianceAware:
  """A share of the draws by scores of the tasks that somebody measures.

      floor(share n) draws with replacement by score, the rest uniform

  Before it is told any, and if all of them are 0, all draws are uniform.

  Attributes:
    share: of the draws, in [0, 1].

  Source: MMR1, arXiv 2509.21268, section 3.1, and its code. The scores are
    those of `plans.measured`.
  """

  share: float = 0.5

  def init(self, spec):
    return jnp.zeros(spec.tasks, jnp.float32)

  def sample(self, state, key, n):
    first, second = jax.random.split(key)
    weighted = int(self.share * n)
    weights = jnp.where(jnp.max(state) > 0, state, 1.0)
    drawn = with_replacement(first, weights, weighted)
    rest = jax.random.randint(second, (n - weighted,), 0, state.shape[0])
    return jnp.concatenate([drawn, rest]).astype(jnp.int32), state

  def update(self, state, tasks, rewards, valid):
    del tasks, rewards, valid
    return state

  def told(self, state, scores):
    """The state with a score >= 0 of every task, f[A]."""
    del state
    return jnp.asarray(scores, jnp.float32)


def domains_of(spec):
  """i32[A]: the domain of each task, for a curriculum that draws by domain.

  Raises:
    ValueError: all tasks are of one, so that nothing could be drawn more often.
  """
  if len(set(spec.task_domains)) < 2:
    raise ValueError(
      f'the curriculum draws by domain, and the {spec.tasks} questions are of '
      'one; make data.path a folder with a file for each domain, or a '
      'generated task with data.level=0, whose levels are its domains'
    )
  return np.asarray(spec.task_domains, np.int32)


def draw_by_domain(key, probabilities, domain, n):
  """i32[n]: a domain by its probability, then one of its tasks, n times.

  Args:
    probabilities: f32[D]. domain: i32[A], of each task. A domain without
      tasks is never drawn.
  """
  size = probabilities.shape[0]
  count = jnp.zeros(size).at[domain].add(1.0)
  weights = numerics.safe_divide(probabilities, count)[domain]
  return with_replacement(key, weights, n)


def signal(tasks, rewards, valid):
  """f32[N]: |advantage| of GRPO among the rows of one task."""
  key = grouping.joint(tasks)
  return jnp.abs(group_lib.norm(rewards, key, valid))


@dataclasses.dataclass(frozen=True)
class SelfEvolving:
  """A bandit over domains whose reward is the mean |advantage|.

      Q_d <- rate mean_d |A| + (1 - rate) Q_d     for domains drawn
      P(d) = softmax(Q / temperature)

  Attributes:
    rate: alpha, in (0, 1]. temperature: tau > 0.

  Source: SEC, arXiv 2505.14970, section 3, read at second hand; the
    constants are recalled.
  """

  rate: float = 0.5
  temperature: float = 1.0

  def init(self, spec):
    domain = jnp.asarray(domains_of(spec))
    return {'values': jnp.zeros(spec.domains), 'domain': domain}

  def probabilities(self, state):
    return jax.nn.softmax(state['values'] / self.temperature)

  def sample(self, state, key, n):
    chances = self.probabilities(state)
    return draw_by_domain(key, chances, state['domain'], n), state

  def update(self, state, tasks, rewards, valid):
    values = state['values']
    domain = state['domain'][tasks]
    size = values.shape[0]
    rows = _sums(jnp.ones_like(rewards), domain, valid, size)
    total = _sums(signal(tasks, rewards, valid), domain, valid, size)
    mean = numerics.safe_divide(total, rows)
    moved = self.rate * mean + (1 - self.rate) * values
    return state | {'values': jnp.where(rows > 0, moved, values)}


@dataclasses.dataclass(frozen=True)
class UpperConfidence:
  """A bandit over domains, optimistic about those seldom drawn.

      P(d) = softmax(U / temperature)
      U_d  = mean of the last `window` |A| of d + sqrt(2 log(n + 1) / (n_d + 1))

  n counts rows. At the start all domains are alike.

  Attributes:
    window: rows remembered of each domain. temperature: > 0.

  Source: DUMP, arXiv 2504.09710, equations 5 and 6, and its code.
  """

  window: int = 300
  temperature: float = 0.1

  def init(self, spec):
    return {
      'recent': jnp.zeros((spec.domains, self.window)),
      'count': jnp.zeros(spec.domains, jnp.int32),
      'domain': jnp.asarray(domains_of(spec)),
    }

  def probabilities(self, state):
    count = state['count']
    total = jnp.sum(state['recent'], axis=1)
    mean = total / jnp.clip(count, 1, self.window)
    bonus = jnp.sqrt(2 * jnp.log(jnp.sum(count) + 1.0) / (count + 1.0))
    return jax.nn.softmax((mean + bonus) / self.temperature)

  def sample(self, state, key, n):
    chances = self.probabilities(state)
    return draw_by_domain(key, chances, state['domain'], n), state

  def update(self, state, tasks, rewards, valid):
    count = state['count']
    domain = state['domain'][tasks]
    same = (domain[:, None] == domain) & valid
    before = jnp.sum(jnp.tril(same, -1), axis=1)
    # Of more rows than the window holds, the last ones stay.
    stays = valid & (before >= jnp.sum(same, axis=1) - self.window)
    place = (count[domain] + before) % self.window
    place = jnp.where(stays, place, self.window)
    recent = (
      state['recent']
      .at[domain, place]
      .set(signal(tasks, rewards, valid), mode='drop')
    )
    return state | {
      'recent': recent,
      'count': count.at[domain].add(valid.astype(jnp.int32)),
    }
