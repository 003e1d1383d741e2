"""Groups that are asked in other words, and what they say then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxrl_llm.plans import actions, phrases
from jaxrl_llm.plans.groups import Groups
from jaxrl_llm.plans.hints import Tries


def again(
  tools, change: Callable, tries: Tries, groups, level, keys, *, samples: int
):
  """Verified responses of R groups to prompts in other words.

  Where a changed prompt is over the budget of prompts, the question itself is
  asked.

  Args:
    change: f(tools, tries, level, key) -> M prompts for each group, see
      `plans.hints`. tries: of the R groups. groups: i[R], their numbers.
    level: of the retry, from 0. keys: [2], of the change and of what is said.
    samples: responses to each prompt.

  Returns:
    R groups of M samples rows, and bool[R, M], which changed prompts are within
    the budget.
  """
  changed = change(tools, tries, level, keys[0])
  each = len(changed) // len(tries.tasks)
  plain = [record['prompt'] for record in tries.records for _ in range(each)]
  prompts, fits = phrases.fitting(
    tools, tries.tasks.repeat(each), changed, plain
  )
  # Whoever else is asked, a group's responses are the same.
  count = each * samples
  uids = groups[:, None] * count + np.arange(count)
  found = tools.generate(prompts, keys[1], samples, uids=uids.reshape(-1))
  found, scores = tools.verify(found)
  return Groups(found, scores, count), fits.reshape(-1, each)


def as_asked(tools, rows, first, offline):
  """The offline rows as answers to the prompts that were there first."""
  content = rows.content.replace(
    prompt=first.prompt, prompt_mask=first.prompt_mask
  )
  rows = rows.replace(content=content)
  rows = actions.partly_drawn(tools, rows, offline)
  return rows.with_extras(offline=offline)
