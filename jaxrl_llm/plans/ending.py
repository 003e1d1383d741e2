"""How episodes end: why, what they are paid for it, and how they are judged.

The verifiers judge the last thing that the policy said; in the record they get
is what the environment gave in all, as 'return', which the verifier `returned`
passes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.turns import Turns
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.types import Array, Rollouts


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


def settled(tools, log: Turns, last):
  """Which episodes a budget ended, which are paid, and which failed.

  Args:
    log: filled in place. last: states after the last turns.
  """
  late = np.isin(log.ended, [STOPS.index('turns'), STOPS.index('tokens')])
  settle = getattr(tools.environment, 'truncated', None)
  if settle is not None and late.any():
    rows, turn = np.flatnonzero(late), log.taken.sum(axis=1) - 1
    log.reward[rows, turn[rows]] += settle([last[row] for row in rows])
  return late, log.ended == STOPS.index('failed')


def judged(
  tools, rollouts: Rollouts, log: Turns, *, rows: int = 1, records=None
):
  """Verified episodes: what was said last, and what the environment gave.

  Args:
    rows: of an episode, each of which has the scores of all.
    records: of as many episodes each, in place of those of the tasks.
  """
  last = [words for words in log.last for _ in range(rows)]
  total = np.repeat(log.reward.sum(axis=1), rows).tolist()
  if records is None:
    told = tools.rows(rollouts.task)
  else:
    told = [x for x in records for _ in range(len(total) // len(records))]
  told = [
    {**record, 'return': gained}
    for record, gained in zip(told, total, strict=True)
  ]
  return tools.verify(rollouts, last, told)


def stops(tools, log: Turns) -> Array:
  """i32[N], why each episode ended; the shares are noted as metrics."""
  for name in ('turns', 'tokens', *_stops_of(tools)):
    share = np.mean(log.ended == STOPS.index(name))
    tools.note(f'stop/{name}', float(share))
  return jnp.asarray(log.ended, jnp.int32)


def _stops_of(tools) -> Sequence[str]:
  """Why the environment ends episodes."""
  return getattr(tools.environment, 'stops', ('done',))
