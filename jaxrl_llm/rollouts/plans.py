"""Plans: how the responses that train are made.

    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on. The tools it is handed:

    tools.generate(prompts, key, samples) -> Rollouts
    tools.verify(rollouts) -> (rollouts, scores)    masks rows that failed
    tools.draw() -> Prompts                         the next ones, same size
    tools.note(name, value)                         adds a metric
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxrl_llm.types import Array, Prompts, Rollouts, Scores, Spec


class Tools(Protocol):
  """What the loop lends a plan."""

  def generate(self, prompts: Prompts, key: Array, samples: int): ...

  def verify(self, rollouts: Rollouts) -> tuple[Rollouts, Scores]: ...

  def draw(self) -> Prompts: ...

  def note(self, name: str, value: float) -> None: ...


class Plan(Protocol):
  """What makes scored rollouts of prompts.

  Attributes:
    samples: G, rows of a group.
    provides: keys that it adds to `rollouts.extras`.
  """

  samples: int
  provides: frozenset[str]

  def init(self, spec: Spec): ...

  def collect(self, tools: Tools, prompts: Prompts, state, key: Array): ...


@dataclasses.dataclass(frozen=True)
class Independent:
  """`samples` independent responses to each prompt."""

  samples: int = 8
  provides = frozenset()

  def init(self, spec):
    del spec
    return ()

  def collect(self, tools, prompts, state, key):
    rollouts = tools.generate(prompts, key, self.samples)
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
class Refill:
  """Draws more prompts until every group is live: dynamic sampling.

  Groups that `live` drops are replaced by groups of newly drawn prompts. After
  `rounds` rounds the remaining places are left to dead groups, which the
  same filter among the credit stages weighs with 0.

  Attributes:
    live: f(rewards, group, valid) -> f32[N], > 0 on live rows.
    samples: rows of a group. rounds: the most rounds of sampling.

  Source: DAPO, arXiv 2503.14476, section 3.2.
  """

  live: Callable
  samples: int = 8
  rounds: int = 4
  provides = frozenset()

  def init(self, spec):
    del spec
    return ()

  def collect(self, tools, prompts, state, key):
    kept = alive = None
    for number in range(self.rounds):
      source = prompts if number == 0 else tools.draw()
      round_key = jax.random.fold_in(key, number)
      rollouts = tools.generate(source, round_key, self.samples)
      rollouts, scores = tools.verify(rollouts)
      rewards = scores.components @ scores.weights
      live = self.live(rewards, rollouts.group, rollouts.valid) > 0
      live = jnp.repeat(
        jnp.any(live.reshape(-1, self.samples), axis=1), self.samples
      )
      rows = (rollouts, scores.components)
      if kept is None:
        kept, alive = rows, live
      else:
        kept, alive = _first_live(kept, rows, alive, live)
      if bool(jnp.all(alive)):
        break
    rollouts, components = kept
    # Rows of several rounds meet here: their group ids must differ again.
    group = jnp.arange(rollouts.group.shape[0], dtype=jnp.int32) // self.samples
    tools.note('plan/rounds', number + 1)
    scores = scores.replace(components=components)
    return rollouts.replace(group=group), scores, state


def independent(*, samples: int = 8) -> Independent:
  """`samples` independent responses to each prompt."""
  return Independent(samples)


def refill(live: Callable, *, samples: int = 8, rounds: int = 4) -> Refill:
  """Draws more prompts until every group is live."""
  return Refill(live, samples, rounds)
