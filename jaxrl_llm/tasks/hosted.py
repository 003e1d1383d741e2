"""The environment that a `Toolbox` makes: calls in, results out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from jaxrl_llm.tasks import pool as pool_lib
from jaxrl_llm.tasks import toolbox
from jaxrl_llm.tasks.environments import Opening, Row, Step
from jaxrl_llm.tasks.speech import Said

DEFAULT = toolbox.Limits()
_CUT = 'error: your turn was cut at its budget of tokens; say less at once'


_Job = tuple[Any, Mapping[str, Any]]


class Episode(NamedTuple):
  """An episode between turns.

  Attributes:
    state: the instance as text, which only workers read; '' where there is
      none, as it could not be made.
    calls: so far. errors: turns in a row that all went wrong.
    seconds: that calls took. said: the policy's last words.
  """

  state: str
  calls: int = 0
  errors: int = 0
  seconds: float = 0.0
  said: str = ''


def _alone(mine: Sequence[str], rows: int) -> list[str]:
  """The texts of a run of one process."""
  del rows
  return list(mine)


class Hosted:
  """Runs the tools of a class in the processes of a pool.

  A turn that calls tools is answered by their results, in their order. One
  that calls none ends the episode: it is the answer. Whatever goes wrong in a
  call is a result that says so.

  Attributes:
    tools: their schemas. stops: why episodes end here.

  Args:
    spec: of the class, `package.module:Class`.
    limits: of calls and episodes.
    workers: processes.
    own: f(rows) -> those that fall to this process of the run.
    join: f(texts, rows) -> the texts of all rows, of which these are its own.

  Raises:
    ValueError: tools that cannot be shown to a policy, or limits that mean
      nothing.
  """

  stops = ('said', 'tool', 'calls', 'errors', 'seconds', 'failed')

  def __init__(
    self,
    spec: str,
    limits: toolbox.Limits = DEFAULT,
    *,
    workers: int = 2,
    own: Callable[[int], slice] = slice,
    join: Callable[[Sequence[str], int], list[str]] = _alone,
  ):
    self._spec, self._limits = spec, limits.checked()
    self.tools = toolbox.schemas(toolbox.resolve(spec))
    self._own, self._join = own, join
    self._pool = pool_lib.Pool(
      workers,
      limits.seconds,
      runs='jaxrl_llm.tasks.toolbox:outcome',
      longest=_longest(limits),
    )
    self.close = self._pool.close

  def try_out(self, rows: Sequence[Row]) -> None:
    """Begins episodes that nobody plays, in this process of the run alone.

    Raises:
      ValueError: none could begin.
    """
    jobs = [(self._spec, ('reset',), row) for row in rows]
    self._begun(self._pool.map(jobs))

  def reset(self, rows: Sequence[Row]) -> list[Any]:
    """New episodes, with what is asked in them where they say it.

    Raises:
      ValueError: none could begin.
    """
    return self._begun(self._outcomes([(('reset',), row) for row in rows]))

  def _begun(self, found: Sequence[pool_lib.Outcome]) -> list[Any]:
    """The episodes that came of as many resets."""
    failed = [detail for kind, _, detail in found if kind != 'ok']
    if failed:
      said = f'{len(failed)} of {len(found)} episodes of {self._spec} failed'
      said += f' to begin: {failed[0]}'
      if len(failed) == len(found):
        raise ValueError(said)
      logging.warning('%s', said)
    return [
      _opened(**json.loads(detail)) if kind == 'ok' else Episode('')
      for kind, _, detail in found
    ]

  def step(
    self, states: Sequence[Episode], actions: Sequence[Said]
  ) -> list[Step]:
    """What becomes of a turn of each episode."""
    most = self._limits.calls
    calling = [
      row
      for row, (state, said) in enumerate(zip(states, actions, strict=True))
      if state.state and said.calls and state.calls + len(said.calls) <= most
    ]
    jobs: list[_Job] = [
      (
        ('call', states[r].state, actions[r].calls, self._limits.characters),
        {},
      )
      for r in calling
    ]
    found = dict(zip(calling, self._outcomes(jobs)))
    steps = [
      self._answered(state, said, found.get(row))
      for row, (state, said) in enumerate(zip(states, actions))
    ]
    ended = [row for row, step in enumerate(steps) if step.done]
    for row, (kind, reward) in zip(
      ended, self._rewards([steps[row].state for row in ended])
    ):
      stop = steps[row].stop if kind == 'ok' else 'failed'
      reward += steps[row].reward
      steps[row] = steps[row]._replace(reward=reward, stop=stop)
    return steps

  def truncated(self, states: Sequence[Episode]) -> list[float]:
    """What episodes earned whose turns or tokens ran out."""
    return [reward for _, reward in self._rewards(states)]

  def _answered(
    self, state: Episode, said: Said, found: pool_lib.Outcome | None
  ) -> Step:
    state = state._replace(said=said.content)
    if not state.state:
      return Step(state, done=True, stop='failed')
    if not said.calls and said.cut:
      state = state._replace(errors=state.errors + 1)
      if state.errors >= self._limits.errors:
        return Step(state, done=True, stop='errors')
      return Step(state, _CUT, call=-1)
    if found is None:
      stop = 'calls' if said.calls else 'said'
      return Step(state, done=True, stop=stop)
    (kind, seconds, detail), earned = found, 0.0
    if kind == 'ok':
      told = json.loads(detail)
      results, ended, earned = told['results'], told['ended'], told['earned']
      state = state._replace(state=told['state'])
    elif kind == 'errors':
      logging.warning('an episode of %s failed: %s', self._spec, detail)
      return Step(state._replace(state=''), done=True, stop='failed')
    else:
      # What the calls did before is lost with their process.
      seconds = self._limits.seconds if kind == 'timeouts' else 0.0
      late = f'no answer within {seconds:g} s'
      words = late if kind == 'timeouts' else 'the tool ended its process'
      results, ended = [[False, f'error: {words}']] * len(said.calls), False
    wrong = not any(good for good, _ in results)
    state = state._replace(
      calls=state.calls + len(said.calls),
      errors=state.errors + 1 if wrong else 0,
      seconds=state.seconds + seconds,
    )
    stop = self._stop(state, ended)
    if stop:
      return Step(state, reward=earned, done=True, stop=stop)
    messages = [
      {
        'role': 'tool',
        'tool_call_id': call.id,
        'name': call.name,
        'content': text,
      }
      for call, (_, text) in zip(said.calls, results, strict=True)
    ]
    return Step(state, messages, earned, call=said.start)

  def _stop(self, state: Episode, ended: bool) -> str:
    """Why an episode ends after its calls; '' where it goes on."""
    if ended:
      return 'tool'
    if state.errors >= self._limits.errors:
      return 'errors'
    late = state.seconds > self._limits.episode_seconds
    return 'seconds' if late else ''

  def _rewards(self, states: Sequence[Episode]) -> list[tuple[str, float]]:
    """How each episode's reward was found, 'ok' or not, and the reward."""
    jobs: list[_Job] = [
      (('reward', s.state, s.said), {}) for s in states if s.state
    ]
    found = iter(self._outcomes(jobs))
    rewards, failed = [], []
    for state in states:
      kind, reward, detail = next(found) if state.state else ('', 0.0, '')
      if kind not in ('ok', ''):
        failed.append(f'{kind} {detail}')
      rewards.append((kind, reward if kind == 'ok' else 0.0))
    if failed:
      logging.warning(
        'no reward of %d of %d episodes of %s: %s',
        len(failed),
        len(states),
        self._spec,
        failed[0],
      )
    return rewards

  def _outcomes(self, jobs: Sequence[_Job]) -> list[pool_lib.Outcome]:
    """What came of jobs, of which every process of a run does its share.

    All hear of all: tools need not answer alike, and processes must go on
    alike.
    """
    mine = jobs[self._own(len(jobs))]
    found = self._pool.map([(self._spec, *job) for job in mine])
    told = self._join([json.dumps(each) for each in found], len(jobs))
    return [tuple(json.loads(text)) for text in told]


def _opened(state: str, opened: Any) -> Episode | Opening:
  episode = Episode(state)
  return episode if opened is None else Opening(episode, opened)


def _longest(limits: toolbox.Limits) -> int:
  """Characters of an outcome: a state, and a result for every call."""
  return 2 * toolbox.LARGEST_STATE + 16 * limits.calls * (
    limits.characters + 100
  )
