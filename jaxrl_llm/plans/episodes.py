"""Plans of several turns, with an environment between them.

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

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import prefixes
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.tasks.environments import STOPS, Opening
from jaxrl_llm.types import Array, Rollouts


class Turns(NamedTuple):
  """What happened in the H turns of N episodes.

  Attributes:
    taken: bool[N, H]. answered: bool[N, H], and the environment went on.
    call: i32[N, H], where in an answered action a tool was called, in
      characters; -1 where none was.
    start, end: i32[N, H], the first column of each turn's action and the one
      after its last; equal where it was not taken.
    reward: f32[N, H], of the environment. agent: i32[N, H].
    state, anchor: [N, H], the states that were acted in, and their names.
    talk: [N, H], the conversations before each turn. action: [N, H], what was
      said.
    stop: i32[N, H], why the episode ended with a turn, a place in
      `tasks.environments.STOPS`; -1 where it did not.
  """

  taken: np.ndarray
  answered: np.ndarray
  call: np.ndarray
  start: np.ndarray
  end: np.ndarray
  reward: np.ndarray
  agent: np.ndarray
  anchor: np.ndarray
  action: np.ndarray
  state: np.ndarray
  talk: np.ndarray
  stop: np.ndarray

  @property
  def last(self) -> list[str]:
    """N texts: what each episode ended with."""
    count = self.taken.sum(axis=1)
    return [str(row[max(n - 1, 0)]) for row, n in zip(self.action, count)]

  @property
  def ended(self) -> np.ndarray:
    """i32[N], why each episode ended."""
    return self.stop.max(axis=1)


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
  prompts, log = begin(tools, prompts, samples=samples, turns=turns)
  rollouts = prefixes.blank(prompts, samples, tools.columns)
  return go_on(tools, rollouts, log, np.zeros(len(log.taken), int), key)


def begin(tools, prompts, *, samples: int, turns: int):
  """The prompts of episodes as they open, and their log before any turn.

  Raises:
    ValueError: fewer tokens than turns.
  """
  if tools.columns < turns:
    raise ValueError(
      f'{tools.columns} response tokens do not hold {turns} turns; raise '
      'sample.max_response or lower recipe.turns'
    )
  tasks = np.repeat(np.asarray(prompts.task), samples)
  states = tools.environment.reset(tools.rows(tasks))
  states, openings = _opened(states, samples)
  if openings:
    prompts, talks = tools.opened(prompts.task, openings)
    talks = [talk for talk in talks for _ in range(samples)]
  else:
    talks = tools.talks(tasks)
  log = _empty(len(tasks), turns)
  for row, (state, talk) in enumerate(zip(states, talks, strict=True)):
    log.state[row, 0], log.talk[row, 0] = state, talk
  return prompts, log


def _opened(begun, samples: int):
  """The states of episodes, and the openings of B questions, [] for none.

  A state by itself is opened as others of its question, or by its record.

  Raises:
    ValueError: episodes of a question that begin differently.
  """
  if not any(isinstance(each, Opening) for each in begun):
    return begun, []
  openings = []
  for start in range(0, len(begun), samples):
    own = begun[start : start + samples]
    [first, *others] = [x for x in own if isinstance(x, Opening)] or [
      Opening(None, '')
    ]
    for other in others:
      if other[1:] != first[1:]:
        raise ValueError(
          'the environment began episodes of one question with '
          f'{str(first.prompt)[:60]!r} and with {str(other.prompt)[:60]!r}; '
          'they are compared, so reset must open them alike'
        )
    openings.append(first)
  states = [x.state if isinstance(x, Opening) else x for x in begun]
  return states, openings


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


def _empty(rows, turns) -> Turns:
  shape = (rows, turns)
  return Turns(
    taken=np.zeros(shape, bool),
    answered=np.zeros(shape, bool),
    call=np.full(shape, -1, np.int32),
    start=np.zeros(shape, np.int32),
    end=np.zeros(shape, np.int32),
    reward=np.zeros(shape, np.float32),
    agent=np.zeros(shape, np.int32),
    anchor=np.full(shape, '', object),
    action=np.full(shape, '', object),
    state=np.full(shape, None, object),
    talk=np.full(shape, None, object),
    stop=np.full(shape, -1, np.int32),
  )


def _told(tools, rollouts, told, going):
  """Rows with what stands before their next turns, and those without room."""
  room = tools.columns - np.asarray(rollouts.length)
  fits = np.array([len(ids) for ids in told]) < room
  ids = [ids if go else () for ids, go in zip(told, going & fits)]
  if any(ids):
    heard = prefixes.written(rollouts, ids)
    here = jnp.asarray(going & fits)
    rollouts = prefixes.joined(rollouts, rollouts.length, heard, here)
  return rollouts, np.flatnonzero(going & ~fits)


def judged(tools, rollouts: Rollouts, log: Turns):
  """Verified episodes: what was said last, and what the environment gave."""
  total = log.reward.sum(axis=1).tolist()
  records = [
    {**record, 'return': gained}
    for record, gained in zip(tools.rows(rollouts.task), total)
  ]
  return tools.verify(rollouts, log.last, records)


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
    rollouts, log = play(
      tools, prompts, key, samples=self.samples, turns=self.turns
    )
    rollouts, scores = judged(tools, rollouts, log)
    found = located(log, tools.columns) | calls(tools, rollouts, log)
    extras = {**rollouts.extras, **found, 'stop': stops(tools, log)}
    return rollouts.replace(extras=extras), scores, state


def stops(tools, log: Turns) -> Array:
  """i32[N], why each episode ended; the shares are noted as metrics."""
  for name in ('turns', 'tokens', *_stops_of(tools)):
    share = np.mean(log.ended == STOPS.index(name))
    tools.note(f'stop/{name}', float(share))
  return jnp.asarray(log.ended, jnp.int32)


def calls(tools, rollouts: Rollouts, log: Turns):
  """`tool_calls` and `tool_start` of `MultiTurn`."""
  first = np.full(len(log.call), -1, np.int32)
  at, start, end = first.copy(), first.copy(), first.copy()
  called = log.call >= 0
  some, turn = np.flatnonzero(called.any(axis=1)), called.argmax(axis=1)
  for mine, every in ((at, log.call), (start, log.start), (end, log.end)):
    mine[some] = every[some, turn[some]]
  return {
    'tool_calls': jnp.asarray(called.sum(axis=1), jnp.int32),
    'tool_start': begun(tools, rollouts, at, start, end),
  }


def begun(tools, rollouts: Rollouts, at, start, end) -> Array:
  """i32[N]: the columns where calls begin, -1 in rows without one.

  A call begins in the token that holds its first character.

  Args:
    at: i32[N], in characters of the turn, -1 without a call.
    start, end: i32[N], the columns of the turn.
  """
  first = np.where(at < 0, -1, start).astype(np.int32)
  inside = np.flatnonzero(at > 0)
  pieces = tools.pieces(rollouts) if inside.size else []
  for row in inside:
    own = pieces[row][start[row] : end[row]]
    ends = np.cumsum([len(piece) for piece in own])
    first[row] += np.searchsorted(ends, at[row], side='right')
  return jnp.asarray(first)


def located(log: Turns, columns: int):
  """Where the turns are, of episodes in rows of T columns: see `MultiTurn`."""
  column = np.arange(columns)[:, None]
  inside = (column >= log.start[:, None]) & (column < log.end[:, None])
  inside &= log.taken[:, None]
  begun = (column >= log.start[:, None]) & log.taken[:, None]
  arrays = {
    'turn': np.maximum(begun.sum(axis=2) - 1, 0).astype(np.int32),
    'action_end': (inside & (column == log.end[:, None] - 1)).any(axis=2),
    'decision_reward': (inside * log.reward[:, None]).sum(axis=2),
  }
  return jax.tree.map(jnp.asarray, arrays)


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
    rollouts, log = play(
      tools, prompts, key, samples=self.episodes, turns=self.turns
    )
    rollouts, scores = judged(tools, rollouts, log)
    rows = as_steps(
      rollouts, log.start, log.end, most=tools.columns // self.turns
    )
    valid = rows.valid & jnp.asarray(log.taken.reshape(-1))
    stop = jnp.repeat(stops(tools, log), self.turns)
    extras = {**rows.extras, **named(log, self.episodes), 'stop': stop}
    components = jnp.repeat(scores.components, self.turns, axis=0)
    components = jnp.where(valid[:, None], components, 0)
    rows = rows.replace(valid=valid, extras=extras)
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
  rows = prefixes.repeated(rollouts, start.shape[1])
  start, end = start.reshape(-1), end.reshape(-1)
  prompts = prefixes.as_prompts(rows, start)
  place = jnp.arange(most) + start[:, None]
  mask = place < end[:, None]
  place = jnp.minimum(place, rollouts.content.response.shape[1] - 1)

  def moved(x, empty):
    tail = (1,) * (x.ndim - 2)
    x = jnp.take_along_axis(x, place.reshape(place.shape + tail), axis=1)
    return jnp.where(mask.reshape(mask.shape + tail), x, empty)

  extras = dict(rows.extras)
  for name, empty in prefixes.EMPTY.items():
    if name in extras:
      extras[name] = moved(extras[name], empty)
  return rows.replace(
    content=rows.content.replace(
      prompt=prompts.tokens,
      prompt_mask=prompts.mask,
      response=moved(rows.content.response, 0),
    ),
    response_mask=mask,
    action_mask=mask,
    logp=moved(rows.logp, 0.0),
    paid=moved(rows.paid, 0.0),
    extras=extras,
  )


def named(log: Turns, episodes: int):
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


@dataclasses.dataclass(frozen=True)
class Resampled(Plan):
  """Episodes of one group that share what came before one of their turns.

  One episode is played from each prompt, and one of the turns it took is
  drawn; from there on `samples` episodes are played anew. The extras are
  `turn` i32[N, T] and `stop` i32[N], as of `MultiTurn`, and `resampled` i32[N],
  that turn.

  Attributes:
    samples: rows of a group. turns: the most of an episode.

  Source: REFUEL, arXiv 2410.04612, algorithm 1.
  """

  samples: int = 2
  turns: int = 4

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'environment'},
      provides={'turn', 'resampled', 'stop'},
      turns=self.turns,
    )

  def collect(self, tools, prompts, state, key):
    before, draw, after = jax.random.split(key, 3)
    rollouts, log = play(tools, prompts, before, samples=1, turns=self.turns)
    taken = jnp.asarray(log.taken.sum(axis=1))
    drawn = jax.random.uniform(draw, taken.shape)
    first = np.asarray((drawn * taken).astype(jnp.int32))
    rollouts, log = parted(rollouts, log, first)
    rollouts = prefixes.repeated(rollouts, self.samples)
    log = Turns(*(np.repeat(x, self.samples, axis=0) for x in log))
    first = np.repeat(first, self.samples)
    rollouts, log = go_on(tools, rollouts, log, first, after)
    rollouts, scores = judged(tools, rollouts, log)
    extras = {
      'turn': located(log, tools.columns)['turn'],
      'resampled': jnp.asarray(first, jnp.int32),
      'stop': stops(tools, log),
    }
    extras = {**rollouts.extras, **extras}
    return rollouts.replace(extras=extras), scores, state


def parted(rollouts: Rollouts, log: Turns, first: np.ndarray):
  """Episodes and their log, up to but not including one turn of each."""
  start = log.start[np.arange(len(first)), first]
  nothing = prefixes.written(rollouts, [[]] * len(first))
  rollouts = prefixes.joined(rollouts, jnp.asarray(start), nothing)
  gone = np.arange(log.taken.shape[1]) >= first[:, None]
  fresh = _empty(*log.taken.shape)
  kept = Turns(*(np.where(gone, new, old) for new, old in zip(fresh, log)))
  # The state that the turn is taken in was known before it.
  here = np.arange(len(first)), first
  for name in ('state', 'anchor', 'agent', 'talk'):
    getattr(kept, name)[here] = getattr(log, name)[here]
  return rollouts, kept


def multi_turn(*, samples: int = 8, turns: int = 4) -> MultiTurn:
  """Episodes of several turns, one row each."""
  return MultiTurn(samples, turns)


def steps(*, samples: int = 8, turns: int = 4) -> Steps:
  """Episodes of several turns, one row a turn."""
  return Steps(samples, turns)


def resampled(*, samples: int = 2, turns: int = 4) -> Resampled:
  """Episodes that share what came before one of their turns."""
  return Resampled(samples, turns)
