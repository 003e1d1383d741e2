"""A plan whose groups differ in size: more responses where they teach more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.selection import budgets
from jaxrl_llm.selection.difficulty import PassBins


@dataclasses.dataclass(frozen=True)
class Budgeted(Plan):
  """Plan: groups of different sizes, by the tasks' last success rates.

  The B prompts of an iteration share its B `samples` rows. Its groups differ
  in size, so an iteration must be one minibatch.

  Attributes:
    value: f(n, p) -> worth: one of `selection.budgets`.
    allocate: `exact` or `greedy` of the same.
    samples: rows per prompt, on average. least, most: of each prompt.
    initial: the success rate of a task never drawn.
  """

  value: Callable = budgets.information
  allocate: Callable = budgets.exact
  samples: int = 8
  least: int = 2
  most: int = 128
  initial: float = 0.5

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True, one_prompt=False)

  def init(self, spec):
    return jnp.full(spec.tasks, self.initial, jnp.float32)

  def split(self, rates, task):
    """i64[B]: rows of each prompt.

    Args:
      rates: the state: f[A], success rates. task: i[B], of each prompt.
    """
    return self._allotted(rates[task])

  def _allotted(self, rates):
    """i64[B]: rows of prompts with success rates f[B]."""
    rates = np.asarray(rates, np.float64)[:, None]
    total = self.samples * rates.shape[0]
    most = min(self.most, total)
    values = self.value(np.arange(most + 1), rates)
    return self.allocate(values, total, least=self.least, most=most)

  def observed(self, rates, rollouts, rewards):
    """The state after an iteration: the last success rate of each task."""
    valid = rollouts.valid
    rows = jnp.zeros_like(rates).at[rollouts.task].add(valid * 1.0)
    won = jnp.where(valid, rewards, 0)
    total = jnp.zeros_like(rates).at[rollouts.task].add(won)
    rate = jnp.clip(total / jnp.maximum(rows, 1), 0, 1)
    return jnp.where(rows > 0, rate, rates)

  def collect(self, tools, prompts, state, key):
    held = jax.tree.map(np.asarray, state)
    split = self.split(held, np.asarray(prompts.task))
    index = np.repeat(np.arange(len(split)), split)
    spread = jax.tree.map(lambda x: x[index], prompts)
    rollouts, scores = tools.verify(tools.generate(spread, key, 1))
    rollouts = rollouts.replace(group=jnp.asarray(index, jnp.int32))
    rewards = scores.total
    tools.note('plan/largest_group', int(split.max()))
    return rollouts, scores, self.observed(state, rollouts, rewards)


@dataclasses.dataclass(frozen=True)
class ByDifficulty(Budgeted):
  """Plan: `Budgeted`, with one number of rows for all prompts of a bin.

      v_b = mean of p (1 - p) over the prompts of bin b
      minimise sum over prompts of v_b / n    so that n is like sqrt(v_b)

  p is the last success rate of a prompt's task. Numbers within a bin differ by
  1 where the total asks for it.

  Attributes:
    bins: of tasks, by difficulty.

  Source: Rollout-GDRO, arXiv 2601.19280, theorem 4.2.
  """

  value: Callable = budgets.precision
  allocate: Callable = budgets.greedy
  most: int = 24
  bins: PassBins = PassBins(window=50, margin=0.0)

  def init(self, spec):
    return {'rate': super().init(spec), 'bins': self.bins.init(spec.tasks)}

  def split(self, state, task):
    place, rate = state['bins']['bin'][task], state['rate'][task]
    count = np.bincount(place, minlength=self.bins.count)
    variance = np.bincount(place, rate * (1 - rate), self.bins.count)
    pooled = (variance / np.maximum(count, 1))[place]
    # The rate whose variance is the bin's.
    return self._allotted((1 - np.sqrt(np.maximum(1 - 4 * pooled, 0))) / 2)

  def observed(self, state, rollouts, rewards):
    return {
      'rate': super().observed(state['rate'], rollouts, rewards),
      'bins': self.bins.update(state['bins'], rollouts, rewards),
    }


@dataclasses.dataclass(frozen=True)
class Bandits(Budgeted):
  """Plan: `Budgeted`, where a bandit a bin chooses the rows of its prompts.

      p_b(n) = (1 - floor) softmax_n(rate S_b) + floor / arms
      maximise sum over bins of log p_b(n_b)
        where sum over prompts of n_b is at most the budget and nearest to it
      S_b(n_b) <- (1 - memory) S_b(n_b) - memory v_b / n_b

  v_b is the mean over the bin's prompts of the variance of their rewards, so
  that v_b / n is that of a group's mean. What is left of the budget goes to
  single prompts, which have one row more.

  Attributes:
    rate: eta. floor: gamma, the share of a uniform choice. memory: beta.
    bins: of tasks, by difficulty.

  Source: Rollout-GDRO, arXiv 2601.19280, problem 2.1, and its code, whose
    bandit adds up policy losses; what is bad then looks worse the more it is
    tried. There numbers of rows have a price, too, which moves as the budget is
    missed; here it is met.
  """

  most: int = 24
  rate: float = 0.65
  floor: float = 0.01
  memory: float = 0.4
  bins: PassBins = PassBins(window=50, margin=0.0)

  @property
  def arms(self) -> np.ndarray:
    """Numbers of rows to choose from."""
    return np.arange(self.least, self.most + 1)

  def init(self, spec):
    return {
      'score': jnp.zeros((self.bins.count, len(self.arms))),
      'bins': self.bins.init(spec.tasks),
    }

  def split(self, state, task):
    place = state['bins']['bin'][task]
    count = np.bincount(place, minlength=self.bins.count)
    total = self.samples * len(task)
    if not self.least <= self.samples <= self.most:
      raise ValueError(
        f'{self.samples} rows a prompt are not between the {self.least} and '
        f'{self.most} that a bandit may choose'
      )
    chosen = self._chosen(np.asarray(state['score'], np.float64), count, total)
    split = chosen[place]
    # Less than the prompts of any bin that could have one row more.
    open_to_more = np.flatnonzero(split < self.most)
    split[open_to_more[: total - split.sum()]] += 1
    return split

  def _chosen(self, score, count, total):
    """i64[bins]: rows of a prompt of each bin, by dynamic programming."""
    arms, scaled = (
      self.arms,
      np.exp(self.rate * (score - score.max(1)[:, None])),
    )
    share = scaled / scaled.sum(axis=1, keepdims=True)
    chance = np.log((1 - self.floor) * share + self.floor / len(arms))
    best, choices = np.full(total + 1, -np.inf), []
    best[0] = 0.0
    present = np.flatnonzero(count)
    for place in present:
      rows = arms * count[place]
      tried = np.full((len(arms), total + 1), -np.inf)
      for arm, used in enumerate(rows):
        if used <= total:
          tried[arm, used:] = best[: total + 1 - used] + chance[place, arm]
      choices.append(np.argmax(tried, axis=0))
      best = np.max(tried, axis=0)
    chosen = np.zeros(len(count), np.int64)
    left = int(np.flatnonzero(np.isfinite(best))[-1])
    for place, choice in zip(present[::-1], choices[::-1]):
      chosen[place] = arms[choice[left]]
      left -= chosen[place] * count[place]
    return chosen

  def observed(self, state, rollouts, rewards):
    group, task, valid, earned = (
      np.asarray(x)
      for x in (rollouts.group, rollouts.task, rollouts.valid, rewards)
    )
    place = np.asarray(state['bins']['bin'])[task]
    score = np.array(state['score'], np.float64)
    for own in np.unique(place):
      groups = np.unique(group[place == own])
      # Single prompts have one row more than was chosen.
      number = min(np.sum(group == g) for g in groups)
      judged = [earned[(group == g) & valid] for g in groups]
      spreads = [np.var(rows, ddof=1) for rows in judged if len(rows) > 1]
      if spreads:
        arm = own, number - self.least
        loss = np.mean(spreads) / number
        score[arm] = (1 - self.memory) * score[arm] - self.memory * loss
    return {
      'score': jnp.asarray(score, jnp.float32),
      'bins': self.bins.update(state['bins'], rollouts, rewards),
    }
