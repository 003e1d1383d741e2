"""Turns that are compared behind one history, that of a leading episode."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import by_turn, playing, prefixes
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.tasks.environments import STOPS


@dataclasses.dataclass(frozen=True)
class Led(by_turn.Steps):
  """Every turn of an episode is a prompt, which is answered `episodes` times.

  One episode of each prompt leads, and is not learned from. At each of its
  turns the policy says that many others, which the environment answers and
  which end there. A row is one of them; its reward is what it earned, and with
  it the episode where it ended that. The extras are those of `Steps`, and each
  row is a trajectory of its own.

  Over HTTP, or with a history that the template writes, it is `Steps`: what a
  program has done is not taken back.

  Source: R1-Router, arXiv 2505.22095, whose leading episodes are data.
  """

  @property
  def contract(self):
    return dataclasses.replace(super().contract, may_lag=False)

  def collect(self, tools, prompts, state, key):
    lead, own = jax.random.split(key)
    rollouts, log = playing.play(
      tools, prompts, lead, samples=1, turns=self.turns
    )
    count = len(log.taken)
    parts, logs = [], []
    for turn in range(self.turns):
      at = jax.random.fold_in(own, turn)
      rows, said = self._turn(tools, rollouts, log, turn, at)
      parts.append(rows)
      logs.append(said)
    rows = prefixes.together(count, *parts)
    whole = _joined(logs, count)
    extras = by_turn.named(whole, 1)
    place = np.arange(self.samples * count)
    own_step = place // self.episodes % self.turns
    ids = {'trajectory': place % self.samples, 'step': own_step}
    extras |= {name: jnp.asarray(x, jnp.int32) for name, x in ids.items()}
    stop = playing.stops(tools, whole)
    good = whole.taken[:, 0] & (whole.ended != STOPS.index('failed'))
    rows = rows.replace(
      valid=rows.valid & jnp.asarray(good),
      paid=_paid(rows, whole),
    ).with_extras(**extras, stop=stop)
    return *playing.judged(tools, rows, whole), state

  def _turn(self, tools, rollouts, log, turn, key):
    """The rows of one turn of all leading episodes, and what happened there."""
    start = jnp.asarray(log.start[:, turn])
    more = tools.generate(
      prefixes.as_prompts(rollouts, start),
      key,
      self.episodes,
      most=tools.columns // self.turns,
    )
    told = turns_lib.Turns(
      *(np.repeat(x[:, turn : turn + 1], self.episodes, axis=0) for x in log)
    )
    # What the leading episode said there is not what is said now.
    told.stop[:], told.reward[:], told.action[:] = -1, 0.0, ''
    there = np.flatnonzero(told.taken[:, 0])
    said = tools.read(more, {row: told.talk[row, 0] for row in there})
    for row, words in said.items():
      told.action[row, 0] = words
    steps = tools.environment.step(
      list(told.state[there, 0]), list(told.action[there, 0])
    )
    told.stop[~told.taken] = STOPS.index('turns')
    for row, step in zip(there, steps, strict=True):
      told.reward[row, 0] = step.reward
      told.stop[row, 0] = playing.reason(tools, step)
    return more, told


def _joined(logs, count: int) -> turns_lib.Turns:
  """One log of all turns, in the order of the rows."""
  return turns_lib.Turns(
    *(
      np.concatenate([x.reshape(count, -1) for x in each], axis=1).reshape(
        -1, 1
      )
      for each in zip(*logs)
    )
  )


def _paid(rows, log):
  """f32[N, T]: what each turn was paid, with its last token."""
  column = jnp.arange(rows.action_mask.shape[1])
  last = column == rows.length[:, None] - 1
  return jnp.where(rows.action_mask & last, jnp.asarray(log.reward), 0.0)
