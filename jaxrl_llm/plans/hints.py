"""What a question is asked with again: hints. Others are in `drafts`.

    f(tools, tries, level, key, *, ...) -> prompts

M of them for each of R groups, texts or messages, those of a group adjacent.
What a `phrase` is, `plans.phrases` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm.plans.phrases import answered, phrased


class Tries(NamedTuple):
  """Groups that are asked again: R of them, G rows each.

  Attributes:
    tasks: i32[R]. records: [R], what the data says of them.
    texts: [R][G], what was said. rewards: f64[R, G], 0 where none counts.
  """

  tasks: np.ndarray
  records: Sequence[Mapping[str, Any]]
  texts: Sequence[Sequence[str]]
  rewards: np.ndarray


def share_of_solution(
  tools, tries, level, key, *, shares=(0.25, 0.5, 0.75), phrase
):
  """The first characters of the solution, a larger share at each level.

  Source: GHPO, arXiv 2507.10628, and its code.
  """
  del tools, key
  given = [record['solution'] for record in tries.records]
  return [
    phrased(
      phrase, record['prompt'], hint=text[: round(shares[level] * len(text))]
    )
    for record, text in zip(tries.records, given)
  ]


def tier(tools, tries, level, key, *, phrase):
  """The hint of each level, the last one where there are no more.

  Source: Scaf-GRPO, arXiv 2510.19807.
  """
  del tools, key
  hints = [record['hints'] for record in tries.records]
  return [
    phrased(phrase, record['prompt'], hint=each[min(level, len(each) - 1)])
    for record, each in zip(tries.records, hints)
  ]


def of_the_policy(tools, tries, level, key, *, ask, phrase):
  """What the policy says when it is asked for a hint, knowing the solution.

  A request that is over the budget of prompts gives no hint.

  Args:
    level: of all, or of each.
    ask: the phrase of the request, with {solution}, and {level} from 1.

  Source: SAGE, arXiv 2602.03143, and its code.
  """
  levels = np.broadcast_to(level, len(tries.records)) + 1
  asked = [
    phrased(ask, r['prompt'], solution=r['solution'], level=str(each))
    for r, each in zip(tries.records, levels)
  ]
  plain = [record['prompt'] for record in tries.records]
  hints = answered(tools, tries.tasks, asked, plain, key)
  return [phrased(phrase, p, hint=hint or '') for p, hint in zip(plain, hints)]
