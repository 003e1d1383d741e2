"""Groups with assigned beginnings, of which one opens a conversation."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import ending, opening, playing, turn_places
from jaxrl_llm.plans.begun import Begun


@dataclasses.dataclass(frozen=True)
class BegunEpisodes(Begun):
  """Episodes that go on from texts, of which the last may call tools.

  A row whose beginning is the last that is no empty text talks with the
  environment. All others answer at once: one that calls a tool has the wrong
  form and is scored 0, so that tools are not had at another mode's price.

  The extras are those of `Begun` and `tool_calls` i32[N]. An episode is played
  behind its beginning: the environment, and verifiers, which read last words,
  are told the beginning of a row that was free and said it, and no other.

  Attributes:
    turns: the most of an episode, which share the token budget.

  Source: A2FM, arXiv 2510.12838, sections 3.1 and 3.3.
  """

  turns: int = 4

  @property
  def contract(self):
    terms = super().contract.adding(
      provides={'tool_calls'}, asks={'environment'}
    )
    return dataclasses.replace(terms, turns=self.turns)

  def collect(self, tools, prompts, state, key):
    prompts, log = opening.begin(
      tools, prompts, samples=self.samples, turns=self.turns
    )
    rows, place = self.opened(tools, prompts)
    begun, first = rows.response_mask, np.zeros(len(place), int)
    rollouts, log = playing.go_on(tools, rows, log, first, key)
    rollouts, scores = ending.judged(tools, rollouts, log)
    mode = self.named(place, [str(said) for said in log.action[:, 0]])
    calls = turn_places.calls(tools, rollouts, log)['tool_calls']
    may = mode == max(i for i, text in enumerate(self.beginnings) if text)
    right = jnp.asarray(may | (np.asarray(calls) == 0))[:, None]
    tools.note('plan/wrong_mode', 1 - float(jnp.mean(right)))
    rollouts = rollouts.replace(paid=jnp.where(right, rollouts.paid, 0.0))
    scores = scores.replace(components=jnp.where(right, scores.components, 0.0))
    rollouts = rollouts.with_extras(
      beginning=jnp.asarray(mode, jnp.int32),
      assigned=jnp.any(begun, axis=1),
      begun=begun,
      tool_calls=calls,
    )
    return rollouts, scores, state


def modes(beginnings: tuple[str, ...], *, samples: int, turns: int) -> Begun:
  """The plan of modes whose last takes so many turns with tools.

  One turn is `Begun`: nobody answers, and no environment is asked for.

  Example:
    >>> sorted(modes(('a', 'b', ''), samples=3, turns=2).contract.asks)
    ['environment']
  """
  if turns == 1:
    return Begun(beginnings, samples)
  return BegunEpisodes(beginnings, samples, turns=turns)
