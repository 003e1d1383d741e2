"""Groups whose sizes bandits choose, one for each bin of difficulty."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import budgeted
from jaxrl_llm.selection import budgets
from jaxrl_llm.selection.difficulty import PassBins


@dataclasses.dataclass(frozen=True)
class Bandits(budgeted.Budgeted):
  """`Budgeted`, where a bandit a bin chooses the rows of its prompts.

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
    """i64[bins]: rows of a prompt of each bin."""
    scaled = np.exp(self.rate * (score - score.max(1)[:, None]))
    share = scaled / scaled.sum(axis=1, keepdims=True)
    chance = np.log((1 - self.floor) * share + self.floor / len(self.arms))
    rows, there = self.arms * count[:, None], np.flatnonzero(count)
    chosen = np.zeros(len(count), np.int64)
    found = budgets.nearest(chance[there], rows[there], total)
    chosen[there] = self.arms[found]
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
