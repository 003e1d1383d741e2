"""A main agent that has one sub-agent read for it, and answers.

The main agent does not see the document. It calls its sub-agent, or answers. A
search shows the sub-agent the document, or finds nothing; what it says of it in
one word is all that the main agent hears. There is one right word for every
document, and the main agent is right who answers with it.

It is the shape of deep research, with a planner and an executor of tools, which
M-GRPO (arXiv 2511.13288) trains as two models.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl_llm.environments.base import (
  Discrete,
  Outcome,
  Spec,
  row_keys,
  uids_of,
)
from jaxrl_llm.types import Array

MAIN, SUB = 0, 1


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    task: i32[N], the document. calls: i32[N], made so far.
    word: i32[N], what the sub-agent said last; W is nothing.
    shown: i32[N], what its search shows it; the number of documents is nothing.
    agent: i32[N], who acts. uid: i32[N].
  """

  task: Array
  calls: Array
  word: Array
  shown: Array
  agent: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Research:
  """Questions about documents; a task is one of them.

  Actions are the W words, and one more, by which the main agent calls and the
  sub-agent says that it found nothing.

  Attributes:
    documents: how many. words: W; document d is about word d mod W.
    calls: of an episode, at most. found: chance that a search finds it.
    price: of a call. pay: what the right word of a sub-agent is worth by
      itself, or that it found nothing where it did not.
  """

  documents: int = 8
  words: int = 4
  calls: int = 2
  found: float = 0.7
  price: float = 0.0
  pay: float = 0.5

  @property
  def spec(self) -> Spec:
    agents = (self.words + 1) * (self.calls + 1), self.documents + 1
    return Spec(
      horizon=2 * self.calls + 1,
      tasks=self.documents,
      observation=Discrete(sum(agents)),
      action=Discrete(self.words + 1),
      agents=agents,
      judged=True,
    )

  @functools.cached_property
  def optimal_return(self) -> float:
    """Of a main agent that calls until something is found, if that pays."""
    value = 1 / self.words
    for _ in range(self.calls):
      called = self.found + (1 - self.found) * value - self.price
      value = max(1 / self.words, called)
    return value

  def reset(self, tasks, key, uids=None):
    del key
    zeros = jnp.zeros_like(tasks)
    return State(
      task=tasks,
      calls=zeros,
      word=zeros + self.words,
      shown=zeros + self.documents,
      agent=zeros + MAIN,
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    main = state.calls * (self.words + 1) + state.word
    first = self.spec.agents[MAIN]
    return jnp.where(state.agent == MAIN, main, first + state.shown)

  def legal(self, state):
    """The main agent has to answer once all calls are made."""
    last = jnp.arange(self.words + 1) == self.words
    over = (state.agent == MAIN) & (state.calls == self.calls)
    return ~(last & over[:, None])

  def step(self, state, action, key):
    main = state.agent == MAIN
    calls = main & (action == self.words) & (state.calls < self.calls)
    answers = main & ~calls
    about = state.task % self.words
    # One key for a row's number, whatever its neighbours do.
    lucky = jax.vmap(jax.random.uniform)(row_keys(key, state.uid)) < self.found
    shown = jnp.where(lucky, state.task, self.documents)
    honest = jnp.where(state.shown == self.documents, self.words, about)
    after = state.replace(
      calls=state.calls + calls,
      word=jnp.where(main, state.word, action).astype(jnp.int32),
      shown=jnp.where(calls, shown, self.documents).astype(jnp.int32),
      agent=jnp.where(calls, SUB, MAIN),
    )
    right = answers & (action == about)
    outcome = Outcome(
      reward=right * 1.0 - self.price * calls,
      terminated=answers,
      truncated=jnp.zeros_like(answers),
      agent=after.agent,
      legal=self.legal(after),
      own=self.pay * (~main & (action == honest)),
    )
    return after, outcome
