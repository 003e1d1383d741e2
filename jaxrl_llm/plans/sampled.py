"""Independent responses to each prompt, once or until every group is live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Independent(Plan):
  """`samples` independent responses to each prompt.

  Attributes:
    samples: rows of a group.
    columns: numeric fields of the data, provided as extras f32[N].
  """

  samples: int = 8
  columns: tuple[str, ...] = ()

  @property
  def contract(self):
    return Contract(
      self.samples,
      may_lag=True,
      provides=frozenset(self.columns),
      columns=self.columns,
    )

  def collect(self, tools, prompts, state, key):
    rollouts = tools.generate(prompts, key, self.samples)
    return *tools.verify(rollouts), state


@dataclasses.dataclass(frozen=True)
class Masked(Plan):
  """Independent responses among the tokens that a masking policy keeps.

  It is the opponent that the recipe's reference names, and it keeps its most
  probable tokens, as many as have a mass of `share` and no fewer than `least`.
  The sampler records which of them the policy could draw, and the learner's
  log-probs are among these, so that every step stays within them.

  Attributes:
    samples: rows of a group. share: of the masking policy's mass, in (0, 1].
    least: tokens.

  Raises:
    ValueError: a share outside of (0, 1], or a sampler that records nothing.

  Source: NLPO, arXiv 2210.01241, algorithm 1.
  """

  samples: int = 1
  share: float = 0.9
  least: int = 100

  def __post_init__(self):
    if not 0 < self.share <= 1:
      raise ValueError(f'a share of {self.share} is not in (0, 1]; 1 keeps all')

  @property
  def contract(self):
    return Contract(self.samples, provides={'support'}, refers=True)

  def collect(self, tools, prompts, state, key):
    rollouts = tools.masked(
      prompts, key, self.samples, share=self.share, least=self.least
    )
    if 'support' not in rollouts.extras:
      raise ValueError(
        'the recipe learns among the tokens that a masking policy keeps, which '
        'the sampler does not record; set sample.support to '
        f'{2 * self.least}, say'
      )
    return *tools.verify(rollouts), state


@jax.jit
def _first_live(kept, new, live_kept, live_new):
  """The first live groups of two sets of rows, then the first dead ones.

  Args:
    kept, new: pytrees of the same shapes, leading axis N.
    live_kept, live_new: bool[N], equal within a group.

  Returns:
    The chosen rows, in the shapes of `kept`, and bool[N], which are live.
  """
  live = jnp.concatenate([live_kept, live_new])
  # A stable sort keeps groups adjacent and in the order they were drawn.
  chosen = jnp.argsort(~live, stable=True)[: live_kept.shape[0]]
  rows = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[chosen], kept, new)
  return rows, live[chosen]


@dataclasses.dataclass(frozen=True)
class Refill(Plan):
  """Draws more prompts until every group is live: dynamic sampling.

  Groups that `live` drops are replaced by groups of newly drawn prompts. After
  `rounds` rounds the remaining places are left to dead groups, which the
  same filter among the credit stages weighs with 0.

  Attributes:
    live: f(rewards, group, valid) -> f32[N], > 0 on live rows.
    samples: rows of a group. rounds: the most rounds of sampling.

  Raises:
    ValueError: less than one round.

  Source: DAPO, arXiv 2503.14476, section 3.2.
  """

  live: Callable
  samples: int = 8
  rounds: int = 4

  def __post_init__(self):
    if self.rounds < 1:
      raise ValueError(f'{self.rounds} rounds sample nothing; use at least 1')

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True)

  def collect(self, tools, prompts, state, key):
    rollouts, scores, alive = self._round(tools, prompts, key, 0)
    kept, number = (rollouts, scores.components), 1
    while number < self.rounds and not bool(jnp.all(alive)):
      rollouts, scores, live = self._round(tools, tools.draw(), key, number)
      rows = rollouts, scores.components
      kept, alive = _first_live(kept, rows, alive, live)
      number += 1
    rollouts, components = kept
    # Rows of several rounds meet here: their group ids must differ again.
    group = jnp.arange(rollouts.group.shape[0], dtype=jnp.int32) // self.samples
    tools.note('plan/rounds', number)
    scores = scores.replace(components=components)
    return rollouts.replace(group=group), scores, state

  def _round(self, tools, prompts, key, number):
    """Judged responses, and bool[N], the rows of live groups."""
    key = jax.random.fold_in(key, number)
    rollouts = tools.generate(prompts, key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    rewards = scores.total
    live = self.live(rewards, rollouts.group, rollouts.valid) > 0
    groups = jnp.any(live.reshape(-1, self.samples), axis=1)
    return rollouts, scores, jnp.repeat(groups, self.samples)


def independent(
  *, samples: int = 8, columns: tuple[str, ...] = ()
) -> Independent:
  """`samples` independent responses to each prompt.

  Example:
    >>> independent(samples=4).contract.samples
    4
  """
  return Independent(samples, columns)
