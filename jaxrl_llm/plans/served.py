"""Episodes of programs that ask over HTTP: see `program_episodes`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrl_llm.plans import noted, program_episodes
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.serving import programs


@dataclasses.dataclass(frozen=True)
class Served(Plan):
  """Episodes of a program, of one row each or several.

  Rows that an episode does not need are not valid, nor are those of episodes
  that failed, were late, or needed more. The extras are those of `noted`, and,
  where every request is a row, those of `by_turn.Steps`. A step is then the
  place of a request among those of its episode, by how much it reads; who
  acts is told by tools and system, and a state is the tokens before the answer.

  Attributes:
    samples: episodes of a prompt. rows: the most of an episode.
    columns: numeric fields of the data, provided as extras f32[N].
    apart: every request is a row, also one that goes on from another.
  """

  samples: int = 8
  rows: int = 1
  columns: tuple[str, ...] = ()
  apart: bool = False

  @property
  def contract(self):
    return Contract(
      self.samples * self.rows,
      asks={'program'},
      provides=noted.provided(self.apart) | {*self.columns},
      columns=self.columns,
      one_prompt=False,
    )

  def collect(self, tools, prompts, state, key):
    rollouts, log = program_episodes.play(
      tools,
      prompts,
      key,
      samples=self.samples,
      rows=self.rows,
      apart=self.apart,
    )
    if self.apart:
      steps = _steps(log.kept, self.samples, self.rows)
      rollouts = rollouts.with_extras(**steps)
    _note(tools, log, self.rows)
    return *program_episodes.judged(tools, rollouts, log, self.rows), state


def _steps(made, samples: int, rows: int):
  """The extras of `by_turn.Steps`, of rows of one request each."""
  count = len(made) * rows
  agent, anchor, node = np.zeros((3, count), np.int32)
  earned = np.zeros(count, np.float32)
  names: dict[Any, int] = {}

  def named(*what):
    return names.setdefault(what, len(names))

  for episode, found in enumerate(made):
    for number, row in enumerate(found, episode * rows):
      [(_, turn)] = row.turns
      earned[number] = turn.earned
      agent[number] = named('agent', turn.agent)
      anchor[number] = named('anchor', turn.ids)
      node[number] = named('node', turn.ids, turn.said)
  arrays = {
    'trajectory': (np.arange(count) // rows % samples).astype(np.int32),
    'step': (np.arange(count) % rows).astype(np.int32),
    'step_reward': earned,
    'agent': agent,
    'anchor': anchor,
    'node': node,
  }
  return {name: jnp.asarray(x) for name, x in arrays.items()}


def _note(tools, log: program_episodes.Log, rows: int) -> None:
  """Metrics of episodes, and what to do where they need more rows."""
  for name in program_episodes.ENDS:
    share = np.mean([stop == name for stop in log.stop])
    tools.note(f'stop/{name}', float(share))
  tools.note('programs/requests', float(np.mean(log.requests)))
  tools.note('programs/rows', float(np.mean(log.rows)))
  overruled = sum(log.overruled) / max(sum(log.requests), 1)
  tools.note('programs/overruled', overruled)
  if 'rows' in log.stop:
    logging.log_every_n_seconds(
      logging.WARNING,
      '%d of %d episodes made more than %d rows, up to %d, and do not count; '
      'raise serve.rows, or recipe.turns where every request is a row, or '
      'sample.max_response if one conversation is longer',
      programs.WARN_EVERY,
      log.stop.count('rows'),
      len(log.stop),
      rows,
      max(log.rows),
    )
