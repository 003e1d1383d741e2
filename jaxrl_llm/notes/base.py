"""Plans that say more of finished responses: `noted(plan, note, ...)`.

    Note:  provides                                  keys of extras
           init(spec) -> state
           write(tools, rollouts, scores, state) -> ({key: array}, state)

A note reads responses, their texts, scores and questions; it changes neither
rows nor scores. Those that run a model are in `passes`.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import grouping
from jaxrl_llm.plans.base import Check, Plan
from jaxrl_llm.tasks import answers
from jaxrl_llm.types import Array, Rollouts, Scores, Spec


class Note(Protocol):
  """What is said of finished responses.

  Attributes:
    provides: keys that it adds to `rollouts.extras`. scores: names of verifiers
      whose scores it reads. asks: what the run must be given for it. checks:
      f(records), called before a run. refers: it reads the reference.
  """

  @property
  def provides(self) -> frozenset[str]: ...

  @property
  def scores(self) -> tuple[str, ...]: ...

  @property
  def asks(self) -> frozenset[str]: ...

  @property
  def checks(self) -> tuple[Check, ...]: ...

  @property
  def refers(self) -> bool: ...

  def init(self, spec: Spec):
    """What the note remembers before the first iteration."""

  def write(
    self, tools, rollouts: Rollouts, scores: Scores, state
  ) -> tuple[Mapping[str, Array], object]:
    """Its extras, one a row, and what it remembers."""


class Stateless:
  """What notes without memory have in common."""

  scores: tuple[str, ...] = ()
  asks: frozenset[str] = frozenset()
  refers: bool = False
  checks: tuple[Check, ...] = ()

  def init(self, spec):
    del spec
    return ()


@dataclasses.dataclass(frozen=True)
class Noted(Plan):
  """The responses of another plan, with notes in their extras."""

  plan: Plan
  notes: tuple[Note, ...]

  @property
  def contract(self):
    return self.plan.contract.adding(
      provides=frozenset().union(*(n.provides for n in self.notes)),
      scores=sum((n.scores for n in self.notes), ()),
      asks=frozenset().union(*(n.asks for n in self.notes)),
      checks=sum((n.checks for n in self.notes), ()),
      refers=any(n.refers for n in self.notes),
    )

  def init(self, spec):
    return self.plan.init(spec), tuple(n.init(spec) for n in self.notes)

  def collect(self, tools, prompts, state, key):
    inner, memories = state
    rollouts, scores, inner = self.plan.collect(tools, prompts, inner, key)
    after = []
    for note, memory in zip(self.notes, memories):
      extras, memory = note.write(tools, rollouts, scores, memory)
      rollouts = rollouts.with_extras(**extras)
      after.append(memory)
    return rollouts, scores, (inner, tuple(after))


def noted(plan: Plan, *notes: Note) -> Noted:
  """The responses of another plan, with notes in their extras."""
  return Noted(plan, notes)


@dataclasses.dataclass(frozen=True)
class Answers(Stateless):
  """`answer` i32[N]: equal where the final answers are the same text.

  Final answers are those of `answers.final`.
  """

  provides = frozenset({'answer'})

  def write(self, tools, rollouts, scores, state):
    del scores
    said = [answers.final(text) for text in tools.decode(rollouts)]
    _, number = np.unique(said, return_inverse=True)
    return {'answer': jnp.asarray(number, jnp.int32)}, state


@dataclasses.dataclass(frozen=True)
class Bundles(Stateless):
  """`bundle` and `paper` i32[N]: questions judged together.

  Prompts that follow each other make a bundle; the j-th responses to its
  questions make its j-th paper.

  Attributes:
    size: questions of a bundle; the last may have fewer.

  Source: RiskPO, arXiv 2510.00911, section 3.
  """

  size: int = 5
  provides = frozenset({'bundle', 'paper'})

  def write(self, tools, rollouts, scores, state):
    del tools, scores
    group = rollouts.group
    same = group[:, None] == group[None, :]
    place = jnp.sum(jnp.tril(same, -1), axis=1).astype(jnp.int32)
    first = grouping.joint(group)
    prompt = jnp.cumsum(first == jnp.arange(group.shape[0])) - 1
    return {'bundle': prompt // self.size, 'paper': place}, state


@dataclasses.dataclass(frozen=True)
class Judged(Stateless):
  """Scores of the run's verifiers of those names, f32[N], as extras.

  A verifier with the weight 0 is no reward, and informs the method alone:
  --config.verify.names="('exact','quality=mypackage.module:judge')"
  --config.verify.weights="(1.0,0.0)".
  """

  scores: tuple[str, ...]

  @property
  def provides(self):
    return frozenset(self.scores)

  def write(self, tools, rollouts, scores, state):
    del rollouts
    column = tools.components.index
    scored = {n: scores.components[:, column(n)] for n in self.scores}
    return scored, state


@dataclasses.dataclass(frozen=True)
class Information(Stateless):
  """`information` f32[N]: the entropy of a response's words, in nats.

      H_i = -sum_w p_w log p_w      p_w the share of word w among its words

  Words are what white space separates. 0 for a response of one word or none.
  """

  provides = frozenset({'information'})

  def write(self, tools, rollouts, scores, state):
    del scores
    values = [word_entropy(text) for text in tools.decode(rollouts)]
    return {'information': jnp.asarray(values, jnp.float32)}, state


def word_entropy(text: str) -> float:
  """The entropy of a text's words, in nats; see `Information`."""
  words = text.split()
  shares = [n / len(words) for n in collections.Counter(words).values()]
  return -sum(p * math.log(p) for p in shares)


@dataclasses.dataclass(frozen=True)
class RankedList(Stateless):
  """`item` i32[N, T] and `gain` f32[N, K] of responses that are lists.

  Every line is an item. It is a hit if it stands among the right ones, the
  list or the lines in `answer` of the question's record, and not on an
  earlier line.

  Attributes:
    gain: f(hits f32[N, K]) -> f32[N, K].
    places: K, items that count; tokens past them have item K.
  """

  gain: Callable
  places: int = 20
  provides = frozenset({'item', 'gain'})

  def write(self, tools, rollouts, scores, state):
    del scores
    columns = rollouts.content.response.shape[1]
    item = np.zeros((rollouts.valid.shape[0], columns), np.int32)
    hits = np.zeros((len(item), self.places), np.float32)
    for row, (record, pieces) in enumerate(
      zip(tools.rows(rollouts.task), tools.pieces(rollouts), strict=True)
    ):
      breaks = np.cumsum([0, *(piece.count('\n') for piece in pieces)])
      item[row, : len(pieces)] = breaks[:-1]
      hits[row] = self._hits(''.join(pieces), record['answer'])
    item = np.minimum(item, self.places)
    gain = self.gain(jnp.asarray(hits))
    return {'item': jnp.asarray(item), 'gain': gain}, state

  def _hits(self, text, right):
    right = right.split('\n') if isinstance(right, str) else right
    right = {str(title).strip() for title in right}
    hits = np.zeros(self.places, np.float32)
    for place, line in enumerate(text.split('\n')[: self.places]):
      hits[place] = line.strip() in right
      right.discard(line.strip())
    return hits
