"""How the policy answers the requests of programs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import contexts
from jaxrl_llm.serving import programs
from jaxrl_llm.serving.engine import Ask, Drawn, Engine, Room
from jaxrl_llm.types import Prompts

# Widths that requests are read in anew, each half of the next.
_WIDTHS = 4


def engine(tools, prompts: Prompts, key, room: Room) -> Engine:
  """What answers the requests of a run's programs, compiled beforehand."""
  host = tools.program
  write, widths = writer(tools, prompts, key, room, host.limits)
  if not host.compiled:
    # Or the seconds of programs would be spent on it.
    ids = np.asarray(prompts.tokens[0])[np.asarray(prompts.mask[0])].tolist()
    for width in widths:
      write([Ask(tuple(ids[-width:]), 0, Future(), 0.0)], width)
    host.compiled = True
  return Engine(write, room, widths, host.limits.workers)


def writer(tools, prompts: Prompts, key, room: Room, limits: programs.Limits):
  """What an engine asks for tokens, and the widths that requests are read in.

  What was read for a request stays for those that go on from it, and all are
  read in blocks of one width, unless `sample.keep` says otherwise.
  """
  whole = room.prompt + room.response - 1
  answers = tools.cached(
    slots=limits.kept,
    columns=whole + 1,
    size=limits.workers,
    most=room.answer,
  )
  if answers is None:
    widths = sorted({-(-whole // 2**i) for i in range(_WIDTHS)})
    return _anew(tools, prompts, key, room, limits.workers), widths

  def write(asks: Sequence[Ask], width: int) -> list[Drawn]:
    del width
    filled = [*asks, *[asks[0]] * (limits.workers - len(asks))]
    read = [ask.ids for ask in asks]
    return contexts.drawn(answers(read, key, _uids(filled)), len(asks))

  return write, [whole]


def _uids(asks: Sequence[Ask]) -> np.ndarray:
  return np.array([ask.identity & 0x7FFFFFFF for ask in asks], np.int32)


def _anew(tools, prompts: Prompts, key, room: Room, size: int):
  """The same, where every request is read from its start."""
  task, domain = prompts.task[:1], prompts.domain[:1]

  def write(asks: Sequence[Ask], width: int) -> list[Drawn]:
    # Filled up with copies, which end when their originals do.
    filled = [*asks, *[asks[0]] * (size - len(asks))]
    rollouts = tools.generate(
      contexts.prompts(
        [ask.ids for ask in filled],
        width,
        jnp.repeat(task, size),
        jnp.repeat(domain, size),
      ),
      key,
      1,
      most=room.answer,
      uids=_uids(filled),
    )
    return contexts.drawn(rollouts, len(asks))

  return write
