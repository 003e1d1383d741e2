"""What the environment says to the turns of episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxrl_llm.plans import ending
from jaxrl_llm.plans.turns import Turns


def answered(tools, log: Turns, at, said, last) -> dict[int, Sequence[int]]:
  """Takes a turn of some episodes, and notes it.

  Args:
    log: filled in place, up to the turn that comes then.
    at: i32[N], the turn of each. said: by row, what was said.
    last: states after the turn, which are filled in.

  Returns:
    By row, the tokens before the turn that comes then, where one does.
  """
  acting = np.array(list(said), int)
  here = acting, at[acting]
  log.taken[here] = True
  for row, words in said.items():
    log.action[row, at[row]] = words
  told = {}
  steps = tools.environment.step(list(log.state[here]), list(log.action[here]))
  for row, step in zip(said, steps, strict=True):
    last[row] = step.state
    log.reward[row, at[row]] = step.reward
    log.answered[row, at[row]] = not step.done
    log.call[row, at[row]] = -1 if step.done else step.call
    if step.done or at[row] + 1 == log.taken.shape[1]:
      log.stop[row, at[row]] = ending.reason(tools, step)
      continue
    told[row], talk = tools.after(
      log.talk[row, at[row]], said[row], step.observation
    )
    _enter(log, row, at[row] + 1, step, talk)
  return told


def _enter(log, row, turn, step, talk):
  """Notes the state that a turn will be taken in."""
  log.state[row, turn], log.talk[row, turn] = step.state, talk
  log.anchor[row, turn], log.agent[row, turn] = step.anchor, step.agent
