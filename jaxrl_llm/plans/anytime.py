"""Thoughts, and answers to each of them from nested budgets of its tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.plans import actions, arranged, exits, given, prefixes
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Anytime(Plan):
  """Thoughts, and answers to each from nested budgets of its tokens.

  The rows of a group are its thoughts, then for each of them `answers` from
  every budget. The s-th of S budgets is s / S of the tokens that a thought may
  have; one that ended before has the answers of its end. A thought is scored by
  the mean of its answers, for metrics alone.

  The extras are `role` i32[N], 0 of thoughts and 1 of answers; `trajectory`
  i32[N], the thought of its group that a row is of; `exit` i32[N], the first
  budget with the same prefix; and `segment` i32[N, T], the budget within which
  a token of a thought lies.

  Attributes:
    samples: thoughts of a group. budgets: S. answers: to each prefix.
    share: of a response, what a thought may have.
    end: the text that ends a thought.

  Raises:
    ValueError: no thought, budget or answer, or no room for one of both.

  Source: AnytimeReasoner, arXiv 2505.13438, section 3, and its code.
  """

  samples: int = 8
  budgets: int = 4
  answers: int = 4
  share: float = 0.98
  end: str = '</think>'

  def __post_init__(self):
    if min(self.samples, self.budgets, self.answers) < 1:
      raise ValueError(
        f'{self.samples} samples of {self.budgets} budgets with {self.answers} '
        'answers make no row; use at least 1 of each'
      )
    if not 0 < self.share < 1:
      raise ValueError(
        f'a share of {self.share:g} leaves no room to think, or to answer; use '
        'one in (0, 1)'
      )

  @property
  def rows(self) -> int:
    """Answers to a thought."""
    return self.budgets * self.answers

  @property
  def contract(self):
    return Contract(
      self.samples * (1 + self.rows),
      provides={'role', 'trajectory', 'exit', 'segment'},
      may_lag=True,
      written=(self.end,),
    )

  def collect(self, tools, prompts, state, key):
    first, again = jax.random.split(key)
    count, (said,) = prompts.tokens.shape[0], tools.encode([self.end])
    most = int((tools.columns - len(said)) * self.share)
    if most < self.budgets:
      raise ValueError(
        f'{most} tokens of a thought are no {self.budgets} budgets; raise '
        'sample.max_response, or lower recipe.budgets'
      )
    bounds = most * jnp.arange(1, self.budgets + 1) // self.budgets
    thoughts = given.blank(prompts, self.samples, tools.columns)
    nothing = jnp.zeros_like(thoughts.length)
    more = tools.generate(prompts, first, self.samples, most=most)
    thoughts = prefixes.joined(thoughts, nothing, more)
    length, whole = exits.ended(tools, thoughts, self.end)
    thoughts = prefixes.shortened(thoughts, whole)

    cut = jnp.minimum(bounds, length[:, None])
    exit_ = jnp.argmax(cut[:, :, None] == cut[:, None, :], axis=2)
    cut, exit_ = (jnp.repeat(x.reshape(-1), self.answers) for x in (cut, exit_))
    rows = arranged.repeated(thoughts, self.rows)
    rows = exits.answered(tools, rows, cut, said, again, samples=self.answers)
    own = jnp.arange(tools.columns) >= cut[:, None]
    rows, scores = tools.verify(actions.within(rows, own))
    return *self._together(count, thoughts, rows, exit_, bounds, scores), state

  def _together(self, count, thoughts, rows, exit_, bounds, scores):
    """The rows of thoughts and answers, by prompt, with extras and scores."""
    own = scores.components.reshape(-1, self.rows, scores.components.shape[1])
    live = rows.valid.reshape(-1, self.rows, 1)
    mean = numerics.masked_mean(own, live, axis=1)
    trajectory = jnp.arange(thoughts.valid.shape[0]) % self.samples
    columns = jnp.arange(rows.action_mask.shape[1])
    segment = jnp.searchsorted(bounds[:-1], columns, side='right')

    def marked(part, role, trajectory, exit_):
      return part.with_extras(
        role=jnp.full_like(part.group, role),
        trajectory=trajectory.astype(jnp.int32),
        exit=exit_.astype(jnp.int32),
        segment=jnp.tile(segment.astype(jnp.int32), (len(exit_), 1)),
      )

    thoughts = marked(thoughts, 0, trajectory, jnp.zeros_like(trajectory))
    rows = marked(rows, 1, jnp.repeat(trajectory, self.rows), exit_)
    both = arranged.together(count, thoughts, rows)
    components = arranged.together(count, mean, scores.components)
    return both, scores.replace(components=components)
