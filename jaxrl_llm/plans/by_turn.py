"""Episodes of several turns, a row a turn: see `playing`."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing, prefixes
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Rollouts


@dataclasses.dataclass(frozen=True)
class Steps(Plan):
  """Episodes of several turns, one row a turn.

  The prompt of a row is all that came before its turn. Turns that were not
  taken are rows that are not valid. The rows of an episode share its outcome.
  The extras, each [N]:

      trajectory   i32, which episode of the prompt
      step         i32, which turn of the episode
      step_reward  f32, the environment's
      agent        i32, who acted
      anchor       i32, equal where the states acted in have one name
      node         i32, equal where state and action do
      stop         i32, why the episode ended, as of `MultiTurn`

  Attributes:
    episodes: from a prompt. turns: the most of an episode, which share the
      token budget.
  """

  episodes: int = 8
  turns: int = 4

  @property
  def contract(self):
    return Contract(
      self.episodes * self.turns,
      asks={'environment'},
      provides={
        'trajectory',
        'step',
        'step_reward',
        'agent',
        'anchor',
        'node',
        'stop',
      },
      may_lag=True,
      one_prompt=False,
      turns=self.turns,
    )

  @property
  def samples(self):
    return self.episodes * self.turns

  def collect(self, tools, prompts, state, key):
    rollouts, log = playing.play(
      tools, prompts, key, samples=self.episodes, turns=self.turns
    )
    rollouts, scores = ending.judged(tools, rollouts, log)
    rows = as_steps(
      rollouts, log.start, log.end, most=tools.columns // self.turns
    )
    valid = rows.valid & jnp.asarray(log.taken.reshape(-1))
    stop = jnp.repeat(ending.stops(tools, log), self.turns)
    components = jnp.repeat(scores.components, self.turns, axis=0)
    components = jnp.where(valid[:, None], components, 0)
    rows = rows.replace(valid=valid)
    rows = rows.with_extras(**named(log, self.episodes), stop=stop)
    return rows, scores.replace(components=components), state


@functools.partial(jax.jit, static_argnames='most')
def as_steps(rollouts: Rollouts, start, end, *, most: int) -> Rollouts:
  """Every turn of N episodes as a row of its own, after what came before it.

  Args:
    rollouts: N rows of P + T columns.
    start, end: i32[N, H], columns of each turn's action.
    most: response columns of the new rows, enough for any action.

  Returns:
    N H rows of P + T prompt columns; the turns of an episode are adjacent.
  """
  rows = arranged.repeated(rollouts, start.shape[1])
  start, end = start.reshape(-1), end.reshape(-1)
  prompts = prefixes.as_prompts(rows, start)
  place = jnp.arange(most) + start[:, None]
  own = arranged.moved(rows, jnp.where(place < end[:, None], place, -1))
  content = own.content.replace(prompt=prompts.tokens, prompt_mask=prompts.mask)
  return own.replace(content=content)


def named(log: turns_lib.Turns, episodes: int):
  """The extras of `Steps`."""
  count, turns = log.taken.shape
  anchor = log.anchor.reshape(-1).astype(str)
  action = log.action.reshape(-1).astype(str)
  _, anchor = np.unique(anchor, return_inverse=True)
  _, action = np.unique(action, return_inverse=True)
  arrays = {
    'trajectory': np.repeat(np.arange(count) % episodes, turns),
    'step': np.tile(np.arange(turns), count),
    'agent': log.agent.reshape(-1),
    'anchor': anchor,
    'node': anchor * (np.max(action) + 1) + action,
  }
  ids = {k: jnp.asarray(x, jnp.int32) for k, x in arrays.items()}
  return ids | {'step_reward': jnp.asarray(log.reward.reshape(-1))}
