"""Programs that ask a policy: what runs in processes of their own.

    def solve(row, url, key):
      ...asks `url` with `key`, as often as it likes...
      return reward

`row` is a record of the data. What is returned is the reward of the episode,
which the verifier `returned` passes on; None leaves it to other verifiers. A
coroutine function will do. Here is what those processes need, which import no
JAX.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxrl_llm.tasks import imports, pool

NONE, REWARD = 'none', 'reward'
HISTORIES = ('append', 'template')
# Seconds between two warnings of a kind, where every iteration has a reason.
WARN_EVERY = 60


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a program may spend in an episode, and how it is answered.

  Attributes:
    workers: programs at once, and requests of a batch.
    seconds: until a program is ended; its episode does not count then.
    requests: that are answered.
    tokens: drawn in all, after which no request is answered.
    answer: tokens of an answer; 0 is the budget of a response.
    bytes: of a request.
    kept: contexts of which keys and values stay for the requests that go on
      from them, those used last, of all programs; each takes what a row does.
    rows: that its requests may make; they are several where conversations part
      or are begun anew.
    history: 'append', answers stay as they were drawn; or 'template', every
      request is what the chat template writes of its messages.
  """

  workers: int = 8
  seconds: float = 60.0
  requests: int = 32
  tokens: int = 1 << 20
  answer: int = 0
  bytes: int = 1 << 20
  kept: int = 16
  rows: int = 1
  history: str = 'append'

  def checked(self) -> Limits:
    """Itself.

    Raises:
      ValueError: a limit that means nothing.
    """
    if self.history not in HISTORIES:
      raise ValueError(
        f'serve.history={self.history!r} is none of {", ".join(HISTORIES)}'
      )
    for name, value in dataclasses.asdict(self).items():
      if name == 'history':
        continue
      if not value > 0 and (name, value) != ('answer', 0):
        raise ValueError(f'serve.{name}={value} must be positive')
    if self.kept < self.workers:
      raise ValueError(
        f'serve.kept={self.kept} does not hold the contexts of serve.workers='
        f'{self.workers} requests at once; raise it to {self.workers} or more'
      )
    return self


def resolve(spec: str) -> Callable[..., Any]:
  """The function at `package.module:function`.

  Raises:
    ValueError: there is none, or it does not take `row, url, key`.
  """
  found = imports.imported(f'program {spec!r}', spec)
  try:
    inspect.signature(found).bind({}, '', '')
  except (TypeError, ValueError) as error:
    raise ValueError(f'program {spec!r}: {error}') from error
  return found


def outcome(
  spec: str, given: tuple[str, str], row: Mapping[str, Any]
) -> tuple[str, float, str]:
  """Runs a program in the process of a worker.

  Args:
    spec: of the program. given: URL and key. row: the record of the data.

  Returns:
    'ok', the reward, and whether there was one; or 'errors', 0 and what went
    wrong.
  """
  try:
    reward = resolve(spec)(row, *given)
    if inspect.iscoroutine(reward):
      reward = asyncio.run(reward)
    if reward is None:
      return 'ok', 0.0, NONE
    return 'ok', pool.reward('it returned', reward), REWARD
  except (Exception, SystemExit) as error:
    return 'errors', 0.0, f'{type(error).__name__}: {error}'
