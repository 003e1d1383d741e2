"""Episodes of several turns, a row each: see `playing`."""

from __future__ import annotations

import dataclasses

from jaxrl_llm.plans import ending, playing, turn_places
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class MultiTurn(Plan):
  """Episodes of several turns, one row each.

  The extras say where things are in a row:

      turn             i32[N, T], in [0, turns)
      action_end       bool[N, T], the last token of a turn's action
      decision_reward  f32[N, T], the environment's reward, on action tokens
      tool_calls       i32[N], turns whose call of a tool was answered
      tool_start       i32[N], the column where the first call begins, or -1
      stop             i32[N], why it ended, a place in `environments.STOPS`

  Attributes:
    samples: episodes from a prompt. turns: the most of an episode, which
      share the token budget.
  """

  samples: int = 8
  turns: int = 4

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'environment'},
      provides={
        'turn',
        'action_end',
        'decision_reward',
        'tool_calls',
        'tool_start',
        'stop',
      },
      may_lag=True,
      turns=self.turns,
    )

  def collect(self, tools, prompts, state, key):
    rollouts, log = playing.play(
      tools, prompts, key, samples=self.samples, turns=self.turns
    )
    rollouts, scores = ending.judged(tools, rollouts, log)
    rollouts = rollouts.with_extras(
      **turn_places.located(log, tools.columns),
      **turn_places.calls(tools, rollouts, log),
      stop=ending.stops(tools, log),
    )
    return rollouts, scores, state
