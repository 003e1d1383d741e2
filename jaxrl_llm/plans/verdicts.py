"""What the policy itself says of the turns of episodes, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from jaxrl_llm.plans import choices, phrases
from jaxrl_llm.plans.turns import Turns
from jaxrl_llm.types import Rollouts


def first_wrong(
  tools,
  rows: Rollouts,
  log: Turns,
  which: Sequence[int],
  key,
  *,
  ask: str,
  fine: Sequence[str],
) -> dict[int, int]:
  """The first turn of some episodes that the policy does not call fine.

  Turns are asked about in their order, each with what the environment said to
  it, until a verdict has none of the words `fine`, in letters of any case.

  Args:
    which: rows. ask: a phrase with {prompt}, {before}, which is all that was
      said until then, and {turn}. fine: words of a verdict.

  Returns:
    By row, a turn; the last one where all were fine. A row is missing where
    there was no room to ask about a turn before one was wrong.

  Source: Agent-R, arXiv 2501.11425, section 3.2, and its code.
  """
  found: dict[int, int] = {}
  going = np.asarray(sorted(which), int)
  pieces = tools.pieces(rows) if going.size else []
  records, tasks = tools.rows(rows.task), np.asarray(rows.task)
  for turn in range(log.taken.shape[1]):
    ended = ~log.taken[going, turn]
    found |= {int(row): turn - 1 for row in going[ended]}
    going = going[~ended]
    if not going.size:
      break
    chosen = choices.filled(going, len(log.taken))
    plain = [records[row]['prompt'] for row in chosen]
    texts = [
      phrases.phrased(ask, prompt, **_said(pieces[row], log, row, turn))
      for row, prompt in zip(chosen, plain, strict=True)
    ]
    prompts, fits = phrases.fitting(tools, tasks[chosen], texts, plain)
    asked = jax.random.fold_in(key, turn)
    verdicts = tools.decode(tools.generate(prompts, asked, 1, uids=chosen))
    good = [any(x in said.lower() for x in fine) for said in verdicts]
    on = fits & np.array(good)
    once = slice(going.size)
    wrong = going[(fits & ~on)[once]]
    found |= {int(row): turn for row in wrong}
    going = going[on[once]]
  last = log.taken.shape[1] - 1
  return found | {int(row): last for row in going}


def _said(pieces, log, row, turn):
  """What was said until a turn, and in it, with the answer to it."""
  start, end = log.start[row, turn], log.end[row, turn]
  if turn + 1 < log.taken.shape[1] and log.taken[row, turn + 1]:
    end = log.start[row, turn + 1]
  return {'before': ''.join(pieces[:start]), 'turn': ''.join(pieces[start:end])}
