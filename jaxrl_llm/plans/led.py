"""Turns that are compared behind one history, that of a leading episode."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import (
  arranged,
  by_turn,
  dictated,
  ending,
  playing,
  prefixes,
)
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.tasks.environments import STOPS


@dataclasses.dataclass(frozen=True)
class Led(by_turn.Steps):
  """Every turn of an episode is a prompt, which is answered `episodes` times.

  One episode of each prompt leads, and is not learned from. The policy plays
  it, or another model did and the data says what it said. At each of its turns
  the policy says that many others, which the environment answers and which end
  there. A row is one of them; its reward is what it earned, and with it the
  episode where it ended that. The extras are those of `Steps`, and each row is
  a trajectory of its own.

  Over HTTP, or with a history that the template writes, it is `Steps`: what a
  program has done is not taken back.

  Attributes:
    recorded: the field of a record with what leads, a list of the texts of its
      turns, behind the last of which nothing is said; '' lets the policy lead.

  Source: R1-Router, arXiv 2505.22095, whose leading episodes are data.
  """

  recorded: str = ''

  @property
  def contract(self):
    checks = (functools.partial(dictated.required, self.recorded),)
    inner = super().contract.adding(checks=checks if self.recorded else ())
    return dataclasses.replace(inner, may_lag=False)

  def collect(self, tools, prompts, state, key):
    lead, own = jax.random.split(key)
    leading = tools
    if self.recorded:
      leading = dictated.Dictated(tools, self.recorded)
    rollouts, log = playing.play(
      leading, prompts, lead, samples=1, turns=self.turns
    )
    count = len(log.taken)
    parts, logs = [], []
    for turn in range(self.turns):
      at = jax.random.fold_in(own, turn)
      rows, said = self._turn(tools, rollouts, log, turn, at)
      parts.append(rows)
      logs.append(said)
    rows = arranged.together(count, *parts)
    whole = turns_lib.beside(count, *logs)
    extras = by_turn.named(whole, 1)
    place = np.arange(self.samples * count)
    own_step = place // self.episodes % self.turns
    ids = {'trajectory': place % self.samples, 'step': own_step}
    extras |= {name: jnp.asarray(x, jnp.int32) for name, x in ids.items()}
    stop = ending.stops(tools, whole)
    good = whole.taken[:, 0] & (whole.ended != STOPS.index('failed'))
    rows = rows.replace(
      valid=rows.valid & jnp.asarray(good),
      paid=_paid(rows, whole),
    ).with_extras(**extras, stop=stop)
    return *ending.judged(tools, rows, whole), state

  def _turn(self, tools, rollouts, log, turn, key):
    """The rows of one turn of all leading episodes, and what happened there."""
    start = jnp.asarray(log.start[:, turn])
    more = tools.generate(
      prefixes.as_prompts(rollouts, start),
      key,
      self.episodes,
      most=tools.columns // self.turns,
      agents=np.repeat(log.agent[:, turn], self.episodes),
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
      told.stop[row, 0] = ending.reason(tools, step)
    return more, told


def _paid(rows, log):
  """f32[N, T]: what each turn was paid, with its last token."""
  column = jnp.arange(rows.action_mask.shape[1])
  last = column == rows.length[:, None] - 1
  return jnp.where(rows.action_mask & last, jnp.asarray(log.reward), 0.0)
