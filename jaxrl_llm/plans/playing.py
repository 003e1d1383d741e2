"""How episodes are played: the policy's turns, and the environment's between.

The sampler writes a turn, the environment reads it, and what it says is put
behind it, through the chat template where the prompt went through it: part of
`response_mask`, which the policy reads, but not of `action_mask`, which it
learns. A turn ends with the sampler's end token or stop strings, or after its
share of the token budget.

The verifiers judge the last thing that the policy said; in the record they get
is what the environment gave in all, as 'return', which the verifier `returned`
passes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import given, opening, prefixes
from jaxrl_llm.plans.turns import Turns, located
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.types import Array, Rollouts


def play(tools, prompts, key, *, samples: int, turns: int):
  """`samples` episodes of at most `turns` turns from each prompt.

  An episode also ends where the token budget has no room for what the
  environment says and one more token; it then counts as truncated, as one
  does that uses up its turns.

  Returns:
    Rollouts of whole episodes, not verified, and their `Turns`.

  Raises:
    ValueError: fewer tokens than turns.
  """
  prompts, log = opening.begin(tools, prompts, samples=samples, turns=turns)
  rollouts = given.blank(prompts, samples, tools.columns)
  return go_on(tools, rollouts, log, np.zeros(len(log.taken), int), key)


def go_on(tools, rollouts: Rollouts, log: Turns, first: np.ndarray, key):
  """Episodes played from some turn to their end.

  Args:
    rollouts: N rows, up to that turn.
    log: of the turns before; `state`, `anchor`, `agent` and `talk` of that
      turn. It is filled in place.
    first: i32[N], the turn of each row that is taken next.

  Returns:
    Rollouts of whole episodes, not verified, and their `Turns`.
  """
  rows, turns = log.taken.shape
  going, last, kept = np.ones(rows, bool), [None] * rows, None
  for turn in range(turns):
    at = first + turn
    cut = rollouts.length
    more, kept = tools.turn(
      rollouts,
      kept,
      jax.random.fold_in(key, turn),
      most=tools.columns // turns,
      going=going,
    )
    rollouts = prefixes.joined(rollouts, cut, more, jnp.asarray(going))
    acting = np.flatnonzero(going)
    here = acting, at[acting]
    log.start[here] = np.asarray(cut)[acting]
    log.end[here] = np.asarray(rollouts.length)[acting]
    told: list[Sequence[int]] = [()] * rows
    said = tools.read(more, {row: log.talk[row, at[row]] for row in acting})
    for row, ids in answered(tools, log, at, said, last).items():
      told[row] = ids
    going &= log.stop[np.arange(rows), np.minimum(at, turns - 1)] < 0
    rollouts, late = _told(tools, rollouts, told, going)
    log.stop[late, at[late]] = STOPS.index('tokens')
    going[late] = False
    if not going.any():
      break
  late, failed = settled(tools, log, last)
  rollouts = rollouts.replace(
    truncated=jnp.asarray(late),
    valid=rollouts.valid & ~jnp.asarray(failed),
    paid=_paid(log, tools.columns),
  )
  return rollouts, log


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
      log.stop[row, at[row]] = reason(tools, step)
      continue
    told[row], talk = tools.after(
      log.talk[row, at[row]], said[row], step.observation
    )
    _enter(log, row, at[row] + 1, step, talk)
  return told


def settled(tools, log: Turns, last):
  """Which episodes a budget ended, which are paid, and which failed."""
  late = np.isin(log.ended, [STOPS.index('turns'), STOPS.index('tokens')])
  _settle(tools, log, np.flatnonzero(late), last)
  return late, log.ended == STOPS.index('failed')


def reason(tools, step) -> int:
  """Why an episode ends with a step, a place in `STOPS`."""
  if not step.done:
    return STOPS.index('turns')
  known = _stops_of(tools)
  if step.stop not in known:
    raise ValueError(
      f'the environment ended an episode for the reason {step.stop!r}, and its '
      f'stops are {", ".join(known)}; name one of them'
    )
  return STOPS.index(step.stop)


def _stops_of(tools) -> Sequence[str]:
  """Why the environment ends episodes."""
  return getattr(tools.environment, 'stops', ('done',))


def _settle(tools, log, late, last) -> None:
  """Pays episodes whose turns or tokens ran out, if their environment does."""
  settle = getattr(tools.environment, 'truncated', None)
  if settle is None or not len(late):
    return
  turn = log.taken.sum(axis=1) - 1
  log.reward[late, turn[late]] += settle([last[row] for row in late])


def _paid(log: Turns, columns: int) -> Array:
  """f32[N, T]: what each turn was paid, with the last token of its action."""
  found = located(log, columns)
  return jnp.where(found['action_end'], found['decision_reward'], 0.0)


def _enter(log, row, turn, step, talk):
  """Notes the state that a turn will be taken in."""
  log.state[row, turn], log.talk[row, turn] = step.state, talk
  log.anchor[row, turn], log.agent[row, turn] = step.anchor, step.agent


def _told(tools, rollouts, told, going):
  """Rows with what stands before their next turns, and those without room."""
  room = tools.columns - np.asarray(rollouts.length)
  fits = np.array([len(ids) for ids in told]) < room
  ids = [ids if go else () for ids, go in zip(told, going & fits)]
  if any(ids):
    heard = given.written(rollouts, ids)
    here = jnp.asarray(going & fits)
    rollouts = prefixes.joined(rollouts, rollouts.length, heard, here)
  return rollouts, np.flatnonzero(going & ~fits)


def judged(tools, rollouts: Rollouts, log: Turns, *, rows: int = 1):
  """Verified episodes: what was said last, and what the environment gave.

  Args:
    rows: of an episode, each of which has the scores of all.
  """
  last = [words for words in log.last for _ in range(rows)]
  total = np.repeat(log.reward.sum(axis=1), rows).tolist()
  records = [
    {**record, 'return': gained}
    for record, gained in zip(tools.rows(rollouts.task), total)
  ]
  return tools.verify(rollouts, last, records)


def stops(tools, log: Turns) -> Array:
  """i32[N], why each episode ended; the shares are noted as metrics."""
  for name in ('turns', 'tokens', *_stops_of(tools)):
    share = np.mean(log.ended == STOPS.index(name))
    tools.note(f'stop/{name}', float(share))
  return jnp.asarray(log.ended, jnp.int32)
