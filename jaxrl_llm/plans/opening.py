"""How episodes open: their states, their prompts, and what is said first."""

from __future__ import annotations

import numpy as np

from jaxrl_llm.plans.turns import empty
from jaxrl_llm.tasks.environments import Opening


def begin(tools, prompts, *, samples: int, turns: int, rows=None):
  """The prompts of episodes as they open, and their log before any turn.

  Args:
    rows: a record for each prompt, in place of that of its task.

  Raises:
    ValueError: fewer tokens than turns.
  """
  if tools.columns < turns:
    raise ValueError(
      f'{tools.columns} response tokens do not hold {turns} turns; raise '
      'sample.max_response or lower recipe.turns'
    )
  tasks = np.repeat(np.asarray(prompts.task), samples)
  told = tools.rows(tasks)
  if rows is not None:
    told = [row for row in rows for _ in range(samples)]
  states, openings = _opened(tools.environment.reset(told), samples)
  if rows is not None:
    openings = _asked(openings, rows)
  if openings:
    prompts, talks = tools.opened(prompts.task, openings)
    talks = [talk for talk in talks for _ in range(samples)]
  else:
    talks = tools.talks(tasks)
  log = empty(len(tasks), turns)
  for row, (state, talk) in enumerate(zip(states, talks, strict=True)):
    log.state[row, 0], log.talk[row, 0] = state, talk
  return prompts, log


def _asked(openings, rows):
  """Openings that ask what the records do, where they ask nothing else."""
  openings = openings or [Opening(None, '')] * len(rows)
  return [
    each if each.prompt else each._replace(prompt=row['prompt'])
    for each, row in zip(openings, rows, strict=True)
  ]


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
